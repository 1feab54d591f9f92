"""Damaged, foreign and hostile files are refused in one sentence that says why.

Rows A10 and A23 to A27 of the table of nasty inputs.
"""

import gzip
import os
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from MambaSynthLib.errors import FileError
from MambaSynthLib.io import payload
from MambaSynthLib.io.files import read_volume
from Testing.library.image_files import SUFFIXES, itk_file, nifti_file, plain, refused

posix = pytest.mark.skipif(os.name == "nt", reason="pipes, links and modes of POSIX")


@posix
def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "empty.nii").touch()
    for name, match in {
        "pipe.nii": "pipe or a device",
        "loop.nii": "cannot be read",
        "folder.nii": "is a folder",
        "empty.nii": "is empty",
        "missing.nii": "does not exist",
        "n" * 300 + ".nii": "cannot be read",
        "nul\0.nii": "no possible file name",
    }.items():
        refused(tmp_path / name, match)
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content, match",
    [
        (b"<!DOCTYPE html><html>404 not found</html>" * 20, "web page"),
        (b"just some words\n" * 40, "text|header line"),
        (bytes(range(256)) * 4, "other data"),
        (b"\x00", "other data"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, suffix, content, match):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    refused(path, match)


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"x")
    assert ".nrrd" in refused(tmp_path / "x.jpg", "no readable format")


def test_compression_that_the_name_does_not_promise_is_refused(tmp_path):
    content = nifti_file(tmp_path / "x.nii").read_bytes()
    (tmp_path / "y.nii.gz").write_bytes(content)
    refused(tmp_path / "y.nii.gz", "rename it to .nii")
    (tmp_path / "z.nii").write_bytes(gzip.compress(content))
    refused(tmp_path / "z.nii", "should end in .gz")


