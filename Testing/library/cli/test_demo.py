"""``mambasynth demo``: on the template's head, and on a person's that a server holds."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

from MambaSynthLib.cli import main
from MambaSynthLib.install import public_pair
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from MambaSynthLib.model.package import shipped_models
from MambaSynthLib.phantom import template
from Testing.analytic_heads import analytic_head, brain
from Testing.library.install.test_download import Server, server  # noqa: F401 (a fixture)

ROOT = Path(__file__).resolve().parents[3]
COARSE = (6.0, 6.0, 6.0)
HAS_TEMPLATE = importlib.util.find_spec("nilearn") is not None


def without_template(monkeypatch):
    monkeypatch.setattr(template, "find_spec", lambda name: None)


@pytest.fixture
def small_template(tmp_path, monkeypatch):
    """A package ``nilearn`` of three small files from formulas."""
    folder = tmp_path / "site" / "nilearn"
    (folder / template.FOLDER).mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    gray, white, _ = brain(COARSE)
    source = analytic_head(COARSE, skull=False)["T1w"]
    images = {"t1": source.array, "gm": gray * 255, "wm": white * 255}
    hashes = {}
    for which, array in images.items():
        path = folder / template.FOLDER / template.NAME.format(which)
        write_volume(source.with_array(array), path)
        hashes[which] = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(template, "SHA256", hashes)
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def rows(printed: str) -> dict[str, float]:
    """Name of a row -> SSIM, of the table printed."""
    found = re.findall(r"^\| ([a-z ]+)\| (0\.\d+)", printed, re.MULTILINE)
    return {name.strip(): float(ssim) for name, ssim in found}


def test_the_template_and_the_head_computed_around_it_are_synthesized_and_scored(
    small_template, tmp_path, capsys
):
    assert main(["demo", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "This score is on a computed head" in printed and "known exactly" in printed
    assert {"synthetic", "source itself", "source inverted"} <= set(rows(printed))
    for name in ("template", "computed"):
        synthetic = tmp_path / "out" / f"{name}_desc-synthetic_T2w.nii.gz"
        assert read_marks(synthetic) is not None
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    computed = read_volume(tmp_path / "out" / "computed_T1w.nii.gz")
    assert computed.spacing[2] == template.EVERY * COARSE[2]


def test_without_the_template_the_one_command_that_brings_it_is_told(monkeypatch, tmp_path, capsys):
    without_template(monkeypatch)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.rstrip().endswith(
        f"run: pip install --no-deps nilearn=={template.NILEARN}"
    )


def test_a_template_of_other_bytes_is_refused_with_the_same_command(
    small_template, tmp_path, capsys
):
    path = small_template / template.FOLDER / template.NAME.format("t1")
    path.write_bytes(path.read_bytes() + b"?")
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert str(path) in told and template.INSTALL in told


def test_the_version_that_is_asked_for_is_the_one_that_is_tested_with():
    pins = (ROOT / "Testing" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"nilearn=={template.NILEARN}" in pins


@pytest.mark.skipif(not HAS_TEMPLATE, reason="nilearn is not installed: " + template.INSTALL)
def test_the_real_template_is_the_pinned_one():
    source, gray, white = (read_volume(template.template_file(w)) for w in ("t1", "gm", "wm"))
    assert source.shape == (197, 233, 189) and source.axis_codes == "RAS"
    assert gray.array.max() == white.array.max() == template.FULL
    assert (gray.array + white.array).max() == template.FULL


def test_a_folder_that_cannot_be_made_is_told(tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert main(["demo", "--out", str(tmp_path / "file" / "out")]) == 2
    assert "name another folder with --out" in capsys.readouterr().err


@pytest.fixture
def served(server, tmp_path, monkeypatch):  # noqa: F811
    """The server holds a person's T1w and T2w volumes, one after the other."""
    contents = {}
    for contrast, volume in analytic_head(COARSE, skull=False).items():
        path = tmp_path / f"served_{contrast}.nii.gz"
        write_volume(volume, path)
        contents[contrast] = path.read_bytes()
    pins = {
        contrast: public_pair.PinnedFile(
            f"{server.address}/{contrast}", len(data), hashlib.sha256(data).hexdigest()
        )
        for contrast, data in contents.items()
    }
    monkeypatch.setattr(public_pair, "PAIR", pins)
    server.by_path = {f"/file/{contrast}": data for contrast, data in contents.items()}
    return server


def test_a_persons_pair_is_fetched_once_and_scored_with_its_source_named(served, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["demo", "--real", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "Lesjak" in printed and "CC-BY" in printed and public_pair.PERSON in printed
    card = json.loads((shipped_models() / "cravim-t1w-t2w-compact/model.json").read_text())
    assert card["trained_on"] in printed
    assert "synthetic" in rows(printed) and (out / "sub-19.png").is_file()
    asked = len(served.ranges)
    assert asked == 2 and main(["demo", "--real", "--out", str(out)]) == 0
    assert len(served.ranges) == asked


def test_without_a_network_the_persons_pair_is_refused_in_one_sentence(served, tmp_path, capsys):
    served.server_close()
    assert main(["demo", "--real", "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be reached" in told and "check the network" in told
    assert not public_pair.pair_file("T1w").exists()


def test_the_pinned_pair_lies_at_one_commit_of_its_public_home():
    for contrast, pinned in public_pair.PAIR.items():
        assert re.match(r"https://raw\.githubusercontent\.com/\S+/[0-9a-f]{40}/", pinned.address)
        assert f"/patient19/{contrast[:2]}_" in pinned.address
        assert pinned.size > 10**6 and re.fullmatch(r"[0-9a-f]{64}", pinned.sha256)


def test_the_pinned_pair_is_the_one_beside_the_checkout(shared):
    for contrast, pinned in public_pair.PAIR.items():
        folder = shared / "data/brain_t1_t2/registered_1mm/patient19"
        assert pinned.is_at(folder / f"{contrast[:2]}_MNI.nii.gz")
