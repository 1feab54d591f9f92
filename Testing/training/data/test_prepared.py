"""The prepared data set on disk: what is written is read, and damage is named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.prepared import open_prepared, slices_path
from MambaSynthTraining.data.prepared_writing import write_dataset, write_subject
from MambaSynthTraining.data.sources import prepared_data

GRID = GridSpec("LPS", None, (16, 12))
INTENSITY = IntensitySpec("percentile", 99.5, (0.0, 1000.0))
AFFINE = np.diag([-1.0, -1, 2, 1])


def stacks(seed):
    rng = np.random.default_rng(seed)
    return {
        contrast: rng.uniform(-1, 1, (5, 16, 12)).astype(np.float32) for contrast in ("T1w", "T2w")
    }


def write(folder, subject, seed):
    volumes = {
        contrast: Volume(stack.transpose(2, 1, 0), AFFINE)
        for contrast, stack in stacks(seed).items()
    }
    return write_subject(folder, subject, stacks(seed), volumes, {"paired": True, "site": "HH"})


def dataset(folder, splits):
    return write_dataset(folder, "made up", ("T1w", "T2w"), GRID, INTENSITY, {"seed": 1}, splits)


@pytest.fixture
def prepared(tmp_path):
    for seed, subject in enumerate(("a", "b", "c")):
        write(tmp_path, subject, seed)
    dataset(tmp_path, {"train": ["a"], "validation": ["b"], "test": ["c"]})
    return tmp_path


def test_what_was_written_is_read(prepared):
    data = open_prepared(prepared)
    assert (data.name, data.contrasts) == ("made up", ("T1w", "T2w"))
    assert (data.grid, data.intensity, data.options) == (GRID, INTENSITY, {"seed": 1})
    (subject,) = data.subjects("test")
    assert subject.id == "c" and subject.attributes["site"] == "HH"
    for contrast, stack in stacks(2).items():
        slices = subject.slices(contrast)
        np.testing.assert_array_equal(slices[3], stack[3])
        assert slices.chunks == (1, 16, 12) and slices.shards == (5, 16, 12)
        np.testing.assert_array_equal(subject.volume(contrast).array, stack.transpose(2, 1, 0))
    subject.check()


def test_slices_that_changed_after_the_split_are_found(prepared):
    write(prepared, "c", seed=7)
    (subject,) = open_prepared(prepared).subjects("test")
    with pytest.raises(FileError, match="c: its slices are not those"):
        subject.check()


def test_one_subject_in_two_splits_is_refused_and_nothing_is_written(tmp_path):
    write(tmp_path, "a", 0)
    with pytest.raises(FileError, match="a: is in the splits train .* and test"):
        dataset(tmp_path, {"train": ["a"], "test": ["a"]})
    assert not list(tmp_path.glob("*.json"))


def test_one_person_under_two_names_in_two_splits_is_refused(tmp_path):
    write(tmp_path, "a", 0)
    write(tmp_path, "twin", 0)
    with pytest.raises(FileError, match="twin: is in the splits train \\(as a\\) and test"):
        dataset(tmp_path, {"train": ["a"], "test": ["twin"]})


def test_a_split_file_edited_by_hand_is_checked_too(prepared):
    splits = json.loads((prepared / "splits.json").read_text())
    splits["validation"] = splits["train"]
    (prepared / "splits.json").write_text(json.dumps(splits))
    with pytest.raises(FileError, match="may be in one only"):
        open_prepared(prepared)


def test_groups_keep_their_shares_and_the_others_have_the_rest(tmp_path):
    for seed, name in enumerate("abc"):
        write(tmp_path, name, seed)
    options = ("made up", ("T1w", "T2w"), GRID, INTENSITY, {}, {"train": ["a", "b", "c"]})
    data = write_dataset(tmp_path, *options, groups={"b": "drawn"}, shares={"drawn": 0.4})
    assert [(share, [one.id for one in found]) for share, found in data.training_groups()] == [
        (0.6, ["a", "c"]), (0.4, ["b"])
    ]  # fmt: skip
    found = prepared_data(tmp_path)
    assert found.shares == [0.6, 0.4] and [len(group) for group in found.groups] == [10, 5]
    with pytest.raises(FileError, match="lacks 'other'"):
        write_dataset(tmp_path, *options, groups={"b": "other"}, shares={"drawn": 0.4})


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("dataset.json", "{", "is missing or no JSON"),
        ("dataset.json", "[]", "holds no JSON object"),
        ("dataset.json", '{"format": 9}', "has the format 9, not 1"),
        ("dataset.json", '{"format": 1}', "lacks 'grid'"),
        ("splits.json", '{"train": []}', "lacks 'validation'"),
    ],
)
def test_damaged_files_are_named(prepared, file, text, message):
    (prepared / file).write_text(text)
    with pytest.raises(FileError, match=message):
        open_prepared(prepared)


def test_unknown_splits_contrasts_and_missing_slices_are_named(prepared):
    data = open_prepared(prepared)
    with pytest.raises(RequestError, match="tests: is no split"):
        data.subjects("tests")
    (subject,) = data.subjects("train")
    with pytest.raises(FileError, match="a: has no PDw among its slices"):
        subject.slices("PDw")
    slices_path(prepared, "a").rename(prepared / "elsewhere")
    with pytest.raises(FileError, match="the slices of a cannot be read"):
        subject.slices("T1w")
