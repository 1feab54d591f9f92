"""Cines to and from files, and DICOM series: read exactly or refused with the reason."""

import warnings
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from MambaSynthLib.cine.phases import choose_phases, seems_swapped
from MambaSynthLib.errors import FileError, VolumeError
from MambaSynthLib.io.cine_acdc import phases_beside
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.cine_writing import write_cine
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import TIMES, dicom_series, edit
from Testing.provenance_records import CINE_RECORD

RECORD = replace(
    CINE_RECORD, times_ms=TIMES, acquired=(1, 4), phases="ED frame 1, ES frame 3: found"
)


def four_dimensional(path, times=None, unit="msec", step=40.0):
    """Written by nibabel, not by us."""
    data = np.stack([frame.array for frame in beat()], axis=-1)
    image = nibabel.Nifti1Image(data, beat()[0].affine)
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = step
    nibabel.save(image, path)
    return path


# --- 4-D files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "step", "times"),
    [("msec", 40.0, (0, 40, 80, 120)), ("sec", 0.05, (0, 50, 100, 150)),
     ("unknown", 1.0, (0, 250, 500, 750)), ("msec", 0.0, (0, 250, 500, 750))],
)  # fmt: skip
def test_times_are_read_in_their_unit_and_assumed_only_with_a_note(tmp_path, unit, step, times):
    cine = read_cine(four_dimensional(tmp_path / "c.nii.gz", unit=unit, step=step))
    assert cine.times_ms == pytest.approx(times)
    assumed = any("times assumed" in note for note in cine.notes)
    assert assumed == (times[1] == 250)
    for frame, original in zip(cine.frames, beat(), strict=True):
        assert np.array_equal(frame.array, original.array)
        np.testing.assert_allclose(frame.affine, original.affine, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".seq.nrrd"])
def test_what_is_written_reads_back_with_times_grid_and_marks(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    files = write_cine(iter(beat()), path, RECORD)
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted(["out" + suffix, files[1].name])
    cine = read_cine(path)
    assert cine.times_ms == TIMES
    for frame, original in zip(cine.frames, beat(), strict=True):
        assert np.array_equal(frame.array, original.array)
        np.testing.assert_allclose(frame.affine, original.affine, atol=1e-5)
    files[1].unlink()
    mark = read_marks(path)
    assert mark.provenance == RECORD and "acquired: frames 1, 4" in mark.text
    with pytest.raises(FileError, match="synthetic frames already"):
        read_cine(path, allow_synthetic=False)
    again = tmp_path / f"again{suffix}"
    write_cine(iter(beat()), again, RECORD)
    assert again.read_bytes() == path.read_bytes()


def test_a_sequence_has_the_header_that_slicer_asks_for_and_other_readers_agree(tmp_path):
    path = tmp_path / "out.seq.nrrd"
    write_cine(iter(beat()), path, RECORD)
    header = path.read_bytes().partition(b"\n\n")[0].decode()
    for line in ("kinds: list domain domain domain", "sizes: 4 20 18 4", 'units: "ms" "" "" ""',
                 "axis 0 index type:=numeric", "axis 0 index values:=0 100 250 400"):  # fmt: skip
        assert line in header
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))  # (K,J,I,F)
    np.testing.assert_array_equal(theirs[..., 2].transpose(2, 1, 0), beat()[2].array)
    image = nibabel.load(write_cine(iter(beat()), tmp_path / "o.nii.gz", RECORD)[0])
    assert image.shape == (20, 18, 4, 4) and image.header["pixdim"][4] == pytest.approx(400 / 3)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 1], beat()[1].array)


def test_another_number_of_frames_or_nan_leaves_nothing_behind(tmp_path):
    bad = beat()[0].with_array(np.full(beat()[0].shape, np.nan))
    for frames in (beat()[:3], (*beat(), beat()[0]), (*beat()[:3], bad), ()):
        for name in ("x.nii.gz", "x.seq.nrrd", "folder"):
            with pytest.raises(FileError):
                write_cine(iter(frames), tmp_path / name, RECORD)
    assert list(tmp_path.iterdir()) == []


