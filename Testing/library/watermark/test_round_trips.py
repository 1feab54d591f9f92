"""The trips of the survival table that need no other program than ours and nibabel."""

from dataclasses import replace

import pytest

from MambaSynthLib.io.files import write_volume
from MambaSynthLib.watermark.marking import words_of
from Testing.provenance_records import RECORD
from Testing.survival.round_trips import (
    MODEL,
    TRIPS,
    nibabel_as_is,
    nibabel_cropped,
    nibabel_new_header,
    synthetic_head,
    told,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("trip") / "marked.nii"
    record = replace(RECORD, model_id=MODEL, pixel_mark=words_of(MODEL))
    write_volume(synthetic_head(), path, provenance=record)
    return path


def test_there_are_as_many_trips_as_the_issue_counts():
    assert len(TRIPS) == 26


def test_nibabel_keeps_the_mark_of_a_file_that_it_only_copies(file):
    found = told(nibabel_as_is, file)
    assert found["file mark"].startswith("NIfTI header") and found["pixel mark"].endswith(MODEL)


@pytest.mark.parametrize("trip", [nibabel_new_header, nibabel_cropped])
def test_where_the_header_is_lost_the_voxels_still_tell(file, trip):
    assert told(trip, file)["pixel mark"].endswith(f", {MODEL}")


def test_a_trip_that_leaves_nothing_is_told_as_lost(file):
    def flattened(source, folder):
        write_volume(synthetic_head().with_array(synthetic_head().array * 0 + 1), folder / "x.nii")
        return folder / "x.nii"

    assert told(flattened, file) == {"file mark": "lost", "pixel mark": "lost"}