@pytest.mark.parametrize("suffix", SUFFIXES[:3] + [".mha", "compressed.mha"])
@pytest.mark.parametrize("lost", ["a voxel", 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, suffix, lost):
    path = tmp_path / f"x{suffix}"
    if "nii" in suffix:
        nifti_file(path)
    else:
        itk_file(path, compressed="compressed" in suffix)
    content = path.read_bytes()
    path.write_bytes(content[: -4 if lost == "a voxel" else int(len(content) * (1 - lost))])
    refused(path, "truncated|damaged|header|not a|holds|empty")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_every_flipped_bit_in_compressed_data_is_noticed(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    nifti_file(path) if suffix == ".nii.gz" else itk_file(path, compressed=True)
    content = path.read_bytes()
    truth = read_volume(path)
    packed_from = max(content.find(b"\x1f\x8b"), content.find(b"LOCAL\n") + 6) + 10
    rng = np.random.default_rng(0)
    for place in (*rng.integers(packed_from, len(content), 60), len(content) - 1):
        broken = bytearray(content)
        broken[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        refused(path, None)
    path.write_bytes(content)
    assert np.array_equal(read_volume(path).array, truth.array)


def test_a_wrong_gzip_checksum_is_refused(tmp_path):
    path = nifti_file(tmp_path / "x.nii.gz")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    refused(path, "damaged")


def test_padding_is_noted_but_another_slice_is_refused(tmp_path):
    content = nifti_file(tmp_path / "x.nii").read_bytes()
    slice_bytes = 5 * 6 * 4
    for name, pack in (("y.nii", bytes), ("y.nii.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(content + b"\0" * (slice_bytes - 1)))
        assert read_volume(tmp_path / name).notes[0].startswith("trailing bytes: 119 ")
        (tmp_path / name).write_bytes(pack(content + b"\0" * slice_bytes))
        refused(tmp_path / name, "one slice more")


NIFTI_LIES = {
    "no dimension": ((40, "<h", 0), "dimensions"),
    "negative dimension": ((40, "<h", -1), "dimensions"),
    "nine dimensions": ((40, "<h", 9), "dimensions"),
    "size 0": ((42, "<h", 0), "impossible size"),
    "size -5": ((44, "<h", -5), "impossible size"),
    "unknown type": ((70, "<h", 9999), "unknown"),
    "wrong bits": ((72, "<h", 16), "16 bits a voxel"),
    "offset far away": ((108, "<f", 1e9), "promises"),
    "offset negative": ((108, "<f", -1.0), "begins at byte"),
    "offset zero": ((108, "<f", 0.0), "begins at byte"),
    "offset NaN": ((108, "<f", np.nan), "begins at byte"),
    "offset infinite": ((108, "<f", np.inf), "begins at byte"),
    "offset fractional": ((108, "<f", 352.5), "begins at byte"),
    "bad magic": ((344, "<4s", b"abcd"), "not a NIfTI"),
    "pair magic": ((344, "<4s", b"ni1\0"), "pair"),
    "bad header length": ((0, "<i", 349), "not a NIfTI"),
    "one slice more": ((46, "<h", 8), "promises"),
    "complex": ((70, "<hh", 32, 64), "complex"),
    "RGB": ((70, "<hh", 128, 24), "RGB"),
    "float128": ((70, "<hh", 1536, 128), "float128"),
    "float16, which NIfTI has not": ((70, "<hh", 11, 16), "unknown"),
}


@pytest.mark.parametrize("change, match", NIFTI_LIES.values(), ids=NIFTI_LIES.keys())
def test_nifti_headers_that_lie_are_refused(tmp_path, change, match):
    path = plain(tmp_path, change)
    refused(path, match)
    (tmp_path / "y.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    refused(tmp_path / "y.nii.gz", f"{match}|truncated|ends after")


def test_a_header_cut_off_anywhere_is_refused(tmp_path):
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        content = nifti_file(tmp_path / "x.nii", kind=kind).read_bytes()
        for length in range(1, 560, 7):
            (tmp_path / "y.nii").write_bytes(content[:length])
            refused(tmp_path / "y.nii", None)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_promise_of_terabytes_is_refused_before_anything_is_allocated(tmp_path, suffix):
    content = plain(tmp_path, (42, "<hhh", 32767, 32767, 32767)).read_bytes()
    path = tmp_path / f"y{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    refused(path, "more than the 536870912")


def test_a_small_file_that_promises_gigabytes_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(payload, "read_exactly", None)  # would be a TypeError
    content = plain(tmp_path, (42, "<hhh", 512, 512, 512)).read_bytes()
    for name, pack in (("y.nii", bytes), ("y.nii.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(content))
        refused(tmp_path / name, "promises 5368")


def test_a_bomb_is_left_as_soon_as_it_goes_on_for_a_slice(tmp_path, monkeypatch):
    read = []

    class Counted(gzip.GzipFile):
        def read(self, size=-1):
            data = super().read(size)
            read.append(len(data))
            return data

    monkeypatch.setattr(gzip, "GzipFile", Counted)
    content = nifti_file(tmp_path / "x.nii").read_bytes()
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(content) + packer.compress(bytes(2**26)) + packer.flush()
    (tmp_path / "y.nii.gz").write_bytes(bomb)
    refused(tmp_path / "y.nii.gz", "one slice more")
    assert 0 < sum(read) < 2**24


@pytest.mark.parametrize("suffix", [*SUFFIXES[:3], ".mha"])
def test_whatever_bytes_a_header_holds_the_answer_is_a_volume_or_one_sentence(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    (nifti_file if "nii" in suffix else itk_file)(path)
    content = path.read_bytes()
    if suffix == ".nii.gz":
        content = gzip.decompress(content)
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        for _ in range(400):
            broken = bytearray(content)
            for place in rng.integers(0, min(352, len(content)), rng.integers(1, 5)):
                broken[place] = rng.integers(256)
            path.write_bytes(gzip.compress(broken, 1) if suffix == ".nii.gz" else broken)
            try:
                assert np.isfinite(read_volume(path).array).all()
            except FileError as error:
                assert str(error).startswith("x.")


def test_a_name_that_no_file_can_have_does_not_fill_the_sentence():
    with pytest.raises(FileError) as told:
        read_volume(Path(f"{'x' * 5000}.nii"))
    assert str(told.value).startswith("xxx") and len(str(told.value)) < 300
