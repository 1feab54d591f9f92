"""A slice at the end of a stack that is lost or foreign is named: nothing else would tell."""

import os

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.files import read_marks, read_volume
from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import dicom_series
from Testing.nasty.dicom_faults import ITEM, SEQUENCE, deflated_bomb


def stack(folder, change=lambda dataset, k, f: True):
    return dicom_series(folder, frames=beat()[:1], change=change)


def last_of(folder):
    """The file of the slice at the end of the stack, whose absence leaves an even stack."""
    return next(folder.glob("*-3-0.dcm"))


def cut(count):
    return lambda path: path.write_bytes(path.read_bytes()[:count])


def without_preamble(path):
    path.write_bytes(path.read_bytes()[132:])


def under_another_name(path):
    without_preamble(path)
    path.rename(path.with_suffix(".bin"))


def a_link_to_nowhere(path):
    path.unlink()
    path.symlink_to("gone.dcm")


def a_web_page(path):
    path.write_text("<!DOCTYPE html><title>404</title>" + " " * 200)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut(0), "is empty .0 bytes."),
        (cut(1), "ends after 1 bytes"),
        (cut(131), "ends after 131 bytes"),
        (cut(132), "is truncated, or no MR slice"),
        (cut(400), "is truncated, or no MR slice"),
        (cut(-720), "pixels cannot be read"),  # no pixel is left
        (cut(-361), "pixels cannot be read"),  # within a pixel in the middle
        (cut(-2), "pixels cannot be read"),
        (cut(-1), "pixels cannot be read"),
        (without_preamble, "lacks the preamble"),
        (under_another_name, "lacks the preamble"),
        (a_link_to_nowhere, "no file that can be read"),
        (a_web_page, "is no DICOM file .it holds a web page"),
    ],
)
def test_an_end_slice_whose_file_is_damaged_is_named(tmp_path, damage, said):
    folder = stack(tmp_path / "d")
    path = last_of(folder)
    damage(path)
    with pytest.raises(FileError, match=rf"^{path.stem}\.(dcm|bin)(,.*)?: .*{said}"):
        read_volume(folder)


def test_names_without_a_suffix_are_slices_where_the_others_have_none(tmp_path):
    folder = stack(tmp_path / "d")
    for n, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"1.2.840.{n}")
    assert read_volume(folder).shape == beat()[0].shape
    (folder / "1.2.840.9").touch()
    with pytest.raises(FileError, match=r"^1\.2\.840\.9: is empty"):
        read_volume(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_with_the_name_of_a_slice_is_refused_without_waiting(tmp_path):
    folder = stack(tmp_path / "d")
    os.mkfifo(folder / "99.dcm")
    with pytest.raises(FileError, match=r"^99\.dcm: is no file that can be read"):
        read_volume(folder)


def test_what_usually_lies_beside_slices_does_no_harm(tmp_path):
    folder = stack(tmp_path / "d")
    for name in ("README", "LICENSE", ".DS_Store", "Thumbs.db", "notes.txt", "series.json",
                 "key.jpg", "DICOMDIR"):  # fmt: skip
        (folder / name).write_bytes(b"")
    (folder / "old").mkdir()
    assert read_volume(folder).shape == beat()[0].shape


def test_cut_compressed_pixels_are_refused(tmp_path):
    def compress(dataset, k, f):
        dataset.compress(RLELossless)

    folder = stack(tmp_path / "d", compress)
    path = last_of(folder)
    np.testing.assert_array_equal(read_volume(folder).array, beat()[0].array.round())
    whole = path.read_bytes()
    for count in (-5, -9, -30, -100):  # the last four bytes are zeros after the end's mark
        path.write_bytes(whole[:count])
        with pytest.raises(FileError, match=rf"^{path.stem}\.dcm: is truncated, or no MR slice"):
            read_volume(folder)


def last(**values):
    """Set values in the slice at the end of the stack."""

    def change(dataset, k, f):
        dataset.PatientID, dataset.PatientName = "001", "Somebody^Some"
        dataset.FrameOfReferenceUID = "1.2.3"
        if k == 3:
            for keyword, value in values.items():
                setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"PatientID": "1"}, "different patients"),
        ({"PatientName": "Another^Some"}, "different patients"),
        ({"PatientID": None}, "different patients"),
        ({"StudyInstanceUID": "1.2.9"}, "different studies"),
        ({"FrameOfReferenceUID": "1.2.4"}, "different frames of reference"),
    ],
)
def test_slices_of_another_patient_or_place_under_one_series_are_refused(tmp_path, values, said):
    assert read_volume(stack(tmp_path / "good", last())).shape == beat()[0].shape
    folder = stack(tmp_path / "d", last(**values))
    with pytest.raises(FileError, match=said) as caught:
        read_volume(folder)
    assert last_of(folder).name in str(caught.value) and "Somebody" not in str(caught.value)


