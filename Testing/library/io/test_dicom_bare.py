"""A synthetic image as DICOM where no series lies behind it: for the person that somebody names."""

from dataclasses import replace

import numpy as np
import pytest

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.turning import turned_onto
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.dicom_bare import bare_series
from MambaSynthLib.io.dicom_series import open_series, series_of
from MambaSynthLib.io.dicom_writing import write_dicom
from MambaSynthLib.io.files import read_marks, read_volume
from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import TIMES, dicom_series, of_a_person
from Testing.library.io.test_dicom_writing import CINE, HEAD_RECORD, files_of

PERSON = {"PatientID": "007", "PatientName": "Müller^Zoë", "StudyDate": "20200102"}


def tilted():
    """(4,4) oblique, left-handed, three voxel sizes."""
    a = np.deg2rad(13.7)
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.9, 1.1, 3.0])
    affine[:3, 3] = 40.123456789, -50, 20
    return affine


def bare(person=PERSON):
    return bare_series(tilted(), (5, 4, 3), person, "Head")


def test_an_image_without_a_series_is_written_for_the_person_that_was_given(tmp_path):
    image = Volume(np.arange(60.0).reshape(5, 4, 3) * 20, tilted(), "Head")
    write_dicom([image], tmp_path / "out", bare(), HEAD_RECORD)
    for one in files_of(tmp_path / "out"):
        assert (one.PatientID, str(one.PatientName), one.StudyDate) == ("007", "Müller^Zoë",
                                                                        "20200102")  # fmt: skip
        assert one.SyntheticData == "YES" and "SourceImageSequence" not in one
        assert "Zoe" not in one.to_json() and one.FrameOfReferenceUID
    read = read_volume(tmp_path / "out", allow_synthetic=True)
    back = turned_onto(read, image.affine, image.shape, "Head")
    assert np.array_equal(back.array, image.array)
    assert read_marks(tmp_path / "out").provenance.model_id == HEAD_RECORD.model_id


def test_two_images_of_one_person_and_study_share_both_and_no_series(tmp_path):
    image = Volume(np.arange(60.0).reshape(5, 4, 3) * 20, tilted(), "Head")
    for name, scale in (("one", 1), ("two", 2)):
        write_dicom([image.with_array(image.array * scale)], tmp_path / name, bare(), HEAD_RECORD)
    one, two = (files_of(tmp_path / name)[0] for name in ("one", "two"))
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID
    other = bare(PERSON | {"PatientID": "008"}).stacks[0][0].image
    assert other.StudyInstanceUID != one.StudyInstanceUID


def test_a_cine_without_a_series_says_which_frames_are_acquired(tmp_path):
    frames = [
        Volume(np.full((5, 4, 3), 100.0 * n) + np.arange(3), tilted(), "Heart") for n in range(1, 5)
    ]
    write_dicom(frames, tmp_path / "out", bare(), CINE)
    files = files_of(tmp_path / "out")
    assert [float(f.TriggerTime) for f in files[::3]] == list(TIMES)
    assert [f.SyntheticData for f in files[::3]] == ["NO", "YES", "YES", "NO"]


def test_a_person_without_an_id_and_values_that_dicom_forbids_are_refused(tmp_path):
    for person in ({}, {"PatientID": "  "}):
        with pytest.raises(FileError, match="^Head: no DICOM series lies behind it, and no patie"):
            bare(person)
    with pytest.raises(FileError, match="^Head: StudyDate is 'yesterday', which DICOM does not"):
        bare(PERSON | {"StudyDate": "yesterday"})
    image = Volume(np.ones((5, 4, 3)), tilted(), "Head")
    spread = replace(HEAD_RECORD, samples=4).of_spread()
    with pytest.raises(FileError, match="a DICOM map refers to the images it belongs to"):
        write_dicom([image], tmp_path / "out", bare(), spread)
    assert not (tmp_path / "out").exists()


def test_the_files_of_a_series_may_lie_anywhere(tmp_path):
    """A database keeps several series in one folder, and links to files elsewhere."""
    folder = dicom_series(tmp_path / "Zoe Mueller", beat()[:1], change=of_a_person)
    source, files = open_series(folder), sorted(folder.iterdir())
    (tmp_path / "elsewhere").mkdir()
    moved_file = files[0].rename(tmp_path / "elsewhere" / "one.dcm")
    series = series_of([moved_file, *files[1:]], "Head")
    assert np.array_equal(series.affine, source.affine) and series.shape == source.shape
    with pytest.raises(FileError, match="^Head: holds no DICOM files"):
        series_of([], "Head")
