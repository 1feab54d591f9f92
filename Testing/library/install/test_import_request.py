"""The child process imports a model: complete or not at all; a cancelled import leaves nothing."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from MambaSynthLib.cli import main
from MambaSynthLib.errors import Cancelled, MambaSynthError, ModelError
from MambaSynthLib.install import unpacking
from MambaSynthLib.install.importing import import_package
from MambaSynthLib.io.parts import ABANDONED_S
from MambaSynthLib.model import registry
from MambaSynthLib.model.registry import find_model, user_models
from MambaSynthLib.server.answers import Run, import_model
from MambaSynthLib.server.exchange import InFolder
from MambaSynthLib.server.requests import checked

ROOT = Path(__file__).resolve().parents[3]


def run_of(path, scratch, cancelled=lambda: False):
    """A request to import, and the list of what it reports."""
    told = []
    request = {"do": "import", "id": 1, "path": str(path), "folder": str(scratch)}

    def progress(done, total):
        told.append((done, total))

    return Run(request, InFolder(scratch), None, progress, cancelled, told.append), told


def installed():
    return sorted(path.name for path in user_models().glob("*"))


@pytest.fixture
def archive(tiny_package, tmp_path):
    path = tmp_path / "tiny.ZIP"
    with zipfile.ZipFile(path, "w") as file:
        for member in tiny_package.folder.iterdir():
            file.write(member, f"tiny/{member.name}")
    return path


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_package_is_installed_and_each_step_is_told(packed, tiny_package, archive, scratch):
    run, told = run_of(archive if packed else tiny_package.folder, scratch)
    event = import_model(run)
    assert (event["event"], event["model"]) == ("done", "tiny-t1w-t2w")
    package = find_model("tiny-t1w-t2w")
    assert str(package.folder) == event["installed"] == str(user_models() / "tiny-t1w-t2w")
    assert package.weights_sha256 == tiny_package.weights_sha256
    assert package.sha256 == tiny_package.sha256
    assert told == [(0, 3), (1, 3), (2, 3)]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_whenever_it_is_cancelled_nothing_is_installed(calls, archive, scratch):
    """The last one comes when the package has just been put in its place."""
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > calls

    with pytest.raises(Cancelled):
        import_model(run_of(archive, scratch, cancelled)[0])
    assert installed() == [] and list(scratch.iterdir()) == []


def test_weights_that_do_not_fit_their_network_are_never_put_in_place(
    make_package, card, tmp_path, scratch
):
    network = card["network"] | {"n_blocks": 2}
    folder = make_package(tmp_path / "other", network=network).folder
    with pytest.raises(ModelError, match="other: the weights do not fit the network"):
        import_model(run_of(folder, scratch)[0])
    assert not user_models().exists()


def test_a_package_with_the_id_of_a_shipped_one_is_refused(
    tiny_package, make_package, tmp_path, scratch, monkeypatch
):
    shipped = make_package(tmp_path / "shipped" / "tiny-t1w-t2w", version="9.0.0")
    monkeypatch.setattr(registry, "shipped_models", lambda: shipped.folder.parent)
    with pytest.raises(ModelError, match="^tiny-t1w-t2w: is the id of a model that comes with"):
        import_model(run_of(tiny_package.folder, scratch)[0])
    with pytest.raises(ModelError, match="^tiny-t1w-t2w: is the id of a model that comes with"):
        import_package(tiny_package.folder, tmp_path / "elsewhere")
    assert installed() == [] and not (tmp_path / "elsewhere").exists()


def zip_of(path, card, weights):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("tiny/weights.safetensors", weights)
        file.writestr("tiny/model.json", card)
    return path


@pytest.mark.parametrize("claimed", [100, 2**33])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tiny_package, tmp_path, scratch, monkeypatch, claimed
):
    card = json.loads((tiny_package.folder / "model.json").read_text())
    card["files"]["weights.safetensors"]["bytes"] = claimed
    path = zip_of(tmp_path / "bomb.zip", json.dumps(card), bytes(2**25))
    assert path.stat().st_size < 2**16
    unpacked = []
    extract = unpacking._extract
    monkeypatch.setattr(
        unpacking, "_extract", lambda *given: (unpacked.append(given[2].name), extract(*given))
    )
    with pytest.raises(ModelError, match=f"bomb.zip: .* unpacks to {2**25} bytes, but model.json"):
        import_model(run_of(path, scratch)[0])
    assert unpacked == ["model.json"] and list(scratch.iterdir()) == []


def test_a_card_that_was_changed_in_the_archive_is_refused(tiny_package, tmp_path, scratch):
    path = tmp_path / "changed.zip"
    with zipfile.ZipFile(path, "w") as file:
        for member in tiny_package.folder.iterdir():
            file.writestr(member.name, member.read_bytes().replace(b"1000.0", b"5.0"))
    with pytest.raises(ModelError, match="model.json: its sha256 is .* package.sha256 says"):
        import_model(run_of(path, scratch)[0])
    assert installed() == [] and list(scratch.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe")
@pytest.mark.timeout(20)
def test_a_pipe_that_is_named_like_a_zip_file_is_refused(tmp_path, scratch):
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(ModelError, match="pipe.zip: is a pipe or a device"):
        import_model(run_of(tmp_path / "pipe.zip", scratch)[0])


def test_a_name_that_no_file_can_have_is_told(tmp_path, scratch):
    with pytest.raises(ModelError, match="^xxx.*: cannot be ") as told:
        import_model(run_of(tmp_path / ("x" * 5000), scratch)[0])
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("folder", ["gone", "nul\0"])
def test_a_folder_to_unpack_in_that_is_not_there_is_told(archive, scratch, folder):
    run, _ = run_of(archive, scratch)
    run.request["folder"] = str(scratch / folder)
    with pytest.raises(ModelError, match="tiny.ZIP: there is no folder to unpack it in") as told:
        import_model(run)
    assert str(scratch) not in str(told.value)  # it may name a person
    assert installed() == []


def test_a_taken_place_is_told_before_the_weights_are_looked_at(tiny_package, scratch):
    import_model(run_of(tiny_package.folder, scratch)[0])
    run, told = run_of(tiny_package.folder, scratch)
    with pytest.raises(ModelError, match="exists already"):
        import_model(run)
    assert told == [(0, 3)] and installed() == ["tiny-t1w-t2w"]


def test_what_a_killed_process_left_is_cleared_away_by_the_next_import(tiny_package, scratch):
    abandoned, young = (
        user_models() / f".mambasynth-elsewhere-{n}-0123abcd.part" for n in range(2)
    )
    for folder in (abandoned, young):
        folder.mkdir(parents=True)
    long_ago = abandoned.stat().st_mtime - ABANDONED_S - 1
    os.utime(abandoned, (long_ago, long_ago))
    import_model(run_of(tiny_package.folder, scratch)[0])
    assert not abandoned.exists() and young.exists()  # which another process may be writing


def test_the_command_line_imports_a_zip_file_too(archive, capsys):
    assert main(["models", "import", str(archive)]) == 0
    assert "installed tiny-t1w-t2w" in capsys.readouterr().out and installed() == ["tiny-t1w-t2w"]


def test_a_request_without_a_path_is_refused():
    with pytest.raises(MambaSynthError, match="lacks folder, path"):
        checked('{"do": "import", "id": 1}')


def test_the_real_process_imports_and_says_why_it_does_not(tiny_package, tmp_path, scratch):
    (tmp_path / "page.zip").write_text("<html>404</html>")
    requests = [
        {"do": "import", "id": n, "path": str(path), "folder": str(scratch)}
        for n, path in enumerate([tmp_path / "page.zip", tiny_package.folder], start=1)
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "MambaSynthLib", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    process.stdin.write("".join(json.dumps(request) + "\n" for request in requests))
    process.stdin.flush()
    ends = {}
    while len(ends) < 2:  # the end of stdin would cancel what is under way
        event = json.loads(process.stdout.readline())
        if event["event"] in ("done", "failed"):
            ends[event["id"]] = event
    process.communicate()
    assert "page.zip: is no intact zip file" in ends[1]["message"] and ends[1]["details"] == ""
    assert ends[2]["model"] == "tiny-t1w-t2w" and installed() == ["tiny-t1w-t2w"]
