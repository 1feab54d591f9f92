"""Lesions in three images: what is measured of them, and what the command refuses."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.commands import score_heads
from MambaSynthTraining.evaluation.lesions import lesion_rows, read_lesions, write_lesions

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


def test_a_mask_of_somebody_else_is_refused(tmp_path):
    commands = argparse.ArgumentParser().add_subparsers()
    score_heads.add_parser(commands)
    listed = Path(__file__).parents[3] / "training/recipes/heads/open-heads.tsv"
    options = commands.choices["score-heads"].parse_args(
        [".", "--list", str(listed), "--persons", "ms19", "--candidate", f"x={tmp_path}",
         "--out", str(tmp_path), "--lesions", "ms07=mask.nii.gz"]
    )  # fmt: skip
    with pytest.raises(RequestError, match="ms07=mask.nii.gz: give ID=FILE.* ms19"):
        options.run(options)
