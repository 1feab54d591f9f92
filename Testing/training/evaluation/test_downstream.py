"""What a segmentation network finds in synthetic targets."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from tiny_data import GRID, INTENSITY, SPLITS, head, write_tiny_data

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.preparation import prepare
from MambaSynthTraining.data.label_map import LABELS
from MambaSynthTraining.data.prepared_writing import write_dataset, write_subject
from MambaSynthTraining.evaluation import downstream
from MambaSynthTraining.evaluation.downstream import dice_of, segmenter_of, told

pytestmark = pytest.mark.usefixtures("without_lpips")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(downstream, "ITERATIONS", 60)


def labelled(folder, splits=SPLITS):
    """Tiny heads in which the bright half of the T2w is called fluid, the other one tissue."""
    for subject in [name for names in splits.values() for name in names]:
        source, target = head(int(subject[1:]))
        inside = target.array > 0
        bright = target.array > np.median(target.array[inside])
        labels = target.with_array((inside + 6.0 * (inside & bright)).astype(np.float32), LABELS)
        preparation = prepare(source, GRID, INTENSITY)
        stacks = {"T1w": preparation.stack(), "T2w": preparation.stack_of(target)}
        about = {
            "paired": True,
            "slices": {contrast: list(range(preparation.count)) for contrast in stacks},
            LABELS: {"1": "tissue", "7": "fluid"},
        }
        volumes = {"T1w": source, "T2w": target, LABELS: labels}
        write_subject(folder, subject, stacks, volumes, about)
    return write_dataset(folder, "tiny heads", ("T1w", "T2w"), GRID, INTENSITY, {}, splits)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return labelled(tmp_path_factory.mktemp("data"))


def nobody(done, total):
    assert done <= total


def test_dice_is_twice_the_overlap_over_the_sum():
    true = np.array([[[1, 1, 1, 0], [2, 2, 0, 0]]])
    found = np.array([[[1, 1, 0, 0], [2, 0, 2, 2]]])
    assert dice_of(found, true, ("a", "b", "c")) == pytest.approx({"a": 4 / 5, "b": 2 / 5})


def test_it_finds_in_the_acquired_target_what_it_does_not_find_in_the_source(
    data, tmp_path, capsys
):
    words = ["evaluate-set", "trivial", "--data", str(data.folder), "--out", str(tmp_path / "out")]
    assert main([*words, "--segmenter", str(tmp_path / "kept" / "segmenter.pt")]) == 0
    with open(tmp_path / "out" / "source-itself" / "downstream.csv", newline="") as file:
        rows = [row | {"dice": float(row["dice"])} for row in csv.DictReader(file)]
    assert {row["subject"] for row in rows} == set(SPLITS["test"])
    assert {row["tissue"] for row in rows} == {"fluid", "tissue"}

    def mean(image):
        return np.mean([row["dice"] for row in rows if row["image"] == image])

    assert mean("acquired") > 0.6 > mean("synthetic") + 0.2
    assert told(rows) in capsys.readouterr().out
    assert main(words) == 0  # scored again without it: no Dice of an earlier candidate stays
    assert not list((tmp_path / "out").glob("*/downstream.csv"))


def test_it_is_trained_once_and_for_these_people_and_this_contrast(data, tmp_path):
    file = tmp_path / "segmenter.pt"
    made = segmenter_of(data, file, nobody)
    written = file.stat().st_mtime_ns
    again = segmenter_of(data, file, nobody)
    assert file.stat().st_mtime_ns == written and again.tissues == made.tissues
    stack = np.random.default_rng(0).uniform(-1, 1, (2, 34, 32)).astype(np.float32)
    assert np.array_equal(again.segment(stack), made.segment(stack))
    with pytest.raises(FileError, match="other people or another contrast than T1w"):
        segmenter_of(data.toward("T2w", "T1w"), file, nobody)
    file.write_bytes(b"no network")
    with pytest.raises(FileError, match="segmenter.pt: keeps no segmenter"):
        segmenter_of(data, file, nobody)


def test_without_label_maps_it_is_refused_before_anything_is_scored(tmp_path, capsys):
    plain = write_tiny_data(tmp_path / "plain")
    with pytest.raises(RequestError, match="nobody knows the tissues of its training people"):
        segmenter_of(plain, tmp_path / "s.pt", nobody)
    words = ["evaluate-set", "trivial", "--data", str(plain.folder), "--out", str(tmp_path / "o")]
    assert main([*words, "--segmenter", str(tmp_path / "s.pt")]) == 2
    assert not (tmp_path / "o").exists() and not (tmp_path / "s.pt").exists()
    assert "leave --segmenter out" in capsys.readouterr().err
