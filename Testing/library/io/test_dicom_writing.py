"""A synthetic image as DICOM: marked in every way, in its place, and of the person no more than the
source's study asks for.
"""

import importlib.util
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from MambaSynthLib.errors import FileError, VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io import dicom_writing
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.dicom_attributes import FILLED, KEPT
from MambaSynthLib.io.dicom_series import open_series
from MambaSynthLib.io.dicom_writing import write_dicom
from MambaSynthLib.io.files import read_marks, read_volume
from MambaSynthLib.io.written_voxels import voxels_are_as_written
from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import CANARY, TIMES, dicom_series, of_a_person
from Testing.library.enhanced_mr import enhanced, of_file
from Testing.provenance_records import CINE_RECORD, RECORD

HEAD_RECORD = replace(RECORD, source_name="Zoe_Mueller_T1.nii.gz")
CINE = replace(CINE_RECORD, times_ms=TIMES, acquired=(1, 4), source_name="Zoe_Mueller.nii.gz")


@pytest.fixture
def source(tmp_path):
    """A series of one time, in a folder named after a person."""
    folder = tmp_path / "Zoe Mueller"
    return open_series(dicom_series(folder, beat()[:1], change=of_a_person))


@pytest.fixture
def synthetic(source):
    """An image on its grid, in units up to a thousand, no whole numbers."""
    array = np.linspace(0, 1000, source.volume().array.size).reshape(source.shape)
    return Volume(array, source.affine, "T2w")