def test_orientation_vectors_that_are_not_of_unit_length_are_refused(tmp_path):
    def longer(dataset, k, f):
        dataset.ImageOrientationPatient = [1.2 * v for v in dataset.ImageOrientationPatient]

    def rounded(dataset, k, f):
        dataset.ImageOrientationPatient = [round(v, 4) for v in dataset.ImageOrientationPatient]

    with pytest.raises(FileError, match="orientation vectors of the lengths 1.2 and 1.2"):
        read_volume(stack(tmp_path / "long", longer))
    found = read_volume(stack(tmp_path / "rounded", rounded))
    np.testing.assert_allclose(found.affine, beat()[0].affine, atol=1e-3)


def test_a_rescale_slope_of_zero_is_refused_and_an_empty_one_is_none(tmp_path):
    def scale(slope):
        def change(dataset, k, f):
            dataset.RescaleSlope, dataset.RescaleIntercept = slope, None

        return change

    with pytest.raises(FileError, match="Rescale Slope 0"):
        read_volume(stack(tmp_path / "zero", scale(0)))
    found = read_volume(stack(tmp_path / "none", scale(None)))
    np.testing.assert_array_equal(found.array, beat()[0].array.round())


def test_times_that_are_no_number_are_refused(tmp_path):
    def undated(dataset, k, f):
        dataset.TriggerTime = pydicom.valuerep.DSfloat("nan", validation_mode=0)

    with pytest.raises(FileError, match="impossible geometry|no MR slice"):
        read_volume(stack(tmp_path / "d", undated))


def test_a_single_slice_without_a_thickness_is_noted(tmp_path):
    def thin(dataset, k, f):
        dataset.SliceThickness = None
        return k == 0

    volume = read_volume(stack(tmp_path / "d", thin))
    assert volume.shape[2] == 1 and volume.spacing[2] == pytest.approx(1)
    assert any("slice thickness assumed" in note for note in volume.notes)


def shifted_bits(dataset):
    dataset.PixelData = (np.frombuffer(dataset.PixelData, "<u2") << 4).tobytes()
    dataset.HighBit = 15


def in_colors(dataset):
    dataset.PhotometricInterpretation = "PALETTE COLOR"


def of_no_kind(dataset):
    del dataset.PhotometricInterpretation


def of_no_size(dataset):
    dataset.BitsAllocated = 12


def twice(dataset):
    dataset.PixelData = 2 * dataset.PixelData


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (shifted_bits, "keeps its 12 bits below bit 16"),
        (in_colors, "pixels of the kind PALETTE COLOR"),
        (of_no_kind, "pixels of the kind None"),
        (of_no_size, "pixels cannot be read"),
        (twice, "holds at least one picture more"),
    ],
)
def test_pixels_that_decoders_would_take_for_others_are_refused(tmp_path, alter, said):
    with pytest.raises(FileError, match=said):
        read_volume(stack(tmp_path / "d", lambda dataset, k, f: alter(dataset)))


def test_signed_values_that_are_stored_inverted_come_out_upright(tmp_path):
    def inverted(dataset, k, f):
        dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, "MONOCHROME1"

    found = read_volume(stack(tmp_path / "d", inverted)).array
    np.testing.assert_array_equal(found, -1 - beat()[0].array.round())


# ---- files that unpack, or nest, without end -----------------------------------------------------


def deflated(dataset, k, f):
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def test_a_deflated_stack_is_read_and_a_damaged_one_refused(tmp_path):
    folder = stack(tmp_path / "d", deflated)
    np.testing.assert_array_equal(read_volume(folder).array, beat()[0].array.round())
    assert read_marks(folder) is None
    path = last_of(folder)
    whole = path.read_bytes()
    for broken in (whole[:-200], whole[:400] + b"\xff" * 40 + whole[440:]):
        path.write_bytes(broken)
        with pytest.raises(FileError, match=rf"^{path.stem}\.dcm(,.*)?: "):
            read_volume(folder)


def test_what_would_unpack_to_gigabytes_is_refused(tmp_path):
    folder = stack(tmp_path / "d", deflated)
    deflated_bomb(folder)
    path = last_of(folder)
    assert path.stat().st_size < 2**20
    for read in (read_volume, read_marks):
        with pytest.raises(FileError, match=r"unpacks to 67108864 bytes or more"):
            read(folder)


def test_sequences_nested_without_end_are_refused(tmp_path):
    folder = stack(tmp_path / "d")
    path = last_of(folder)
    path.write_bytes(path.read_bytes() + 5000 * (SEQUENCE + ITEM))
    with pytest.raises(FileError, match="is truncated, or no MR slice"):
        read_volume(folder)


def test_whatever_pydicom_raises_becomes_a_sentence(tmp_path):
    """A length of four bytes is missing at the end; found by ``make fuzz``."""
    folder = stack(tmp_path / "d")
    path = last_of(folder)
    path.write_bytes(path.read_bytes() + b"\x00\x00\x00\x05\xff\xff\xff\xff")
    with pytest.raises(FileError, match="is truncated, or no MR slice"):
        read_volume(folder)
