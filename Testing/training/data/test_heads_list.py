"""Lists of heads with mistakes, and what ``mambasynth heads`` keeps of an earlier run."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from MambaSynthLib.errors import FileError, MambaSynthError, RequestError, VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from MambaSynthTraining.commands import heads as heads_command
from MambaSynthTraining.data.head_slices import HeadSlices
from MambaSynthTraining.data.heads_list import read_list
from MambaSynthTraining.data.heads_set import read_list_of
from Testing.training.made_up_heads import COLUMNS, INTENSITY, LAS, tissues

ANNA = {
    "id": "anna", "person": "anna", "share": "1", "source": "T1w.nii.gz", "target": "T2w.nii.gz",
    "skull": "no", "license": "CC0-1.0", "citation": "computed",
}  # fmt: skip


def write(path, *rows):
    lines = [COLUMNS, *([row.get(name, "") for name in COLUMNS] for row in rows)]
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    return path


@pytest.fixture
def data(tmp_path):
    for contrast in ("T1w", "T2w"):
        values = np.array(INTENSITY[contrast], np.float32)
        write_volume(Volume(values[tissues(0)], LAS, contrast), tmp_path / f"{contrast}.nii.gz")
    return tmp_path


def run(data, *rows, more=()):
    commands = argparse.ArgumentParser().add_subparsers()
    heads_command.add_parser(commands)
    (parser,) = commands.choices.values()
    given = [data, "--list", write(data / "list.tsv", *rows), "--out", data / "set", *more]
    options = parser.parse_args([str(text) for text in given])
    return options.run(options)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([ANNA, ANNA | {"person": "bert"}], "two heads would be anna; give one another id"),
        (
            [ANNA | {"skull": "yes"},
             ANNA | {"id": "anna-brain"}],
            "two heads would be anna-brain",
        ),
        ([ANNA | {"id": "../anna"}], "the id '../anna' can name no file"),
        ([ANNA | {"id": ""}], "the id '' can name no file"),
        ([ANNA | {"share": "inf"}], "the share of anna is no positive number"),
        ([ANNA | {"source": "", "target": ""}], "anna has neither source nor target"),
        ([ANNA | {"skull": ""}], "the skull of anna is ''; give yes for whole heads"),
        ([ANNA | {"source_to_common": "a.txt"}], "anna has one of source_to_common"),
        ([ANNA | {"target_to_common": "b.txt"}], "anna has one of source_to_common"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_list_is_refused(tmp_path, rows, told):
    with pytest.raises(FileError, match=f"list.tsv: {told}"):
        read_list(write(tmp_path / "list.tsv", *rows))


def test_the_same_command_corrects_license_citation_and_share_and_makes_nothing_again(data):
    run(data, ANNA)
    made = (data / "set" / "anna.npz").stat().st_mtime_ns
    run(data, ANNA | {"license": "CC-BY-4.0", "citation": "Anna 2020", "share": "2"})
    assert (data / "set" / "anna.npz").stat().st_mtime_ns == made
    (entry,) = read_list_of(data / "set")[1]
    assert (entry.license, entry.citation, entry.share) == ("CC-BY-4.0", "Anna 2020", 2)


@pytest.mark.parametrize("left", [0, 1000])
def test_a_damaged_head_is_told_and_made_again_once_it_is_removed(data, left):
    run(data, ANNA)
    file = data / "set" / "anna.npz"
    file.write_bytes(file.read_bytes()[:left])
    (entry,) = read_list_of(data / "set")[1]
    with pytest.raises(FileError, match=r"anna\.npz: cannot be read; remove it and run"):
        HeadSlices.read(data / "set", entry, ("T1w", "T2w"))
    file.unlink()
    run(data, ANNA)
    assert HeadSlices.read(data / "set", entry, ("T1w", "T2w")).drawn.size


@pytest.mark.parametrize(
    "more",
    [["--leave-out", "bert"], ["--labels", "nowhere"], ["--labels", ".", "--phantom-share", "-1"]],
)
def test_what_is_wrong_with_the_command_is_said_before_anything_is_made(data, more):
    with pytest.raises(MambaSynthError):
        run(data, ANNA, more=more)
    assert not (data / "set").exists()


def test_a_head_without_target_and_mask_is_refused_before_anything_is_made(data):
    with pytest.raises(RequestError, match="carl has no target"):
        run(data, ANNA, ANNA | {"id": "carl", "target": ""})
    assert not (data / "set").exists()


def test_lesions_on_another_grid_are_refused(data):
    moved = LAS.copy()
    moved[0, 3] += 5
    lesions = Volume((tissues(0) == 1).astype(np.float32), moved, "lesions")
    write_volume(lesions, data / "lesions.nii.gz")
    with pytest.raises(VolumeError, match="lesions.nii.gz and T1w.nii.gz lie up to 5 mm apart"):
        run(data, ANNA | {"lesions": "lesions.nii.gz"})


def test_the_phantoms_persons_can_be_left_out(data, monkeypatch):
    volumes = {c: Volume(np.array(INTENSITY[c], np.float32)[tissues(1)], LAS, c)
               for c in ("T1w", "T2w")}  # fmt: skip
    monkeypatch.setattr(
        "MambaSynthTraining.data.phantom_subjects.PhantomPlan.read", lambda *_: volumes
    )
    (data / "labels").mkdir()
    (data / "labels" / "berta.nii.gz").touch()
    more = ["--labels", data / "labels", "--phantoms", "1", "--leave-out", "phantom of berta"]
    run(data, ANNA, more=more)
    record = json.loads((data / "set" / "heads.json").read_text())
    assert record["left_out"] == ["phantom of berta"] and len(record["heads"]) == 2