def test_an_error_between_two_frames_leaves_nothing_behind(tmp_path):
    def frames():
        yield from beat()[:2]
        raise KeyboardInterrupt

    for name in ("x.nii.gz", "x.seq.nrrd", "folder"):
        with pytest.raises(KeyboardInterrupt):
            write_cine(frames(), tmp_path / name, RECORD)
    assert list(tmp_path.iterdir()) == []


def test_truncated_and_three_dimensional_files_are_refused(tmp_path):
    path = four_dimensional(tmp_path / "c.nii")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FileError, match="truncated"):
        read_cine(path)
    write_volume(beat()[0], tmp_path / "v.nii.gz")
    write_volume(beat()[0], tmp_path / "v.nrrd")
    for name in ("v.nii.gz", "v.nrrd"):
        with pytest.raises(VolumeError, match="1 frame, but a cine needs two"):
            read_cine(tmp_path / name)
    with pytest.raises(FileError, match="4 dimensions"):
        read_volume(four_dimensional(tmp_path / "d.nii.gz"))
    (tmp_path / "c.mha").write_bytes(b"x")
    with pytest.raises(FileError, match="no readable cine"):
        read_cine(tmp_path / "c.mha")


def test_info_cfg_names_the_phases(tmp_path):
    path = four_dimensional(tmp_path / "patient001_4d.nii.gz")
    info = tmp_path / "Info.cfg"
    info.write_text("ED: 2\nES: 4\nGroup: DCM\nHeight: 184.0\nNbFrame: 4\nWeight: 95.0\n")
    phases = choose_phases(read_cine(path))
    assert (phases.ed, phases.es, phases.rule) == (1, 3, "Info.cfg")
    info.write_text("ED: 2\nES: 4\nNbFrame: 30\n")
    assert any("states 30 frames" in note for note in read_cine(path).notes)
    for text in ("ED: 2\nES: 5\n", "ED: 2\nES: 2\n", "Group: DCM\n"):
        info.write_text(text)
        with pytest.raises(FileError, match="Info.cfg: states ED"):
            read_cine(path)


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_of_frames_is_read_in_the_order_of_its_numbers(tmp_path):
    for number, frame in zip((8, 9, 10, 11), beat(), strict=True):
        write_volume(frame, tmp_path / f"frame{number}.nii.gz")
    cine = read_cine(tmp_path)
    assert [f.array[9, 12, 0] for f in cine.frames] == [f.array[9, 12, 0] for f in beat()]
    (tmp_path / "frames.tsv").write_text("file\ttime_ms\nframe10.nii.gz\t5\nframe8.nii.gz\t9\n")
    assert read_cine(tmp_path).times_ms == (5, 9)
    (tmp_path / "frames.tsv").write_text("file\nframe10.nii.gz\n")
    with pytest.raises(FileError, match="frames.tsv: is no table"):
        read_cine(tmp_path)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["frame-1", "frame-2", "frame-4"], "has a frame 2 and then 4, but others are 1 apart"),
        (["0000", "0010", "0030"], "has a frame 10 and then 30, but others are 10 apart"),
        (
            ["sub-1_f07_T1", "sub-1_f09_T1", "sub-1_f10_T1"],
            "has a frame 7 and then 9, but others are 1 apart",
        ),
        (["f1", "f01", "f2"], "has a frame 1 and then 1, but others are 0 apart"),
    ],
)
def test_a_gap_in_the_numbers_of_frames_is_not_taken_as_even_spacing(tmp_path, names, told):
    for name in names:
        write_volume(beat()[0], tmp_path / f"{name}.nii")
    with pytest.raises(FileError, match=f"{told}; add the frame that is missing"):
        read_cine(tmp_path)
    rows = [f"{name}.nii\t{100 * n}" for n, name in enumerate(names)]
    (tmp_path / "frames.tsv").write_text("\n".join(["file\ttime_ms", *rows]))
    assert read_cine(tmp_path).times_ms == (0, 100, 200)