def files_of(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def every_element(dataset):
    """Also those inside of sequences."""
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from every_element(item)


# --- what a file says -----------------------------------------------------------------------------


def code_of(sequence):
    return [(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) for item in sequence]


def test_every_mark_that_dicom_can_hold_is_there(tmp_path, source, synthetic):
    write_dicom([synthetic], tmp_path / "out", source, HEAD_RECORD)
    for one in files_of(tmp_path / "out"):
        assert one.SOPClassUID == "1.2.840.10008.5.1.4.1.1.4" and one.Modality == "MR"
        assert one.SyntheticData == "YES" and one.ContentQualification == "RESEARCH"
        assert list(one.ImageType) == ["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]
        assert one.SeriesDescription == "SYNTHETIC T2w from T1w, not for diagnosis"
        assert one.ImageComments.startswith("SYNTHETIC - NOT FOR DIAGNOSIS")
        assert one.BurnedInAnnotation == "NO" and one.Manufacturer == "MambaSynth"
        assert code_of(one.DerivationCodeSequence) == [("123110", "DCM", "Artificial Intelligence")]
        assert (
            "by MambaSynth" in one.DerivationDescription and "seed 7" in one.DerivationDescription
        )
        assert "multiples of 1." in one.DerivationDescription
        scanner, program = one.ContributingEquipmentSequence
        assert code_of(scanner.PurposeOfReferenceCodeSequence) == [
            ("109101", "DCM", "Acquisition Equipment")
        ]
        assert (scanner.Manufacturer, scanner.ManufacturerModelName) == ("ACME", "Scan 3000")
        assert code_of(program.PurposeOfReferenceCodeSequence) == [
            ("109100", "DCM", "Synthesizing Equipment")
        ]
        for said in ("t1w-to-t2w 1.0", "a" * 64, "seed 7", "steps 4", "samples 1"):
            assert said in program.ContributionDescription
        assert (one.ScanningSequence, one.SequenceVariant, one.ScanOptions) == ("RM", "NONE", "")
        assert one.WindowWidth >= 1 and "RescaleSlope" not in one
        assert one.BitsAllocated == one.BitsStored == 16 and "TriggerTime" not in one
        for keyword in ("RepetitionTime", "EchoTime", "EchoTrainLength"):
            assert one[keyword].value is None


def test_each_slice_refers_to_the_source_slice_at_its_place(tmp_path, source, synthetic):
    write_dicom([synthetic], tmp_path / "out", source, HEAD_RECORD)
    made = files_of(tmp_path / "out")
    assert [one.InstanceNumber for one in made] == [1, 2, 3, 4]
    for one, (original,) in zip(made, source.stacks, strict=True):
        (item,) = one.SourceImageSequence
        assert item.ReferencedSOPInstanceUID == original.image.SOPInstanceUID
        assert item.SpatialLocationsPreserved == "YES" and "ReferencedFrameNumber" not in item
        assert code_of(item.PurposeOfReferenceCodeSequence)[0][:2] == ("121322", "DCM")
        (series,) = one.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == original.image.SeriesInstanceUID
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
                        "SliceThickness", "StudyInstanceUID", "FrameOfReferenceUID"):  # fmt: skip
            assert one[keyword].value == original.image[keyword].value
        assert one.SeriesInstanceUID != original.image.SeriesInstanceUID
    assert len({one.SOPInstanceUID for one in made}) == 4
    assert len({one.SeriesInstanceUID for one in made}) == 1
    assert all(uid.is_valid for one in made for uid in (one.SOPInstanceUID, one.SeriesInstanceUID))


def test_the_same_synthesis_gives_the_same_bytes_and_another_one_other_uids(
    tmp_path, source, synthetic
):
    def written(name, image=synthetic, record=HEAD_RECORD):
        return [path.read_bytes() for path in write_dicom([image], tmp_path / name, source, record)]

    def uids(name):
        return {one.SOPInstanceUID for one in files_of(tmp_path / name)}

    assert written("a") == written("b")
    written("seed", record=replace(HEAD_RECORD, seed=8))
    written("values", synthetic.with_array(synthetic.array + 1))
    assert uids("a") == uids("b")
    assert not uids("a") & uids("seed") and not uids("a") & uids("values")


# --- privacy --------------------------------------------------------------------------------------


ASKED_OF_A_MAP = {"LossyImageCompression": ["00"], "RecognizableVisualFeatures": ["YES"]}


def test_of_the_source_nothing_is_passed_on_but_study_patient_place_and_scanner(
    tmp_path, source, synthetic
):
    for name, images, record in (
        ("head", [synthetic], HEAD_RECORD),
        ("map", [synthetic], HEAD_RECORD.of_spread()),
    ):
        if record.quantity:
            pytest.importorskip("highdicom")
        for path in write_dicom(images, tmp_path / name, source, record):
            data = path.read_bytes()
            for word in (CANARY, "Zoe_Mueller", "Zoe Mueller", "050Y", "77.7", str(tmp_path)):
                assert word.encode() not in data
            made, original = pydicom.dcmread(path), source.stacks[0][0].image
            for keyword in (*FILLED, *KEPT):
                allowed = (original.get(keyword, ""), "", *ASKED_OF_A_MAP.get(keyword, ()))
                assert made.get(keyword, "") in allowed
            assert str(made.PatientName) == "Müller^Zoë" and made.PatientID == "007"
            assert made.StudyDescription == "Heart" and made.IssuerOfPatientID == "Ward"


def test_a_name_in_no_stated_alphabet_is_passed_on_byte_by_byte(tmp_path, synthetic):
    def sloppy(dataset, k, f):
        of_a_person(dataset, k, f)
        del dataset.SpecificCharacterSet
        dataset.PatientName = pydicom.valuerep.PersonName(b"M\xfcller^Zo\xeb")

    series = open_series(dicom_series(tmp_path / "src", beat()[:1], change=sloppy))
    for path in write_dicom([synthetic], tmp_path / "out", series, HEAD_RECORD):
        assert b"M\xfcller^Zo\xeb" in path.read_bytes()


def test_what_says_that_a_source_is_anonymous_or_compressed_is_kept(tmp_path, synthetic):
    def anonymous(dataset, k, f):
        dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", "by hand"
        dataset.LossyImageCompression = "01"

    series = open_series(dicom_series(tmp_path / "src", beat()[:1], change=anonymous))
    write_dicom([synthetic], tmp_path / "out", series, HEAD_RECORD)
    for one in files_of(tmp_path / "out"):
        assert (one.PatientIdentityRemoved, one.LossyImageCompression) == ("YES", "01")
        assert one.PatientName == "" and one.AccessionNumber == "" and one.Laterality == ""
        assert one.ContributingEquipmentSequence[0].Manufacturer == "unknown"
        assert one.FrameOfReferenceUID.startswith("2.25.")
    if importlib.util.find_spec("highdicom"):
        (path,) = write_dicom([synthetic], tmp_path / "map", series, HEAD_RECORD.of_spread())
        assert pydicom.dcmread(path).FrameOfReferenceUID == one.FrameOfReferenceUID


# --- the way back ---------------------------------------------------------------------------------


def test_what_is_written_reads_back_in_its_place_and_is_no_source(tmp_path, source, synthetic):
    write_dicom([synthetic], tmp_path / "out", source, HEAD_RECORD)
    found = read_volume(tmp_path / "out")
    assert np.array_equal(found.affine, source.affine)
    assert np.abs(found.array - synthetic.array).max() <= 0.5
    mark = read_marks(tmp_path / "out")
    uid = source.stacks[0][0].image.SeriesInstanceUID
    assert mark.certain and mark.provenance == replace(RECORD, source_name=f"series {uid}")
    assert read_marks(tmp_path / "out/00003.dcm").provenance == mark.provenance
    with pytest.raises(FileError, match="synthetic already"):
        read_volume(tmp_path / "out", allow_synthetic=False)


def test_changed_and_lost_slices_are_found_by_their_hash(tmp_path, source, synthetic):
    out = tmp_path / "out"
    write_dicom([synthetic], out, source, HEAD_RECORD)
    assert voxels_are_as_written(out) is True
    assert voxels_are_as_written(out / "00002.dcm") is None
    whole = (out / "00002.dcm").read_bytes()
    (out / "00002.dcm").write_bytes(whole[:-2] + b"\x01\x02")
    assert voxels_are_as_written(out) is False
    (out / "00002.dcm").write_bytes(whole)
    (out / "00004.dcm").unlink()
    assert voxels_are_as_written(out) is False


@pytest.mark.parametrize(
    ("low", "high", "step"),
    [(0, 1, 2**-14), (0, 1e-20, None), (-3, 2, 2**-13), (0, 499, 2**-6), (-800, 500, 1),
     (0, 60000, 1), (-60000, 10, 2), (0, 3e6, 128), (7, 7, 2**-12), (0, 0, 1)],
)  # fmt: skip
def test_small_negative_and_large_values_keep_their_digits(
    tmp_path, source, synthetic, low, high, step
):
    array = np.linspace(low, high, synthetic.array.size, dtype=np.float32)
    image = synthetic.with_array(array.reshape(synthetic.shape))
    write_dicom([image], tmp_path / "out", source, HEAD_RECORD)
    (mapping,) = files_of(tmp_path / "out")[0].RealWorldValueMappingSequence
    assert step is None or mapping.RealWorldValueSlope == step
    found = read_volume(tmp_path / "out").array
    assert np.abs(found - image.array).max() <= mapping.RealWorldValueSlope / 2
    assert mapping.RealWorldValueSlope <= max(1, np.abs(array).max() / 2**14)


def test_an_image_whose_axes_run_otherwise_lands_on_its_slices(tmp_path, source, synthetic):
    turn = np.array([[0.0, 0, -1, 19], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    array = synthetic.array.transpose(2, 1, 0)[:, :, ::-1]
    write_dicom(
        [Volume(array, source.affine @ turn, "turned")], tmp_path / "out", source, HEAD_RECORD
    )
    assert np.abs(read_volume(tmp_path / "out").array - synthetic.array).max() <= 0.5


def test_an_enhanced_source_is_referred_to_frame_by_frame(tmp_path, synthetic):
    source = open_series(enhanced(tmp_path / "e.dcm", change=of_file(PatientName="A^B")))
    write_dicom([synthetic], tmp_path / "out", source, HEAD_RECORD)
    made = files_of(tmp_path / "out")
    image = source.stacks[0][0].image
    for k, one in enumerate(made):
        (item,) = one.SourceImageSequence
        assert item.ReferencedSOPInstanceUID == image.SOPInstanceUID
        groups = image.PerFrameFunctionalGroupsSequence[item.ReferencedFrameNumber - 1]
        assert groups.FrameContentSequence[0].InStackPositionNumber == k + 1
    assert np.array_equal(read_volume(tmp_path / "out").affine, source.affine)
    assert made[0].PatientName == "A^B"


# --- cines ----------------------------------------------------------------------------------------


def test_a_cine_keeps_its_acquired_frames_to_the_bit_and_says_which_they_are(tmp_path):
    source = open_series(dicom_series(tmp_path / "src", change=of_a_person))
    acquired = source.cine().frames
    between = [frame.with_array(frame.array + 0.4) for frame in acquired[1:3]]
    frames = [acquired[0], *between, acquired[3]]
    files = write_dicom(frames, tmp_path / "out", source, CINE)
    assert len(files) == 16
    for one in files_of(tmp_path / "out"):
        f, k = divmod(one.InstanceNumber - 1, 4)
        assert (one.TriggerTime, one.ScanOptions, one.CardiacNumberOfImages) == (TIMES[f], "CG", 4)
        kept = f in (0, 3)
        assert one.SyntheticData == ("NO" if kept else "YES")
        assert ("SYNTHETIC" in one.ImageType) != kept and ("DerivationCodeSequence" in one) != kept
        assert one.SeriesDescription.startswith("SYNTHETIC cine from ED + ES")
        named = {item.ReferencedSOPInstanceUID for item in one.SourceImageSequence}
        there = [slice_.image.SOPInstanceUID for slice_ in source.stacks[k]]
        assert named == ({there[f]} if kept else set(there))
        if kept:
            assert np.array_equal(one.pixel_array, frames[f].array[..., k].T)
            assert read_marks(files[one.InstanceNumber - 1]) is None
    cine = read_cine(tmp_path / "out")
    assert voxels_are_as_written(tmp_path / "out") is True
    assert cine.times_ms == TIMES and read_marks(tmp_path / "out").certain
    for frame, original in zip(cine.frames, frames, strict=True):
        assert np.array_equal(frame.affine, original.affine)
        assert np.abs(frame.array - original.array).max() <= 0.5
    with pytest.raises(FileError, match="synthetic already"):
        read_cine(tmp_path / "out", allow_synthetic=False)


# --- uncertainty ----------------------------------------------------------------------------------


def test_an_uncertainty_map_becomes_a_parametric_map_with_its_exact_values(
    tmp_path, source, synthetic
):
    highdicom = pytest.importorskip("highdicom")
    record = replace(HEAD_RECORD, samples=8).of_spread()
    (path,) = write_dicom([synthetic], tmp_path / "map", source, record)
    image = highdicom.pm.ParametricMap.from_file(path)
    assert image.SyntheticData == "YES" and image.ImageType[0] == "DERIVED"
    assert image.SeriesDescription.startswith("SYNTHETIC uncertainty map of T2w")
    assert image.ContentQualification == "RESEARCH" and image.StudyID == "S1"
    for frame in image.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        item = frame.DerivationImageSequence[0].SourceImageSequence[0]
        (original,) = (
            one for (one,) in source.stacks
            if one.image.SOPInstanceUID == item.ReferencedSOPInstanceUID
        )  # fmt: skip
        assert place == original.dataset.ImagePositionPatient
    found = read_volume(tmp_path / "map")
    assert np.array_equal(found.array, synthetic.array)
    assert np.array_equal(found.affine, source.affine)
    mark = read_marks(path)
    assert voxels_are_as_written(path) is True and voxels_are_as_written(tmp_path / "map") is True
    assert mark.provenance.quantity == record.quantity and "over 8 noise draws" in mark.text
    with pytest.raises(FileError, match="synthetic already"):
        read_volume(path, allow_synthetic=False)


def test_a_map_of_an_enhanced_series_finds_its_frames(tmp_path, synthetic):
    pytest.importorskip("highdicom")

    def complete(image):
        image.DimensionIndexSequence = []
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex"):
            setattr(image, keyword, "")

    source = open_series(enhanced(tmp_path / "e.dcm", change=complete))
    write_dicom([synthetic], tmp_path / "map", source, HEAD_RECORD.of_spread())
    assert np.array_equal(read_volume(tmp_path / "map").array, synthetic.array)


def test_a_map_takes_a_patient_whom_highdicom_would_not_and_tells_what_it_cannot_take(
    tmp_path, synthetic, recwarn
):
    pytest.importorskip("highdicom")

    def odd(dataset, k, f):
        of_a_person(dataset, k, f)
        dataset.PatientSex, dataset.PatientName, dataset.StudyDate = "X", "Anon", "long ago"

    series = open_series(dicom_series(tmp_path / "src", beat()[:1], change=odd))
    recwarn.clear()
    (path,) = write_dicom([synthetic], tmp_path / "map", series, HEAD_RECORD.of_spread())
    assert len(recwarn) == 0
    made = pydicom.dcmread(path)
    assert (made.PatientSex, made.PatientName) == ("X", "Anon")
    series.stacks[1][0].image.Rows = 3
    with pytest.raises(FileError, match="src: cannot be the source of a DICOM map"):
        write_dicom([synthetic], tmp_path / "again", series, HEAD_RECORD.of_spread())


# --- refusals -------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, source, synthetic):
    def refused(said, images=(synthetic,), series=source, record=HEAD_RECORD, error=FileError):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(error, match=said):
            write_dicom(images, tmp_path / "out", series, record)
        assert sorted(tmp_path.iterdir()) == before

    refused("NaN", [synthetic.with_array(np.full(synthetic.shape, np.nan))])
    refused("does not lie on the grid", beat()[:1][:0] or [moved(synthetic)], error=VolumeError)
    for keyword in ("StudyInstanceUID", "SOPInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
        image = source.stacks[2][0].image
        value = image[keyword].value
        setattr(image, keyword, "")
        refused(f"states no {keyword}")
        setattr(image, keyword, value)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/kept").touch()
    refused("out: exists already")
    assert (tmp_path / "out/kept").exists()


def moved(volume):
    affine = volume.affine.copy()
    affine[0, 3] += 1
    return Volume(volume.array, affine, "moved")


@pytest.mark.parametrize("failing", range(5))
def test_whichever_write_fails_nothing_is_left(tmp_path, source, synthetic, monkeypatch, failing):
    calls = []

    def full(path, content):
        calls.append(path)
        if len(calls) > failing:
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(dicom_writing, "write_whole", full)
    if failing == 4:
        write_dicom([synthetic], tmp_path / "out", source, HEAD_RECORD)
        return
    with pytest.raises(FileError, match="No space left on device.*nothing was changed"):
        write_dicom([synthetic], tmp_path / "out", source, HEAD_RECORD)
    assert sorted(tmp_path.iterdir()) == before


def test_files_that_do_not_read_back_are_not_kept(tmp_path, source, synthetic, monkeypatch):
    def altered(path, content):
        path.write_bytes(content[:-2] + b"\x01\x02")

    monkeypatch.setattr(dicom_writing, "write_whole", altered)
    with pytest.raises(FileError, match="does not read back"):
        write_dicom([synthetic], tmp_path / "out", source, HEAD_RECORD)
    assert not (tmp_path / "out").exists()


# --- the judgement of others ----------------------------------------------------------------------


def program(name, package):
    """A program of the test environment: on the path, or in the package that brings it."""
    found = shutil.which(name)
    if found:
        return found
    module = pytest.importorskip(package)
    inside = [p for p in Path(module.__file__).parent.rglob(name) if p.is_file()]
    if not inside:
        pytest.skip(f"there is no {name} here")
    return str(inside[0])


@pytest.mark.parametrize("kind", ["head", "cine", "map"])
def test_dciodvfy_finds_no_error(tmp_path, synthetic, kind):
    checker = program("dciodvfy", "dicom3tools")
    frames = beat() if kind == "cine" else beat()[:1]
    source = open_series(dicom_series(tmp_path / "src", frames, change=of_a_person))
    if kind == "map":
        pytest.importorskip("highdicom")
        files = write_dicom([synthetic], tmp_path / "out", source, HEAD_RECORD.of_spread())
    elif kind == "cine":
        files = write_dicom(source.cine().frames, tmp_path / "out", source, CINE)
    else:
        files = write_dicom([synthetic], tmp_path / "out", source, HEAD_RECORD)
    for file in files:
        done = subprocess.run([checker, "-new", file], capture_output=True, text=True)
        said = (done.stdout + done.stderr).splitlines()
        assert said[-1:] != [] and [line for line in said if "Error" in line] == []


def test_dcm2niix_puts_it_in_the_same_place_and_passes_the_mark_on(tmp_path, source, synthetic):
    converter = program("dcm2niix", "dcm2niix")
    write_dicom([synthetic], tmp_path / "out", source, HEAD_RECORD)
    subprocess.run(
        [converter, "-f", "x", "-o", tmp_path, tmp_path / "out"], check=True, capture_output=True
    )
    found = read_volume(tmp_path / "x.nii")
    back = dicom_writing.turned_onto(found, source.affine, source.shape, "source")
    assert np.abs(back.array - synthetic.array).max() <= 0.5
    for name in ("x.nii", "x.json"):
        assert read_marks(tmp_path / name).certain
