"""A new paper is a folder and a line: nothing of the library knows it, and everything works."""

import json
import zipfile

import numpy as np
import pytest

from MambaSynthLib.cli import main
from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import ModelError, RequestError, VolumeError
from MambaSynthLib.image.intensity import Scaling
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from MambaSynthLib.methods import METHODS, MethodSpec
from MambaSynthLib.model.package import write_package
from MambaSynthLib.model.registry import find_model, user_models
from Testing.analytic_heads import analytic_head
from Testing.model_packages import COMMON, CONTRAST, random_package
from Testing.restoring import restored

CARD = COMMON | {
    "id": "toy",
    "method": "toy",
    "source_contrasts": ["T1w", "PDw"],
    "target_contrasts": ["T2w", "FLAIR"],
    "network": {"width": 3},
    "sampling": {},
    "grid": CONTRAST["grid"],
    "intensity": CONTRAST["intensity"],
}


@pytest.fixture(autouse=True)
def toy_in_the_catalogue(monkeypatch):
    monkeypatch.setitem(
        METHODS, "toy", MethodSpec("A toy", "Nobody", "contrast", "Testing.toy_paper")
    )


@pytest.fixture
def package(tmp_path):
    return random_package(tmp_path / "made" / "toy", CARD)


@pytest.fixture
def heads(tmp_path):
    """Contrast -> file of one head."""
    computed = analytic_head()
    volumes = {"T1w": computed["T1w"], "PDw": computed["T2w"]}
    for contrast, volume in volumes.items():
        write_volume(volume, tmp_path / f"sub-1_{contrast}.nii.gz")
    return {contrast: tmp_path / f"sub-1_{contrast}.nii.gz" for contrast in volumes}


def test_a_package_of_the_new_paper_is_imported_used_and_verified(
    package, heads, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    archive = tmp_path / "toy.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for file in package.folder.iterdir():
            stream.write(file, f"toy/{file.name}")
    assert main(["models", "import", str(archive)]) == 0
    assert find_model("toy").folder == user_models() / "toy"
    output = tmp_path / "sub-1_FLAIR.nii.gz"
    assert main(
        ["synthesize", str(heads["T1w"]), "--with", f"PDw={heads['PDw']}", "--to", "FLAIR",
         "-o", str(output), "--device", "cpu", "--force"]
    ) == 0  # fmt: skip
    capsys.readouterr()
    assert main(["verify", str(output)]) == 0
    assert "FLAIR synthesized from T1w + PDw" in capsys.readouterr().out
    made = read_marks(output).provenance
    assert made.source_name == "sub-1_T1w.nii.gz, sub-1_PDw.nii.gz"
    assert made.target_contrast == "FLAIR" and made.source_sha256.count(", ") == 1


def test_the_engine_uses_all_sources_and_gives_all_targets(package, heads):
    engine = Engine(package, "cpu")
    volumes = {contrast: read_volume(file) for contrast, file in heads.items()}
    made = engine.synthesize(volumes, batch=3, pixel_mark=False)
    assert list(made.volumes) == ["T2w", "FLAIR"] and made.spreads == {}
    card, order = package.card, [volumes[name] for name in package.card.source_contrasts]
    preparation = prepare(order[0], card.grid, card.intensity, order[1])
    answers = engine._network(preparation.sources(np.arange(preparation.count)))
    scaling = Scaling.of_range(*card.intensity.target_range)
    for n, target in enumerate(card.target_contrasts):
        expected = restored(preparation, answers[:, n], scaling).array
        np.testing.assert_allclose(made.volumes[target].array, expected, atol=1e-3)
    other = {"T1w": volumes["T1w"], "PDw": volumes["T1w"]}
    assert not np.array_equal(
        engine.synthesize(other, pixel_mark=False).volumes["T2w"].array, made.volumes["T2w"].array
    )


def test_a_source_that_is_missing_is_asked_for(package, heads, tmp_path, capsys):
    with pytest.raises(RequestError, match=r"T1w \+ PDw -> T2w \+ FLAIR, but was given T1w"):
        Engine(package, "cpu").synthesize({"T1w": read_volume(heads["T1w"])})
    output = tmp_path / "out.nii.gz"
    arguments = ["--model", str(package.folder), "--to", "T2w", "-o", str(output), "--force"]
    assert main(["synthesize", str(heads["T1w"]), *arguments]) == 2
    assert "but was given T1w" in capsys.readouterr().err and not output.exists()


@pytest.mark.parametrize("text", ["PDw", "=x.nii", "PDw="])
def test_a_further_source_is_a_contrast_and_a_file(text, package, heads, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["synthesize", str(heads["T1w"]), "--with", text, "--to", "T2w", "-o", "x.nii"])
    assert "CONTRAST=FILE" in capsys.readouterr().err


def test_sources_on_two_grids_are_refused(package, heads):
    first = read_volume(heads["T1w"])
    moved = first.affine.copy()
    moved[0, 3] += 3
    second = Volume(first.array, moved, "moved")
    with pytest.raises(VolumeError, match="moved"):
        Engine(package, "cpu").synthesize({"T1w": first, "PDw": second})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": {"width": 0}}, r"network.width is 0; give at least 1"),
        ({"network": {"width": 2, "ngf": 4}}, "network has the unknown key 'ngf'"),
        ({"network": {}}, "'width' is a required property"),
        ({"sampling": {"timesteps": 4}}, "sampling has the unknown key 'timesteps'"),
        ({"source_contrasts": ["T1w"]}, r"1 and 2, but the network has 2 and 2"),
        ({"target_contrasts": ["T2w", "T2w"]}, "non-unique"),
    ],
)
def test_the_methods_own_config_checks_its_card(change, said, tmp_path):
    with pytest.raises(ModelError, match=said):
        write_package(tmp_path / "toy", CARD | change, {}, "")


def test_the_card_of_the_new_paper_says_only_what_it_needs(package):
    written = json.loads((package.folder / "model.json").read_text())
    assert written["network"] == {"width": 3} and written["sampling"] == {}
