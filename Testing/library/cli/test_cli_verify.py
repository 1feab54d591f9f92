"""``verify`` answers by its exit code: 0 marked, 3 not marked, 2 cannot tell."""

import gzip
import json
import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset

from MambaSynthLib.io.cine_writing import write_cine
from MambaSynthLib.io.files import write_volume
from MambaSynthLib.report.film import Film
from Testing.library.cli.command_line import called, refused
from Testing.provenance_records import CINE_RECORD, RECORD


def verified(capsys, *arguments):
    """(exit code, what --json says of "synthetic")."""
    code, said, _ = called(capsys, "verify", *arguments)
    as_json, record, _ = called(capsys, "verify", *arguments, "--json")
    assert code == as_json
    return code, json.loads(record)["synthetic"]


def test_an_acquired_file_carries_no_mark(folder, capsys):
    code, said, _ = called(capsys, "verify", folder / "head.nii.gz")
    assert code == 3 and "no mark" in said and "does not prove" in said
    assert verified(capsys, folder / "head.nii.gz") == (3, None)


def test_volume_sidecar_and_report_of_a_synthesis_are_all_marked(run, folder, capsys):
    assert run("--report", folder / "report.png")[0] == 0
    for name in ("out.nii.gz", "out.json", "report.png"):
        assert verified(capsys, folder / name) == (0, True)
    said = called(capsys, "verify", folder / "out.json")[1]
    assert "out.json: is synthetic" in said and "tiny-t1w-t2w 1.2.3" in said


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_the_picture_of_a_cine_is_marked(tmp_path, head, capsys, kind):
    film = Film((0.0, 50.0), (True, False))
    for _ in film.watching(iter([head, head.with_array(head.array * 0.9)])):
        """Pictures are taken as the frames pass by."""
    film.write(tmp_path / f"beat.{kind}")
    assert verified(capsys, tmp_path / f"beat.{kind}") == (0, True)


def test_a_picture_and_a_sidecar_of_somebody_else_carry_no_mark(tmp_path, capsys):
    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    Image.new("L", (8, 8)).save(tmp_path / "photo.gif", comment=b"holidays")
    (tmp_path / "sub-01_T1w.json").write_text('{"EchoTime": 0.003}')
    for name in ("photo.png", "photo.gif", "sub-01_T1w.json"):
        assert verified(capsys, tmp_path / name) == (3, None)


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]}, (0, True)),
        ({"SeriesDescription": "SYNTHETIC cine from ED + ES, not for diagnosis"}, (0, True)),
        ({"ImageType": ["ORIGINAL", "PRIMARY"], "SeriesDescription": "Synthetic MR"}, (3, None)),
        ({"ImageType": "SYNTHETIC"}, (3, None)),
    ],
)
def test_what_dcm2niix_copies_from_a_synthetic_header_is_a_mark(folder, capsys, record, answer):
    (folder / "head.json").write_text(json.dumps(record))
    for name in ("head.json", "head.nii.gz"):
        assert verified(capsys, folder / name) == answer


def test_a_name_alone_is_no_mark(folder, capsys):
    shutil.copy(folder / "head.nii.gz", folder / "synthetic_head.nii.gz")
    assert verified(capsys, folder / "synthetic_head.nii.gz") == (3, "suspected")


@pytest.fixture
def series(tmp_path):
    """series(**attributes) -> a folder of two DICOM slices, the second one with them."""

    def series(**attributes):
        folder = tmp_path / "series"
        folder.mkdir(exist_ok=True)
        for n, changes in enumerate(({}, attributes)):
            dataset = pydicom.Dataset()
            dataset.SOPClassUID, dataset.Modality = pydicom.uid.MRImageStorage, "MR"
            dataset.SOPInstanceUID = pydicom.uid.generate_uid()
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            for name, value in changes.items():
                setattr(dataset, name, value)
            dataset.save_as(folder / f"{n}.dcm", enforce_file_format=True)
        return folder

    return series


