"""What can be wrong with a slice of a DICOM stack: in its data set, or with its file."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless

from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import dicom_series

SEQUENCE = b"\xe1\x7f\x10\x10SQ\0\0\xff\xff\xff\xff"  # of unknown length, with one item in it
ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
PRIVATE = b"\xe1\x7f\x10\x10OB\0\0"

Change = Callable[[Any, int, int], Any]  # data set, slice, time


def everywhere(**values: Any) -> Change:
    def change(dataset: Any, k: int, f: int) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


def at(slice_: int, **values: Any) -> Change:
    """Values of one slice alone; the others say something, too."""
    usual = {"PatientID": "001", "PatientName": "A^B", "FrameOfReferenceUID": "1.2.3",
             "EchoTime": 30, "StackID": "1", "DiffusionBValue": 0.0}  # fmt: skip

    def change(dataset: Any, k: int, f: int) -> None:
        everywhere(**usual)(dataset, k, f)
        if k == slice_:
            everywhere(**values)(dataset, k, f)

    return change


def without(*keywords: str, slices: tuple[int, ...] = (0, 1, 2, 3)) -> Change:
    def change(dataset: Any, k: int, f: int) -> None:
        for keyword in keywords:
            if k in slices:
                delattr(dataset, keyword)

    return change


def moved(slice_: int, *millimeters: float) -> Change:
    def change(dataset: Any, k: int, f: int) -> None:
        if k == slice_:
            place = np.array(dataset.ImagePositionPatient, float) + millimeters
            dataset.ImagePositionPatient = [round(float(v), 6) for v in place]

    return change


def tilted(dataset: Any, k: int, f: int) -> None:
    row = np.array(dataset.ImageOrientationPatient[:3], float)
    place = np.array(dataset.ImagePositionPatient, float) + 1.5 * k * row
    dataset.ImagePositionPatient = [round(float(v), 6) for v in place]


def uneven(dataset: Any, k: int, f: int) -> None:
    if k == 3:
        row, column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        place = np.array(dataset.ImagePositionPatient, float) - 3 * np.cross(row, column)
        dataset.ImagePositionPatient = [round(float(v), 6) for v in place]


def onto_another(dataset: Any, k: int, f: int) -> None:
    if k == 3:
        lps = np.diag([-1.0, -1, 1, 1]) @ beat()[0].affine
        dataset.ImagePositionPatient = [round(float(v), 6) for v in lps[:3] @ (0, 0, 2, 1)]


def longer(dataset: Any, k: int, f: int) -> None:
    dataset.ImageOrientationPatient = [1.2 * v for v in dataset.ImageOrientationPatient]


def skewed(dataset: Any, k: int, f: int) -> None:
    row, column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    column = column + 0.02 * row
    dataset.ImageOrientationPatient = [*row.tolist(), *(column / np.linalg.norm(column)).tolist()]


def rescaled(dataset: Any, k: int, f: int) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = 2 + k, -10


def big_endian(dataset: Any, k: int, f: int) -> None:
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()


def syntax(uid: Any) -> Change:
    def change(dataset: Any, k: int, f: int) -> None:
        dataset.file_meta.TransferSyntaxUID = uid

    return change


def shifted_bits(dataset: Any, k: int, f: int) -> None:
    dataset.PixelData = (np.frombuffer(dataset.PixelData, "<u2") << 4).tobytes()
    dataset.HighBit = 15


def in_color(dataset: Any, k: int, f: int) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration, dataset.BitsAllocated, dataset.BitsStored = 0, 8, 8
    dataset.HighBit, dataset.PixelData = 7, bytes(3 * 20 * 18)


def twice(dataset: Any, k: int, f: int) -> None:
    dataset.PixelData = 2 * dataset.PixelData


def nonsense(dataset: Any, k: int, f: int) -> None:
    dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset["PixelData"].is_undefined_length = True


# ---- what happens to files -----------------------------------------------------------------------


def last_of(folder: Path) -> Path:
    """The file of the slice at the end, whose absence leaves an even stack."""
    return next(folder.glob("*-3-0.dcm"))


def to_last(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def after(folder: Path) -> None:
        path = last_of(folder)
        path.write_bytes(change(path.read_bytes()))

    return after


def remove(*slices: int) -> Callable[[Path], None]:
    def after(folder: Path) -> None:
        for k in slices:
            next(folder.glob(f"*-{k}-0.dcm")).unlink()

    return after


def renamed(folder: Path) -> None:
    path = last_of(folder)
    path.write_bytes(path.read_bytes()[132:])
    path.rename(path.with_suffix(".bin"))


def linked(folder: Path) -> None:
    path = last_of(folder)
    path.unlink()
    path.symlink_to("gone.dcm")


def copied(folder: Path) -> None:
    (folder / "copy.dcm").write_bytes(last_of(folder).read_bytes())


def with_bystanders(folder: Path) -> None:
    for name in ("README", "notes.txt", "DICOMDIR", ".DS_Store", "key.jpg"):
        (folder / name).write_bytes(b"")


def numbered(folder: Path) -> None:
    for n, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"1.2.840.{n}")


def deflated_bomb(folder: Path) -> None:
    """An element of 256 MiB of zeros, deflated to 256 KiB."""
    path = last_of(folder)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")  # behind the group of the file's meta
    data = zlib.decompressobj(-15).decompress(content[start:])
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(data + PRIVATE + (2**28).to_bytes(4, "little"))
    for _ in range(256):
        packed += packer.compress(bytes(2**20))
    path.write_bytes(content[:start] + packed + packer.flush())


def another_series(folder: Path) -> None:
    other = dicom_series(folder.parent / "other", beat()[1:2])
    for path in other.iterdir():
        path.rename(folder / f"b{path.name}")
    other.rmdir()
