"""NRRD and MetaImage files: spaces, units, encodings, detached data, and headers that lie."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from Testing.library.image_files import DATA, NRRD, VALUES, itk_file, mha_file, nrrd_file
from Testing.nasty.case import REFUSED, WARNED, Case, Image

EDGES = np.array([[2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
LPS = Image(VALUES, np.diag([-1, -1, 1, 1]) @ EDGES)
RAS = Image(VALUES, EDGES)
LAS = Image(VALUES, np.diag([-1, 1, 1, 1]) @ EDGES)
SMALL = Image(VALUES, np.diag([1e-3, 1e-3, 1e-3, 1]) @ LPS.affine)
SWAPPED = VALUES.astype(">f4").tobytes(order="F")
FOUR = {"NDims": "4", "DimSize": "5 6 7 1", "Offset": "10 20 30 0", "ElementSpacing": "2 3 4 1",
        "TransformMatrix": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"}  # fmt: skip


def nrrd(what: str, wanted: str = REFUSED, truth: Image | None = None, data: bytes = DATA,
         rivals: bool = True, **fields: str | None) -> Case:  # fmt: skip
    return Case("NRRD", what, lambda folder: nrrd_file(folder / "x.nrrd", data, **fields), wanted,
                truth, rivals=rivals)  # fmt: skip


def mha(what: str, wanted: str = REFUSED, truth: Image | None = None, data: bytes = DATA,
        rivals: bool = True, **fields: str | None) -> Case:  # fmt: skip
    return Case("MetaImage", what, lambda folder: mha_file(folder / "x.mha", data, **fields),
                wanted, truth, rivals=rivals)  # fmt: skip


def cut(make: Callable[[Path], Path], share: float) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        path = make(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return made


def detached(suffix: str, what: str, name: str, wanted: str, prepare: Any) -> Case:
    """A header whose data are in another file, made by ``prepare(folder)``."""

    def make(folder: Path) -> Path:
        inside = folder / "in"
        inside.mkdir()
        prepare(folder)
        if suffix == ".nhdr":
            return nrrd_file(inside / "x.nhdr", b"", data_file=name.format(folder))
        return mha_file(inside / "x.mhd", b"", ElementDataFile=name.format(folder))

    group = "NRRD" if suffix == ".nhdr" else "MetaImage"
    return Case(group, f"{suffix}: {what}", make, wanted, LPS if wanted == "ok" else None)


def _put(*names: str) -> Callable[[Path], None]:
    def put(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(DATA)

    return put


def _link(folder: Path) -> None:
    (folder / "out.raw").write_bytes(DATA)
    (folder / "in/link.raw").symlink_to(folder / "out.raw")


def cases() -> list[Case]:
    return [*_nrrd(), *_nrrd_lies(), *_metaimage(), *_detached(".nhdr"), *_detached(".mhd")]


def _nrrd() -> list[Case]:
    packed = partial(itk_file, compressed=True)
    vectors = NRRD["space directions"]
    return [
        nrrd("left-posterior-superior", "ok", LPS),
        nrrd("right-anterior-superior", "ok", RAS, space="right-anterior-superior"),
        nrrd("LAS", "ok", LAS, space="LAS"),
        nrrd("big-endian", "ok", LPS, SWAPPED, endian="big"),
        nrrd("gzip", "ok", LPS, gzip.compress(DATA), encoding="gzip"),
        nrrd("an axis of size 1 before the others", "ok", LPS, sizes="1 5 6 7", dimension="4",
             space_directions="none " + vectors),
        nrrd("no space", WARNED, space=None),
        nrrd("no space origin", WARNED, space_origin=None),
        nrrd("micrometers", WARNED, SMALL, space_units='"um" "um" "um"'),
        Case("NRRD", "cut in half", cut(lambda f: nrrd_file(f / "x.nrrd"), 0.6), REFUSED),
        Case("NRRD", "compressed and cut", cut(lambda f: packed(f / "x.nrrd"), 0.7), REFUSED),
        Case("NRRD", "the header alone", lambda f: nrrd_file(f / "x.nrrd", b""), REFUSED),
    ]  # fmt: skip


def _nrrd_lies() -> list[Case]:
    return [
        nrrd("values of the type block", type="block"),
        nrrd("no type", type=None),
        nrrd("sizes of two dimensions", sizes="5 6"),
        nrrd("a size of 0", sizes="5 6 0"),
        nrrd("a size of 7.5", sizes="5 6 7.5"),
        nrrd("an infinite size", sizes="5 6 inf"),
        nrrd("one slice more in the header", sizes="5 6 8"),
        nrrd("one slice more in the data", sizes="5 6 6"),
        nrrd("32767 x 32767 x 32767 voxels", sizes="32767 32767 32767"),
        nrrd("an unknown encoding", encoding="rot13"),
        nrrd("a skip of bytes that would count from the end", byte_skip="-1", rivals=False),
        nrrd("no byte order", endian=None),
        nrrd("two vectors for three axes", space_directions="(2,0,0) (0,3,0)"),
        nrrd("a vector of zeros", space_directions="(2,0,0) (0,3,0) (0,0,0)"),
        nrrd("two axes of one direction", space_directions="(2,0,0) (0,3,0) (0,3,0)"),
        nrrd("NaN in a vector", space_directions="(2,0,0) (0,3,0) (0,0,nan)"),
        nrrd("sheared axes", space_directions="(2,0,0) (0,3,0) (0,1,4)", rivals=False),
        nrrd("no voxel size", space_directions=None),
        nrrd("three channels", dimension="4", sizes="3 5 6 7", data=DATA * 3, rivals=False,
             space_directions="none (2,0,0) (0,3,0) (0,0,4)"),
        nrrd("several data files", data_file="a%03d.raw 0 9 1", data=b""),
        nrrd("a header without end", data=b"", sizes="5 " * 70_000),
    ]  # fmt: skip


def _metaimage() -> list[Case]:
    packed = partial(itk_file, compressed=True)
    return [
        mha("plain", "ok", LPS),
        mha("big-endian", "ok", LPS, SWAPPED, BinaryDataByteOrderMSB="True"),
        mha("a fourth dimension of 1", "ok", LPS, **FOUR),
        mha("no orientation", WARNED, TransformMatrix=None),
        mha("no position", WARNED, Offset=None),
        Case("MetaImage", "cut in half", cut(lambda f: mha_file(f / "x.mha"), 0.6), REFUSED),
        Case("MetaImage", "compressed and cut", cut(lambda f: packed(f / "x.mha"), 0.7), REFUSED),
        mha("values of the type MET_FLOAT_ARRAY", ElementType="MET_FLOAT_ARRAY"),
        mha("three channels", ElementNumberOfChannels="3", data=DATA * 3, rivals=False),
        mha("a size of 0", DimSize="5 6 0"),
        mha("one slice more in the header", DimSize="5 6 8"),
        mha("one slice more in the data", DimSize="5 6 6"),
        mha("32767 x 32767 x 32767 voxels", DimSize="32767 32767 32767"),
        mha("a spacing of 0", ElementSpacing="2 3 0"),
        mha("a spacing of NaN", ElementSpacing="2 3 nan"),
        mha("no spacing", ElementSpacing=None),
        mha("two numbers for three spacings", ElementSpacing="2 3"),
        mha("two axes of one direction", TransformMatrix="1 0 0 0 1 0 0 1 0"),
        mha("no direction at all", TransformMatrix="0 0 0 0 0 0 0 0 0"),
        mha("sheared axes", TransformMatrix="1 0 0 0 1 0 0 0.1 1", rivals=False),
        mha("NaN in the position", Offset="1 2 nan"),
        mha("a header of unknown size to skip", HeaderSize="-1", rivals=False),
        mha("text instead of binary data", BinaryData="False"),
        mha("data that are said to be compressed", CompressedData="True"),
        mha("no word of where the data are", ElementDataFile=None),
        mha("a list of data files", ElementDataFile="LIST", data=b"a.raw\nb.raw\n"),
    ]


def _detached(suffix: str) -> list[Case]:
    outside = _put("out.raw")
    return [
        detached(suffix, "data beside the header", "x.raw", "ok", _put("in/x.raw")),
        detached(suffix, "data that are not there", "gone.raw", REFUSED, _put()),
        detached(suffix, "data in the folder above", "../out.raw", REFUSED, outside),
        detached(suffix, "data at an absolute path", "{}/out.raw", REFUSED, outside),
        detached(suffix, "a link out of the folder", "link.raw", REFUSED, _link),
        detached(suffix, "data half as long", "x.raw", REFUSED,
                 lambda folder: (folder / "in/x.raw").write_bytes(DATA[:400])),
    ]  # fmt: skip