@pytest.mark.parametrize(
    ("attributes", "answer"),
    [
        ({}, (3, None)),
        ({"ImageType": ["ORIGINAL", "PRIMARY"]}, (3, None)),
        ({"SyntheticData": "YES"}, (0, True)),
        ({"ImageType": ["DERIVED", "SECONDARY", "SYNTHETIC"]}, (0, True)),
        ({"ImageComments": "SYNTHETIC - NOT FOR DIAGNOSIS: T2w"}, (0, True)),
    ],
)
def test_the_files_of_a_dicom_series_are_asked(series, capsys, attributes, answer):
    folder = series(**attributes)
    assert verified(capsys, folder) == answer
    assert verified(capsys, folder / "1.dcm") == answer
    assert verified(capsys, folder / "0.dcm") == (3, None)


def test_what_cannot_be_read_is_told_and_is_neither(tmp_path, capsys, monkeypatch):
    noise = np.random.default_rng(0).bytes(300)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.dcm").write_bytes(bytes(128) + b"DICM" + noise)
    (tmp_path / "raw.dcm").write_bytes(noise)
    (tmp_path / "notes.txt").write_text("SYNTHETIC")
    (tmp_path / "film.mp4").write_bytes(noise)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + noise)
    (tmp_path / "bad.gif").write_bytes(noise)
    (tmp_path / "bad.json").write_text("[1, 2")
    (tmp_path / "binary.json").write_bytes(noise)
    (tmp_path / "bad.nii").write_bytes(noise)
    for name, said in [
        ("raw.dcm", "not a format I read"), ("notes.txt", "not a format I read"),
        ("film.mp4", "not a format I read"), ("bad.dcm", "not a format I read"),
        ("empty", "no DICOM files"), ("bad.png", "no PNG or GIF"), ("bad.gif", "no PNG or GIF"),
        ("bad.json", "no JSON sidecar"), ("binary.json", "no JSON sidecar"),
        ("bad.nii", "not a NIfTI image"), ("missing.png", "does not exist"),
        ("missing.json", "does not exist"), ("missing", "does not exist"),
    ]:  # fmt: skip
        refused(called(capsys, "verify", tmp_path / name), name, said)
    monkeypatch.chdir(tmp_path / "empty")
    refused(called(capsys, "verify", "."), "mambasynth: .: holds no DICOM files")


# --- under other names ---------------------------------------------------------------------------

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha"]