@pytest.mark.parametrize(
    "names",
    [["f-1", "f-2", "f-3"], ["f9", "f10", "f11"], ["10ms", "30ms", "50ms"], ["ED", "ES", "M"],
     ["a1", "b7", "c9"], ["1" * 30 + "1", "1" * 30 + "2", "1" * 30 + "3"], ["1", "4"]],
)  # fmt: skip
def test_even_numbers_and_names_without_a_number_of_the_frame_are_read(tmp_path, names):
    for name in names:
        write_volume(beat()[0], tmp_path / f"{name}.nii")
    assert len(read_cine(tmp_path).frames) == len(names)


@pytest.mark.parametrize("key", ["ED", "ES", "NbFrame"])
def test_a_number_of_any_length_beside_a_cine_is_told_in_one_sentence(tmp_path, key):
    write_volume(beat()[0], tmp_path / "frame-1.nii")
    (tmp_path / "Info.cfg").write_text(f"ED: 1\nES: 2\n{key}: {'9' * 6000}\nWeight: {'9' * 6000}\n")
    with pytest.raises(FileError, match=f"^Info.cfg: states a number of 6000 digits for {key}"):
        phases_beside(tmp_path / "frame-1.nii", 4)


def test_in_a_folder_only_synthetic_frames_are_marked(tmp_path):
    folder = tmp_path / "frames"
    write_cine(iter(beat()), folder, RECORD)
    marks = [read_marks(folder / f"frame-{n:04}.nii.gz") for n in (1, 2, 3, 4)]
    assert [mark is None for mark in marks] == [True, False, False, True]
    assert marks[1].provenance == replace(RECORD, times_ms=(100.0,), acquired=())
    assert read_cine(folder).times_ms == TIMES
    with pytest.raises(FileError, match="never replaced"):
        write_cine(iter(beat()), folder, RECORD, overwrite=True)


def test_an_empty_folder_is_no_cine(tmp_path):
    with pytest.raises(FileError, match="neither DICOM nor image files"):
        read_cine(tmp_path)


# --- DICOM ----------------------------------------------------------------------------------------


def test_a_dicom_cine_is_put_in_place_and_time_by_its_tags(tmp_path):
    cine = read_cine(dicom_series(tmp_path / "d"))
    assert cine.times_ms == TIMES and cine.notes == ()
    for frame, original in zip(cine.frames, beat(), strict=True):
        np.testing.assert_array_equal(frame.array, original.array.round())
        np.testing.assert_allclose(frame.affine, original.affine, atol=1e-4)


def shifted(dataset, k, f):
    """Gantry tilt: every slice a little further along the rows."""
    direction = np.array(dataset.ImageOrientationPatient[:3], float)
    place = np.array(dataset.ImagePositionPatient, float) + 0.8 * k * direction
    dataset.ImagePositionPatient = [round(v, 6) for v in place]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d, k, f: k != 1, "16 mm apart, but others 8 mm; a slice is missing"),
        (lambda d, k, f: (k, f) != (2, 1), "slice 3 has 3 times but slice 1 has 4"),
        (edit(TriggerTime=0.0), "show the same slice at the same time"),
        (edit(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), "different orientations"),
        (edit(PixelSpacing=[1, 1]), "different pixel sizes"),
        (edit(EchoTime=3.0), "different echo times"),
        (edit(Rows=9), "different sizes"),
        (edit(SeriesInstanceUID="1.2.3"), "holds 2 DICOM series"),
        (edit(NumberOfFrames=2), "multi-frame"),
        (edit(PixelData=b"\0\0"), "pixels cannot be read"),
        (edit(ImagePositionPatient=None), "no MR slice with a position"),
        (shifted, "sheared"),
    ],
)  # fmt: skip
def test_a_dicom_series_that_is_no_full_grid_is_refused_with_the_reason(tmp_path, change, said):
    with pytest.raises(FileError, match=said):
        read_cine(dicom_series(tmp_path / "d", change=change))


