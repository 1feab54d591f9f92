"""NIfTI files: geometry, numbers, damage, lies, names."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from Testing.library.image_files import OBLIQUE, VALUES, affine_of, nifti_file, plain, rotation
from Testing.nasty.case import REFUSED, WARNED, Case, Image
from Testing.provenance_records import RECORD

GROUP = "NIfTI"
PLAIN = Image(VALUES, OBLIQUE)
WHOLE = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
SHEARED = affine_of(np.eye(3), (1, 1, 1))
SHEARED[0, 1] = 2e-4
SLIGHTLY = SHEARED.copy()
SLIGHTLY[0, 1] = 8e-5
ZERO_ROW = (280, "<4f", 0, 0, 0, 0)
NO_QFORM = (252, "<h", 0)


def header(what: str, *changes: Any, truth: Image | None = PLAIN, wanted: str = "ok",
           options: tuple[str, ...] = (), **file: Any) -> Case:  # fmt: skip
    """A good file but for these bytes of its header."""
    return Case(GROUP, what, lambda folder: plain(folder, *changes, **file), wanted, truth, options)


def lie(what: str, *change: Any) -> Case:
    return header(what, change, truth=None, wanted=REFUSED)


def placed(what: str, affine: Any, wanted: str = "ok") -> Case:
    return Case(GROUP, what, lambda folder: nifti_file(folder / "x.nii", affine=affine,
                qform=affine[0, 1] not in (2e-4, 8e-5)), wanted, Image(VALUES, affine))  # fmt: skip


def stored(values: Any, what: str = "", wanted: str = "ok") -> Case:
    """Values in their own type, which nibabel wants to be told."""

    def make(folder: Path) -> Path:
        head = nibabel.Nifti1Header(endianness=values.dtype.byteorder.replace("|", "<"))
        head.set_data_dtype(values.dtype)
        nibabel.Nifti1Image(values, OBLIQUE, head).to_filename(folder / "x.nii")
        return folder / "x.nii"

    big = ", big-endian" * (values.dtype.byteorder == ">")
    what = what or f"values of the type {values.dtype.name}{big}"
    return Case(GROUP, what, make, wanted, Image(values, OBLIQUE))


def typed(dtype: str) -> Case:
    return stored((np.arange(210).reshape(5, 6, 7) % 120).astype(dtype))


def scaled(what: str, slope: float, intercept: float, wanted: str = "ok") -> Case:
    truth = WHOLE * 1.0 if slope == 0 or wanted == WARNED else WHOLE * slope + intercept
    return header(what, (112, "<ff", slope, intercept), truth=Image(truth, OBLIQUE), wanted=wanted,
                  values=WHOLE)  # fmt: skip


def bytes_of(what: str, change: Callable[[bytes], bytes], name: str = "x.nii",
             wanted: str = REFUSED, truth: Image | None = None) -> Case:  # fmt: skip
    """A good uncompressed file whose bytes were changed, perhaps under another name."""

    def make(folder: Path) -> Path:
        path = nifti_file(folder / "made.nii")
        content = change(path.read_bytes())
        path.unlink()
        (folder / name).write_bytes(content)
        return folder / name

    return Case(GROUP, what, make, wanted, truth)


def flipped(content: bytes, place: int) -> bytes:
    broken = bytearray(content)
    broken[place] ^= 1
    return bytes(broken)


def bomb(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(content) + packer.compress(bytes(2**26)) + packer.flush()


def in_members(content: bytes) -> bytes:
    return b"".join(map(gzip.compress, (content[:100], content[100:700], content[700:])))


def entry(what: str, create: Callable[[Path], Any], name: str = "x.nii") -> Case:
    """Something that is no file of an image."""

    def make(folder: Path) -> Path:
        create(folder / name)
        return folder / name

    return Case(GROUP, what, make, REFUSED)


def named(what: str, name: str) -> Case:
    pack = gzip.compress if name.lower().endswith(".gz") else bytes
    return bytes_of(what, pack, name, wanted="ok", truth=PLAIN)


def both_names(asked: str) -> Case:
    def make(folder: Path) -> Path:
        other = {"x.nii": "x.nii.gz", "x.nii.gz": "x.nii"}[asked]
        nifti_file(folder / other, VALUES + 1)
        return nifti_file(folder / asked)

    return Case(GROUP, f"{asked} beside the other", make, truth=PLAIN)


def voxels(what: str, values: Any, wanted: str, options: tuple[str, ...] = (),
           truth: Any = None, rivals: bool = True) -> Case:  # fmt: skip
    return Case(GROUP, what, lambda folder: nifti_file(folder / "x.nii", values), wanted,
                Image(values if truth is None else truth, OBLIQUE), options, rivals)  # fmt: skip


def with_one(value: float) -> np.ndarray:
    values = VALUES.astype(np.float64 if value == 1e300 else np.float32)
    values[1, 2, 3] = value
    return values


def marked(what: str, options: tuple[str, ...], wanted: str, keep: str = "both") -> Case:
    def make(folder: Path) -> Path:
        image, sidecar = write_volume(Volume(VALUES, OBLIQUE), folder / "x.nii", provenance=RECORD)
        if keep == "file":
            sidecar.unlink()
        elif keep == "sidecar":
            nifti_file(image)
        return image

    return Case(GROUP, what, make, wanted, options=options, rivals=False)


def extended(folder: Path) -> Path:
    image = nibabel.Nifti1Image(VALUES, OBLIQUE)
    for size in (5, 4000):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"x" * size))
    image.to_filename(folder / "x.nii")
    return folder / "x.nii"


def cases() -> list[Case]:
    return [*_geometry(), *_numbers(), *_damage(), *_lies(), *_names()]


def _geometry() -> list[Case]:
    forms = (292, "<f", OBLIQUE[0, 3] + 0.01)
    meters, micrometers = OBLIQUE.copy(), OBLIQUE.copy()
    meters[:3] /= 1e3
    micrometers[:3] *= 1e3
    turned = affine_of(rotation(90, 0, 90), (1.0, 1.0, 4.0))
    return [
        placed("oblique by 13.7 degrees", OBLIQUE),
        *(placed(f"left-handed, axis {a} flipped",
                 affine_of(np.diag([1 - 2 * (a == n) for n in range(3)]))) for a in range(3)),
        placed("axes in another order", turned),
        placed("near a half turn", affine_of(rotation(5, 3, 180))),
        placed("voxels of 0.3 x 0.3 x 9 mm", affine_of(np.eye(3), (0.3, 0.3, 9.0))),
        header("a qform alone", (254, "<h", 0)),
        header("an sform alone", NO_QFORM),
        header("a qfac of 0", (76, "<f", 0.0), (254, "<h", 0)),
        header("qform and sform 0.01 mm apart", forms, truth=None, wanted=REFUSED),
        header("the same, --prefer qform", forms, wanted=WARNED, options=("--prefer", "qform")),
        header("a mirrored qform", (76, "<f", -1.0), truth=None, wanted=REFUSED),
        header("no code, no geometry", (252, "<hh", 0, 0), truth=None, wanted=WARNED),
        placed("a shear of 8e-5", SLIGHTLY, WARNED),
        placed("a shear of 2e-4, a tilted gantry", SHEARED, REFUSED),
        header("an affine of zeros", NO_QFORM, (280, "<12f", *[0] * 12), truth=None,
               wanted=REFUSED),
        header("a row of zeros in the affine", NO_QFORM, ZERO_ROW, truth=None, wanted=REFUSED),
        header("NaN in the affine", NO_QFORM, (280, "<f", np.nan), truth=None, wanted=REFUSED),
        header("a qform that is no rotation", (256, "<3f", 0.9, 0.9, 0), truth=None,
               wanted=REFUSED),
        *(lie(f"a voxel size of {size}", 80, "<f", size) for size in (0, -1, np.nan, 1e-12, 1e12)),
        header("a voxel size that the sform contradicts", NO_QFORM, (80, "<f", 2.0),
               wanted=WARNED),
        header("meters", (123, "<B", 1), wanted=WARNED, affine=meters),
        header("micrometers", (123, "<B", 3), wanted=WARNED, affine=micrometers),
    ]  # fmt: skip


def _numbers() -> list[Case]:
    large = np.full((5, 6, 7), 2**24 + 1, dtype=np.int64)
    large[2:4, 2:5, 2:5] = 2**20
    zeroed = np.where(np.isfinite(with_one(np.nan)), with_one(np.nan), 0)
    four = np.stack([VALUES] * 2, -1)
    return [
        *map(typed, ("u1", "i1", "<u2", "<i4", "<u4", "<i8", "<u8", "<f8", ">i2", ">f4")),
        Case(GROUP, "NIfTI-2", lambda folder: nifti_file(folder / "x.nii",
             kind=nibabel.Nifti2Image), truth=PLAIN),
        Case(GROUP, "extensions of the header", extended, truth=PLAIN),
        scaled("a slope of 0.5", 0.5, 0),
        scaled("a slope of 2 and an intercept of -3", 2, -3),
        scaled("a slope of 0, which means none", 0, 7),
        scaled("a slope of NaN", np.nan, 0, WARNED),
        scaled("an infinite intercept", 2, np.inf, WARNED),
        stored(large, "whole numbers beyond float32", WARNED),
        voxels("one voxel NaN", with_one(np.nan), REFUSED),
        voxels("the same, --nan-as-zero", with_one(np.nan), WARNED, ("--nan-as-zero",), zeroed,
               rivals=False),
        voxels("one voxel infinite", with_one(np.inf), REFUSED),
        voxels("one voxel of 1e300", with_one(1e300), REFUSED, rivals=False),
        voxels("a trailing dimension of 1", VALUES[..., None], "ok", truth=VALUES),
        voxels("one slice", VALUES[:, :, :1], "ok"),
        voxels("two volumes", four, REFUSED, rivals=False),
        voxels("complex values", VALUES.astype("c8"), REFUSED, rivals=False),
        header("RGB", (70, "<hh", 128, 24), truth=None, wanted=REFUSED),
        marked("synthetic already", (), REFUSED),
        marked("synthetic by its header alone", (), REFUSED, keep="file"),
        marked("synthetic by its sidecar alone", (), REFUSED, keep="sidecar"),
        marked("the same, --allow-synthetic-input", ("--allow-synthetic-input",), WARNED),
    ]  # fmt: skip


def _damage() -> list[Case]:
    def part(share: float) -> Callable[[bytes], bytes]:
        return lambda content: content[: int(len(content) * share)]

    extra = bytes(5 * 6 * 4)
    return [
        bytes_of("the last voxel cut off", lambda c: c[:-4]),
        *(bytes_of(f"cut to {share:.0%}", part(share)) for share in (0.9, 0.5, 0.1)),
        bytes_of("the header alone", lambda c: c[:352]),
        bytes_of("half a header", lambda c: c[:200]),
        bytes_of("compressed, then cut in half", lambda c: part(0.5)(gzip.compress(c)), "x.nii.gz"),
        bytes_of("compressed without its last 8 bytes", lambda c: gzip.compress(c)[:-8],
                 "x.nii.gz"),
        bytes_of("cut, then compressed", lambda c: gzip.compress(c[:-400]), "x.nii.gz"),
        bytes_of("a bit flipped in compressed data", lambda c: flipped(gzip.compress(c), 600),
                 "x.nii.gz"),
        bytes_of("a wrong checksum", lambda c: flipped(gzip.compress(c), -8), "x.nii.gz"),
        bytes_of("gzip in three members", in_members, "x.nii.gz", "ok", PLAIN),
        bytes_of("compressed under a plain name", gzip.compress),
        bytes_of("plain under a compressed name", bytes, "x.nii.gz"),
        bytes_of("64 MiB of zeros behind, compressed to 64 KiB", bomb, "x.nii.gz"),
        bytes_of("one slice more than the header says", lambda c: c + extra),
        bytes_of("a few bytes of padding", lambda c: c + extra[:-1], "x.nii", WARNED, PLAIN),
        bytes_of("a web page", lambda c: b"<!DOCTYPE html><html>404</html>" * 20, "x.nii.gz"),
        bytes_of("text", lambda c: b"just some words\n" * 40),
        bytes_of("empty", lambda c: b""),
    ]  # fmt: skip


def _lies() -> list[Case]:
    offsets = (("far away", 1e9), ("negative", -1.0), ("0", 0.0), ("NaN", np.nan),
               ("in between two bytes", 352.5))  # fmt: skip
    return [
        lie("no dimension", 40, "<h", 0),
        lie("a negative number of dimensions", 40, "<h", -1),
        lie("nine dimensions", 40, "<h", 9),
        lie("no columns", 42, "<h", 0),
        lie("-5 rows", 44, "<h", -5),
        lie("one slice more in the header", 46, "<h", 8),
        lie("32767 x 32767 x 32767 voxels", 42, "<hhh", 32767, 32767, 32767),
        lie("half a gigabyte that is not there", 42, "<hhh", 512, 512, 512),
        lie("an unknown type", 70, "<h", 9999),
        lie("bits that do not fit the type", 72, "<h", 16),
        *(lie(f"data whose beginning is {what}", 108, "<f", offset) for what, offset in offsets),
        lie("a wrong magic word", 344, "<4s", b"abcd"),
        lie("the magic word of a pair", 344, "<4s", b"ni1\0"),
        lie("a wrong length of the header", 0, "<i", 349),
    ]


def _names() -> list[Case]:
    return [
        both_names("x.nii"),
        both_names("x.nii.gz"),
        named("a name of letters from everywhere", "Kopf ü 頭 é.nii"),
        named("a name of two lines", "two\nlines.nii"),
        named("a name that begins like an option", "-x.nii"),
        named("a name of 255 bytes", "n" * 251 + ".nii"),
        named("an upper-case suffix", "X.NII.GZ"),
        entry("a file that is not there", lambda path: None),
        entry("a folder of that name", lambda path: path.mkdir()),
        entry("a link to itself", lambda path: path.symlink_to(path)),
        entry("a pipe", os.mkfifo),
    ]