@pytest.mark.parametrize("name", ["out", "out.mgz", "out.img", "OUT.IMG", "out.dat", "out.hdr"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mark_is_found_under_a_name_that_says_nothing_of_the_format(
    tmp_path, head, capsys, suffix, name
):
    write_volume(head, tmp_path / f"marked{suffix}", provenance=RECORD)
    write_volume(head, tmp_path / f"acquired{suffix}")
    (tmp_path / f"marked{suffix}").rename(tmp_path / name)
    (tmp_path / f"acquired{suffix}").rename(tmp_path / f"acquired-{name}")
    assert verified(capsys, tmp_path / name) == (0, True)
    assert verified(capsys, tmp_path / f"acquired-{name}") == (3, None)


@pytest.mark.parametrize(
    "kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair, nibabel.Spm99AnalyzeImage]
)
def test_a_pair_of_header_and_image_keeps_the_mark_in_its_header(tmp_path, head, capsys, kind):
    write_volume(head, tmp_path / "one.nii", provenance=RECORD)
    one = nibabel.load(tmp_path / "one.nii")
    two = kind(one.get_fdata(dtype=np.float32), one.affine, one.header)
    two.header["descrip"] = one.header["descrip"]
    two.to_filename(tmp_path / "two.img")
    kind(head.array, head.affine).to_filename(tmp_path / "acquired.img")
    for ending in (".img", ".hdr"):
        assert verified(capsys, tmp_path / f"two{ending}") == (0, True)
        assert verified(capsys, tmp_path / f"acquired{ending}") == (3, None)
    (tmp_path / "acquired.hdr").unlink()
    refused(called(capsys, "verify", tmp_path / "acquired.img"), "not a format I read")


def test_a_compressed_file_that_holds_no_image_is_no_format(tmp_path, capsys):
    for name, content in [
        ("x.mgz", b"\0\0\0\1" + bytes(300)),
        ("notes.gz", b"SYNTHETIC"),
        ("x", b""),
    ]:
        (tmp_path / name).write_bytes(gzip.compress(content))
        refused(called(capsys, "verify", tmp_path / name), name, "not a format I read")
    (tmp_path / "cut.mgz").write_bytes(gzip.compress(np.random.default_rng(1).bytes(300))[:90])
    refused(
        called(capsys, "verify", tmp_path / "cut.mgz"), "cut.mgz", "compressed data are damaged"
    )


# --- the voxels -----------------------------------------------------------------------------------


def judged(capsys, path):
    """(exit code, whether the voxels are as written) and the last line for people."""
    code, record, _ = called(capsys, "verify", path, "--json")
    said = called(capsys, "verify", path)[1].splitlines()[-1]
    return (code, json.loads(record)["voxels_as_written"]), said


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_flipped_bit_of_a_voxel_is_told(tmp_path, head, capsys, suffix):
    path = tmp_path / f"x{suffix}"
    write_volume(head, path, provenance=RECORD)
    answer, said = judged(capsys, path)
    assert answer == (0, True) and "voxels are those that were written" in said
    changed = head.array.copy()
    changed.view(np.uint32)[5, 6, 4] ^= 1
    record = (tmp_path / "x.json").read_bytes()
    write_volume(head.with_array(changed), path, provenance=RECORD, overwrite=True)
    (tmp_path / "x.json").write_bytes(record)
    answer, said = judged(capsys, path)
    assert answer == (2, False) and "voxels are NOT those that were written" in said
    assert called(capsys, "verify", path)[1].startswith(f"{path}: is synthetic")
    (tmp_path / "x.json").unlink()
    answer, said = judged(capsys, path)
    assert answer == (0, None) and "were not checked: neither" in said


def test_a_cut_off_image_is_not_called_whole_because_its_header_is(tmp_path, head, capsys):
    write_volume(head, tmp_path / "x.nii", provenance=RECORD)
    (tmp_path / "x.nii").write_bytes((tmp_path / "x.nii").read_bytes()[:-4])
    refused(called(capsys, "verify", tmp_path / "x.nii"), "x.nii: the header promises")


@pytest.mark.parametrize("name", ["beat.nii.gz", "beat.nii", "beat.seq.nrrd"])
def test_a_changed_voxel_of_any_frame_of_a_cine_is_told(tmp_path, head, capsys, name):
    record = replace(CINE_RECORD, times_ms=(0.0, 40.0, 80.0), acquired=(1, 3))
    frames = [head, head.with_array(head.array * 0.9), head.with_array(head.array * 0.8)]
    write_cine(iter(frames), tmp_path / name, record)
    assert judged(capsys, tmp_path / name)[0] == (0, True)
    sidecar = next(tmp_path.glob("*.json"))
    kept = sidecar.read_bytes()
    frames[1] = head.with_array(head.array * 0.9 + 1e-3)
    write_cine(iter(frames), tmp_path / name, record, overwrite=True)
    sidecar.write_bytes(kept)
    assert judged(capsys, tmp_path / name)[0] == (2, False)


def test_each_synthetic_frame_of_a_folder_is_checked_by_its_own_sidecar(tmp_path, head, capsys):
    record = replace(CINE_RECORD, times_ms=(0.0, 40.0), acquired=(1,))
    write_cine(iter([head, head.with_array(head.array * 0.9)]), tmp_path / "beat", record)
    assert judged(capsys, tmp_path / "beat/frame-0002.nii.gz")[0] == (0, True)
    assert verified(capsys, tmp_path / "beat/frame-0001.nii.gz") == (3, None)


@pytest.mark.parametrize("command", ["verify", "synthesize-set", ""])
def test_the_help_tells_the_exit_codes(capsys, command):
    code, said, _ = called(capsys, *command.split(), "--help")
    assert code == 0 and "xit codes: 0 " in said and "3" in said.partition("xit codes")[2]
