"""``verify`` answers by its exit code: 0 marked, 3 not marked, 2 cannot tell."""

import json
import shutil

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset

from MambaSynthLib.report.film import Film
from Testing.library.cli.command_line import called, refused


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


def test_what_cannot_be_read_is_told_and_is_neither(tmp_path, capsys):
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


@pytest.mark.parametrize("command", ["verify", "synthesize-set", ""])
def test_the_help_tells_the_exit_codes(capsys, command):
    code, said, _ = called(capsys, *command.split(), "--help")
    assert code == 0 and "xit codes: 0 " in said and "3" in said.partition("xit codes")[2]
