"""Lesions in three images: what is measured of them, and what the command refuses."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from MambaSynthLib.errors import FileError, MambaSynthError, RequestError, VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from MambaSynthTraining.commands import score_heads
from MambaSynthTraining.evaluation.lesions import lesion_rows, read_lesions, write_lesions
from Testing.training.made_up_heads import COLUMNS, INTENSITY, LAS, tissues

SHAPE = (30, 30, 10)


@pytest.fixture
def brain():
    """(T1w, T2w, brain, lesions): fluid, gray and white matter side by side, a lesion in white."""
    rng = np.random.default_rng(0)
    tissue = np.zeros(SHAPE, int)
    tissue[:10], tissue[10:20], tissue[20:] = 0, 1, 2
    lesions = np.zeros(SHAPE, bool)
    lesions[23:26, 10:14, 3:6] = True
    t1 = np.array([100.0, 300.0, 500.0])[tissue] + rng.normal(0, 20, SHAPE)
    t2 = np.array([900.0, 400.0, 300.0])[tissue] + rng.normal(0, 20, SHAPE)
    t1[lesions], t2[lesions] = 350, 600
    return t1.astype(np.float32), t2.astype(np.float32), np.ones(SHAPE, bool), lesions


def test_a_lesion_is_compared_with_white_and_gray_matter(brain):
    t1, t2, inside, lesions = brain
    shown, hidden = lesion_rows({"acquired": t2, "flat": 0 * t2 + 7}, t1, inside, lesions)
    assert shown["over white"] == pytest.approx(2.0, rel=0.02)
    assert shown["over gray"] == pytest.approx(1.5, rel=0.02)
    assert shown["auc"] > 0.99
    assert hidden["over gray"] == pytest.approx(1) and hidden["auc"] == pytest.approx(0.5)


def test_dark_lesions_are_told_from_white_matter_as_well_as_bright_ones(brain):
    t1, _, inside, lesions = brain
    (row,) = lesion_rows({"source": t1}, t1, inside, lesions)
    assert row["over white"] < 1 and row["auc"] > 0.99


def test_rows_come_back_from_their_table(brain, tmp_path):
    t1, t2, inside, lesions = brain
    rows = [{"head": "a", "person": "p"} | r for r in lesion_rows({"T2w": t2}, t1, inside, lesions)]
    assert read_lesions(tmp_path) == []
    write_lesions(tmp_path, rows)
    (row,) = read_lesions(tmp_path)
    assert row["image"] == "T2w" and row["auc"] == pytest.approx(rows[0]["auc"], abs=1e-3)


def test_a_damaged_table_is_told(tmp_path):
    head = "head,person,image,over white,over gray,auc"
    (tmp_path / "lesions.csv").write_text(f"{head}\na,b,c,x,y,z\n")
    with pytest.raises(FileError, match="lesions.csv: is no table"):
        read_lesions(tmp_path)


def scored(data, *more):
    """``score-heads`` of one stripped head in the folder ``data``."""
    files = ["T1w.nii.gz", "T2w.nii.gz", "no", "", "", ""]
    head = ["anna", "anna", "1", *files, "CC0-1.0", "computed"]
    table = ["\t".join(COLUMNS), "\t".join(head)]
    (data / "list.tsv").write_text("\n".join(table) + "\n")
    commands = argparse.ArgumentParser().add_subparsers()
    score_heads.add_parser(commands)
    given = [data, "--list", data / "list.tsv", "--persons", "anna", "--out", data / "out", *more]
    options = commands.choices["score-heads"].parse_args([str(text) for text in given])
    return options.run(options)


@pytest.fixture
def data(tmp_path):
    """A head, what somebody else made of it, and its lesions."""
    rng = np.random.default_rng(0)
    (tmp_path / "theirs").mkdir()
    places = {"T1w": "T1w.nii.gz", "T2w": "T2w.nii.gz", "made": "theirs/anna-stripped.nii.gz"}
    for contrast, place in places.items():
        values = np.array(INTENSITY["T2w" if contrast == "made" else contrast], np.float32)
        array = values[tissues(0)]
        array[array > 0] += rng.normal(0, 20, int((array > 0).sum()))
        write_volume(Volume(array.astype(np.float32), LAS, contrast), tmp_path / place)
    spots = (tissues(0) == 5).astype(np.float32)
    write_volume(Volume(spots, LAS, "lesions"), tmp_path / "lesions.nii.gz")
    write_volume(Volume(0 * spots, LAS, "lesions"), tmp_path / "none.nii.gz")
    return tmp_path


def test_lesions_are_scored_and_shown_in_volumes_made_elsewhere(data):
    theirs = ["--candidate", f"theirs={data / 'theirs'}"]
    assert scored(data, *theirs, "--lesions", f"anna={data / 'lesions.nii.gz'}") == 0
    rows = {row["image"]: row for row in read_lesions(data / "out")}
    assert rows["theirs"]["over white"] == pytest.approx(rows["acquired"]["over white"], rel=0.1)
    assert (data / "out" / "anna-stripped.png").stat().st_size > 1000


def test_volumes_made_elsewhere_have_to_lie_on_the_grid_of_their_source(data):
    moved = LAS.copy()
    moved[0, 3] += 5
    array = np.ones(tissues(0).shape, np.float32)
    file = data / "theirs" / "anna-stripped.nii.gz"
    write_volume(Volume(array, moved, "moved"), file, overwrite=True)
    with pytest.raises(VolumeError, match="lie up to 5 mm apart"):
        scored(data, "--candidate", f"theirs={data / 'theirs'}")


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        (["x", "x"], [], "x is given twice"),
        (["../x"], [], "'../x' can name no folder"),
        ([""], [], "'' can name no folder"),
        (["acquired"], [], "'acquired' can name no folder"),
        (["x"], ["anna=nowhere.nii.gz"], "nowhere.nii.gz: does not exist"),
        (["x"], ["anna={}/none.nii.gz"], "no voxel of it is above 0"),
    ],
)
def test_wrong_candidates_and_lesions_are_refused_before_anything_is_scored(
    data, names, more, said
):
    theirs = [text for n in names for text in ("--candidate", f"{n}={data / 'theirs'}")]
    masks = [text for m in more for text in ("--lesions", m.format(data))]
    with pytest.raises(MambaSynthError, match=said):
        scored(data, *theirs, *masks)
    assert not (data / "out").exists()


def test_lesions_of_a_whole_head_need_a_mask_of_its_brain(tmp_path):
    options = of_the_open_list(tmp_path, "ms03", "ms03=mask.nii.gz")
    with pytest.raises(RequestError, match="ms03=mask.nii.gz: .* add --brain-teacher own"):
        options.run(options)


def test_a_mask_of_somebody_else_is_refused(tmp_path):
    options = of_the_open_list(tmp_path, "ms19", "ms07=mask.nii.gz")
    with pytest.raises(RequestError, match="ms07=mask.nii.gz: give ID=FILE.* ms19"):
        options.run(options)


def of_the_open_list(folder, person, lesions):
    commands = argparse.ArgumentParser().add_subparsers()
    score_heads.add_parser(commands)
    listed = Path(__file__).parents[3] / "training/recipes/heads/open-heads.tsv"
    return commands.choices["score-heads"].parse_args(
        [".", "--list", str(listed), "--persons", person, "--candidate", f"x={folder}",
         "--out", str(folder), "--lesions", lesions]
    )  # fmt: skip
