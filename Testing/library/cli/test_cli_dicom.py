"""From a DICOM series to a synthetic one, at once or by way of a file."""

import importlib.util
import json

import numpy as np
import pytest

from MambaSynthLib.commands import synthesize
from MambaSynthLib.io.cine_writing import write_cine
from MambaSynthLib.io.dicom_series import open_series
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from Testing.library.cine_hearts import beat
from Testing.library.cli.command_line import called, contents, refused, unchanged
from Testing.library.dicom_slices import TIMES, dicom_series, of_a_person
from Testing.library.io.test_dicom_writing import CINE
from Testing.provenance_records import RECORD


@pytest.fixture
def series(folder, head):
    """A DICOM series of the head in the folder to work in."""
    return dicom_series(folder / "series", [head], change=of_a_person)


def test_a_series_becomes_a_synthetic_series(run, folder, series, capsys):
    code, said, _ = run(source="series", out="T2")
    assert code == 0 and said.count("wrote") == 1 and f"wrote {folder / 'T2'}\n" in said
    assert run(source="series", out="T2.nii.gz")[0] == 0
    volume, same = read_volume(folder / "T2"), read_volume(folder / "T2.nii.gz")
    assert np.abs(volume.array - same.array).max() <= 0.5
    np.testing.assert_allclose(volume.affine, same.affine, atol=1e-5)
    assert called(capsys, "verify", folder / "T2")[0] == 0
    with unchanged(folder):
        refused(run(source="T2", out="again"), "T2: is synthetic already")
        refused(run(source="T2", out="again.nii"), "T2: is synthetic already")
    assert run("--allow-synthetic-input", source="T2", out="again")[0] == 0


def test_an_empty_folder_is_filled_and_one_that_holds_something_is_not(run, folder, series):
    (folder / "to.send").mkdir()
    assert run(source="series", out="to.send")[0] == 0
    assert len(list((folder / "to.send").iterdir())) == len(list(series.iterdir()))
    with unchanged(folder):
        for out in ("to.send", "series"):
            refused(run("--overwrite", source="series", out=out), out, "exists already")


def test_by_way_of_a_file_the_same_series_comes_out(run, folder, series, capsys):
    assert run(source="series", out="T2")[0] == 0
    assert run(source="series", out="T2.nrrd")[0] == 0
    code, said, _ = called(
        capsys, "dicom", folder / "T2.nrrd", "--source", series, "-o", folder / "later", "--json"
    )
    assert code == 0 and len(json.loads(said)["files"]) == len(list(series.iterdir()))
    assert contents(folder / "later") == contents(folder / "T2")


def test_the_uncertainty_becomes_a_map_beside_it(run, folder, series, capsys):
    pytest.importorskip("highdicom")
    options = ("--samples", 2, "--uncertainty")
    assert run(*options, folder / "map", source="series", out="T2")[0] == 0
    assert run(*options, folder / "map.nii.gz", source="series", out="T2.nii.gz")[0] == 0
    exact = read_volume(folder / "map.nii.gz").array
    assert np.array_equal(read_volume(folder / "map").array, exact)
    assert read_marks(folder / "map").provenance.quantity.startswith("uncertainty map")
    arguments = (folder / "map.nii.gz", "--source", series, "-o", folder / "again")
    assert called(capsys, "dicom", *arguments)[0] == 0
    assert np.array_equal(read_volume(folder / "again").array, exact)


def test_without_highdicom_a_map_is_refused_before_any_computing(
    run, folder, series, monkeypatch, no_engine
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        synthesize, "find_spec", lambda name: None if name == "highdicom" else find(name)
    )
    with unchanged(folder):
        result = run("--samples", 2, "--uncertainty", folder / "map", source="series", out="T2")
        refused(result, "needs highdicom", "pip install")


def test_a_cine_becomes_a_series_with_trigger_times(tmp_path, capsys):
    source = dicom_series(tmp_path / "cine", change=of_a_person)
    frames = open_series(source).cine().frames
    write_cine(iter(frames), tmp_path / "dense.nii.gz", CINE)
    out = tmp_path / "out"
    assert called(capsys, "dicom", tmp_path / "dense.nii.gz", "--source", source, "-o", out)[0] == 0
    found = open_series(out).cine()
    assert found.times_ms == TIMES
    for frame, original in zip(found.frames, frames, strict=True):
        assert np.array_equal(frame.array, original.array)


def test_what_cannot_become_dicom_is_refused_and_leaves_nothing(
    run, folder, series, head, capsys, no_engine
):
    write_volume(head, folder / "marked.nii.gz", provenance=RECORD)
    write_volume(beat()[0], folder / "elsewhere.nii.gz", provenance=RECORD)
    dicom_series(folder / "anonymous", [head], change=without_identity)
    dicom_series(folder / "made", [head], change=synthetic)
    with unchanged(folder):
        refused(run(source="head.nii.gz", out="T2"), "T2: cannot be written in this format")
        refused(run(source="series", out="no/T2"), "folder does not exist")
        refused(run(source="anonymous", out="T2"), "states no SOPInstanceUID")
        for volume, source, said in [
            ("head.nii.gz", "series", "head.nii.gz: does not say which model made it"),
            ("marked.nii.gz", "made", "made: is synthetic already"),
            ("marked.nii.gz", "anonymous", "states no SOPInstanceUID"),
            ("elsewhere.nii.gz", "series", "elsewhere.nii.gz: does not lie on the grid of series"),
            ("marked.nii.gz", "marked.nii.gz", "marked.nii.gz: is no DICOM"),
            ("marked.nii.gz", "missing", "missing: does not exist"),
            ("missing.nii.gz", "series", "does not exist"),
        ]:
            arguments = (folder / volume, "--source", folder / source, "-o", folder / "out")
            refused(called(capsys, "dicom", *arguments), said)
        arguments = (folder / "marked.nii.gz", "--source", series, "-o", series)
        refused(called(capsys, "dicom", *arguments), "series: exists already")


def without_identity(dataset, k, f):
    del dataset.SOPInstanceUID
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"


def synthetic(dataset, k, f):
    dataset.SyntheticData = "YES"


def test_a_report_that_fails_takes_the_series_with_it(run, folder, series, monkeypatch):
    def failing(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthesize, "_write_report", failing)
    with unchanged(folder):
        code, _, said = run("--report", folder / "r.png", source="series", out="T2")
    assert code == 2 and "No space left" in said
    assert not (folder / "T2").exists()