def test_rescaling_of_each_slice_inversion_and_synthetic_marks_are_heeded(tmp_path):
    def rescale(d, k, f):
        d.RescaleSlope, d.RescaleIntercept = 2 + k, -10

    rescaled = read_cine(dicom_series(tmp_path / "a", change=rescale)).frames[1].array
    expected = beat()[1].array.round() * (2 + np.arange(4)) - 10
    np.testing.assert_allclose(rescaled, expected)

    def invert(d, k, f):
        d.PhotometricInterpretation = "MONOCHROME1"

    inverted = read_cine(dicom_series(tmp_path / "b", change=invert))
    np.testing.assert_allclose(inverted.frames[1].array, 4095 - beat()[1].array.round())
    assert any("MONOCHROME1" in note for note in inverted.notes)
    synthetic = dicom_series(tmp_path / "c", change=edit(SyntheticData="YES"))
    assert any("synthetic source" in note for note in read_cine(synthetic).notes)
    with pytest.raises(FileError, match="synthetic already"):
        read_cine(synthetic, allow_synthetic=False)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]}, "Image Type"),
        ({"ImageComments": "SYNTHETIC - NOT FOR DIAGNOSIS"}, "Image Comments"),
    ],
)
def test_every_mark_that_dicom_can_hold_counts(tmp_path, attributes, said):
    series = dicom_series(tmp_path, change=edit(**attributes))
    assert any(said in note for note in read_cine(series).notes)
    with pytest.raises(FileError, match=f"synthetic already .*{said}"):
        read_cine(series, allow_synthetic=False)


@pytest.mark.parametrize("modality", ["CT", "PT", "US"])
def test_a_series_of_another_machine_is_refused(tmp_path, modality):
    with pytest.raises(FileError, match=f"is no MR image .its modality is {modality}"):
        read_cine(dicom_series(tmp_path, change=edit(Modality=modality)))


def test_an_odd_modality_and_a_localizer_are_noted(tmp_path):
    odd = edit(Modality="WSD", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    notes = " ".join(read_cine(dicom_series(tmp_path, change=odd)).notes)
    assert "modality: the series says WSD, not MR" in notes and "localizer" in notes


def test_a_series_with_each_slice_once_is_a_volume(tmp_path):
    one = dicom_series(tmp_path / "d", frames=beat()[:1])
    np.testing.assert_array_equal(read_volume(one).array, beat()[0].array.round())
    with pytest.raises(VolumeError, match="1 frame"):
        read_cine(one)
    with pytest.raises(FileError, match="4 times of each slice"):
        read_volume(dicom_series(tmp_path / "e"))


def test_a_real_stack_with_ed_and_es_is_read(shared):
    folder = shared / "data/heart_sax_dicom/DicomData"
    if not folder.is_dir():
        pytest.skip("the real short-axis stack does not lie in ../shared")
    cine = read_cine(folder)
    ed, es = cine.frames
    assert ed.shape == (288, 288, 14) and cine.times_ms == (0.0, 348.0)
    np.testing.assert_allclose(ed.spacing, [1.59722, 1.59722, 10], atol=1e-3)
    with warnings.catch_warnings(action="ignore"):
        first = pydicom.dcmread(folder / "SA_00000.dcm")
    place = np.diag([-1, -1, 1]) @ np.array(first.ImagePositionPatient, float)
    np.testing.assert_allclose((ed.affine @ (0, 0, 13, 1))[:3], place, atol=1e-3)
    np.testing.assert_array_equal(ed.array[..., 13], first.pixel_array.T)
    assert not seems_swapped(ed, es) and seems_swapped(es, ed)
    assert any("WSD" in note for note in cine.notes) and any("differ by" in n for n in cine.notes)


def test_a_gzip_error_in_a_cine_is_refused(tmp_path):
    path = four_dimensional(tmp_path / "c.nii.gz")
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError, match="damaged"):
        read_cine(path)
