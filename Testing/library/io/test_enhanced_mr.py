"""Enhanced MR: many slices in one file, asked as strictly as slices of their own are."""

from copy import deepcopy

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless, generate_uid

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.files import read_marks, read_volume
from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import TIMES, dicom_series
from Testing.library.enhanced_mr import enhanced, expected, item, of_file


def test_frames_are_put_in_place_whatever_their_order(tmp_path):
    volume = read_volume(enhanced(tmp_path / "e.dcm"))
    np.testing.assert_array_equal(volume.array, expected(beat()[0]))
    np.testing.assert_allclose(volume.affine, beat()[0].affine, atol=1e-5)
    assert volume.notes == ()
    again = read_volume(enhanced(tmp_path / "f.dcm", order=[(k, 0) for k in (3, 1, 0, 2)]))
    np.testing.assert_array_equal(again.array, volume.array)
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "e.dcm").rename(folder / "e.dcm")
    np.testing.assert_array_equal(read_volume(folder).array, volume.array)


def test_an_enhanced_cine_is_read_with_its_times(tmp_path):
    cine = read_cine(enhanced(tmp_path / "c.dcm", beat(), cine=True))
    assert cine.times_ms == TIMES
    for frame, original in zip(cine.frames, beat(), strict=True):
        np.testing.assert_array_equal(frame.array, expected(original))
    with pytest.raises(FileError, match="4 times of each slice"):
        read_volume(tmp_path / "c.dcm")


def test_compressed_frames_are_decoded_one_by_one(tmp_path):
    path = enhanced(tmp_path / "e.dcm", change=lambda image: image.compress(RLELossless))
    np.testing.assert_array_equal(read_volume(path).array, expected(beat()[0]))


def test_highdicom_reads_the_same(tmp_path):
    highdicom = pytest.importorskip("highdicom")

    def complete(image):
        """What highdicom wants to be told besides."""
        image.DimensionIndexSequence = []
        image.DimensionOrganizationSequence = item(DimensionOrganizationUID="1.2.5")

    path = enhanced(tmp_path / "e.dcm", change=complete)
    ours, theirs = read_volume(path), highdicom.imread(path).get_volume()
    affine = np.diag([-1, -1, 1, 1]) @ theirs.affine
    array = theirs.array
    index = np.rint(np.linalg.inv(ours.affine) @ affine).astype(int)  # theirs -> ours
    for voxel in ((0, 0, 0), (3, 9, 12), (2, 17, 5)):
        i, j, k, _ = index @ (*voxel, 1)
        assert array[voxel] == ours.array[i, j, k]
    np.testing.assert_allclose(ours.affine @ index, affine, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 4])
def test_a_classic_series_that_highdicom_converted_reads_as_before(tmp_path, frames):
    legacy = pytest.importorskip("highdicom.legacy")

    def complete(dataset, k, f):
        dataset.PatientID, dataset.PatientName, dataset.FrameOfReferenceUID = "1", "A^B", "1.2"
        for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                        "AccessionNumber", "ReferringPhysicianName", "Manufacturer"):  # fmt: skip
            setattr(dataset, keyword, "")
        dataset.EchoTime, dataset.InstanceNumber = 30, 4 * f + k + 1
        dataset.SeriesNumber, dataset.ImageType = 1, ["ORIGINAL", "PRIMARY", "M"]

    classic = dicom_series(tmp_path / "classic", beat()[:frames], change=complete)
    slices = [pydicom.dcmread(path) for path in sorted(classic.iterdir())]
    made = legacy.LegacyConvertedEnhancedMRImage(
        slices, series_instance_uid=generate_uid(), series_number=2,
        sop_instance_uid=generate_uid(), instance_number=1,
    )  # fmt: skip
    made.save_as(tmp_path / "made.dcm")
    read = read_volume if frames == 1 else read_cine
    before, after = read(classic), read(tmp_path / "made.dcm")
    pairs = [(before, after)] if frames == 1 else zip(before.frames, after.frames, strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one.array, other.array)
        np.testing.assert_array_equal(one.affine, other.affine)
    assert frames == 1 or after.times_ms == TIMES


def of_frame(n, group, **values):
    """Set values in a group of frame ``n``."""

    def change(image):
        groups = image.PerFrameFunctionalGroupsSequence[n]
        found = groups.get(group)
        new = deepcopy(found) if found else item()
        for keyword, value in values.items():
            setattr(new[0], keyword, value)
        setattr(groups, group, new)

    return change


def without_a_frame(image):
    del image.PerFrameFunctionalGroupsSequence[2]  # between two others
    image.NumberOfFrames = 3
    image.PixelData = image.PixelData[: 3 * len(image.PixelData) // 4]


def cut(image):
    image.PixelData = image.PixelData[:-362]


def undescribed(image):
    del image.PerFrameFunctionalGroupsSequence[3]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_frame(2, "FrameContentSequence", StackID="2"), "frame 3 and .*, frame 1 .* stacks"),
        (of_frame(1, "PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
         "different orientations"),
        (of_frame(1, "PixelMeasuresSequence", PixelSpacing=[1, 1]), "different pixel sizes"),
        (of_frame(1, "MREchoSequence", EffectiveEchoTime=90.0), "different echo times"),
        (of_frame(1, "MRDiffusionSequence", DiffusionBValue=1000.0), "diffusion weightings"),
        (of_frame(1, "MRImageFrameTypeSequence", ComplexImageComponent="PHASE"),
         "different parts of complex values"),
        (of_frame(1, "PixelValueTransformationSequence", RescaleSlope=0), "Rescale Slope 0"),
        (of_frame(1, "PlanePositionSequence", ImagePositionPatient=[0, 0, 0]), "mm apart|sheared"),
        (of_frame(1, "PlanePositionSequence", ImagePositionPatient=None), "no MR slice"),
        (without_a_frame, "a slice is missing"),
        (undescribed, "states 4 frames but describes 3"),
        (cut, "frame 1: its pixels cannot be read"),
        (of_file(SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3"), "no Enhanced MR image"),
        (of_file(Modality="CT"), "is no MR image"),
        (of_file(InConcatenationTotalNumber=2), "holds 1 of the 2 files"),
    ],
)  # fmt: skip
def test_frames_that_form_no_single_stack_are_refused_with_the_reason(tmp_path, change, said):
    path = enhanced(tmp_path / "e.dcm", change=change)
    with pytest.raises(FileError, match=said):
        read_volume(path)


def test_a_file_that_is_cut_in_the_middle_of_a_frame_is_refused(tmp_path):
    path = enhanced(tmp_path / "e.dcm")
    whole = path.read_bytes()
    for count in (-1, -361, -1000, 2000, 700):
        path.write_bytes(whole[:count])
        with pytest.raises(FileError, match="truncated"):
            read_volume(path)


def test_a_synthetic_enhanced_file_is_known(tmp_path):
    path = enhanced(tmp_path / "e.dcm", change=of_file(SyntheticData="YES"))
    assert read_marks(path).certain
    with pytest.raises(FileError, match="synthetic already"):
        read_volume(path, allow_synthetic=False)


def test_one_classic_slice_is_no_volume(tmp_path):
    folder = dicom_series(tmp_path / "d", beat()[:1])
    with pytest.raises(FileError, match="is one slice of a series; name the folder"):
        read_volume(next(folder.iterdir()))


def test_a_mosaic_is_refused(tmp_path):
    def mosaic(dataset, k, f):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        return k == 0

    with pytest.raises(FileError, match="a mosaic.*dcm2niix"):
        read_volume(dicom_series(tmp_path / "d", beat()[:1], change=mosaic))
