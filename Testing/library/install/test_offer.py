"""A model from an address: fetched, looked at, and installed once its sha256 was compared."""

import hashlib
import os
import threading
import time
import zipfile

import pytest
from test_download import Server, sha256_of

from MambaSynthLib.errors import Cancelled, FileError, ModelError
from MambaSynthLib.install import offer
from MambaSynthLib.install.offer import fetch_offer, waiting_room
from MambaSynthLib.model.registry import find_model, user_models
from Testing.library.cli.command_line import called, refused


@pytest.fixture
def site(tiny_package, tmp_path):
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w") as file:
        for member in tiny_package.folder.iterdir():
            file.write(member, f"tiny/{member.name}")
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.content = path.read_bytes()
        server.address = f"http://127.0.0.1:{server.server_port}/tiny.zip"
        yield server
        server.shutdown()


def waiting():
    return sorted(path.name for path in waiting_room().glob("*"))


def ignore(done, total):
    """Of progress."""


def test_a_fetched_file_has_its_hash_as_its_name_and_its_card_is_read(site):
    told = []
    made = fetch_offer(site.address, lambda done, total: told.append((done, total)))
    assert made.sha256 == sha256_of(site.content) and made.size == len(site.content)
    assert waiting() == [f"{made.sha256}.zip"] and made.card.id == "tiny-t1w-t2w"
    assert told[0] == (0, len(site.content)) and told[-1] == (len(site.content),) * 2


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"<html>log in</html>", "tiny.zip: is no intact zip file"), (b"", "tiny.zip: is empty")],
)
def test_what_is_no_package_is_refused_and_not_kept(site, content, why):
    site.content = content
    with pytest.raises((ModelError, FileError), match=why):
        fetch_offer(site.address, ignore)
    assert waiting() == []


@pytest.mark.parametrize("address", ["http://example.org/x.zip", "ftp://x/y.zip", "file:///x.zip"])
def test_only_https_is_fetched(address):
    with pytest.raises(FileError, match="is not an https address"):
        fetch_offer(address, ignore)
    assert waiting() == []


def test_a_connection_that_breaks_off_is_told_and_nothing_is_kept(site):
    site.manner = "closing"
    with pytest.raises(FileError, match="broke off at byte"):
        fetch_offer(site.address, ignore)
    assert waiting() == []


def test_a_file_that_is_too_large_is_refused_before_it_is_here(site, monkeypatch):
    monkeypatch.setattr(offer, "LARGEST", 1000)
    with pytest.raises(FileError, match="is larger than"):
        fetch_offer(site.address, ignore)
    assert waiting() == []


def test_a_cancelled_download_leaves_nothing(site):
    def cancel(done, total):
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch_offer(site.address, cancel)
    assert waiting() == []


def test_what_was_forgotten_is_removed_by_the_next_one(site):
    waiting_room().mkdir(parents=True)
    for name, age in (("old.zip", 2 * offer.FORGOTTEN_S), ("young.zip", 10)):
        (waiting_room() / name).touch()
        os.utime(waiting_room() / name, (time.time() - age,) * 2)
    fetch_offer(site.address, ignore)
    assert "old.zip" not in waiting() and "young.zip" in waiting()


def test_the_command_line_asks_to_compare_the_hash_before_it_installs(site, capsys):
    sha256 = hashlib.sha256(site.content).hexdigest()
    words = ["models", "import", site.address]
    code, _, said = called(capsys, *words)
    assert code == 2 and sha256 in said and "tiny-t1w-t2w 1.2.3 (T1w -> T2w)" in said
    code, _, said = called(capsys, *words, "--sha256", "0" * 64)
    assert code == 2 and "do not use it" in said
    assert not user_models().exists() and waiting() == []
    code, out, _ = called(capsys, *words, "--sha256", sha256.upper())
    assert code == 0 and "installed tiny-t1w-t2w" in out and waiting() == []
    assert find_model("tiny-t1w-t2w").folder.parent == user_models()


def test_the_command_line_replaces_a_version_when_told_to(make_package, tmp_path, capsys):
    old = make_package(tmp_path / "old", version="1.0.0").folder
    new = make_package(tmp_path / "new", version="2.0.0").folder
    assert called(capsys, "models", "import", old)[0] == 0
    refused(called(capsys, "models", "import", new), "exists already, as version 1.0.0")
    assert called(capsys, "models", "import", new, "--replace")[0] == 0
    assert find_model("tiny-t1w-t2w").card.version == "2.0.0"
