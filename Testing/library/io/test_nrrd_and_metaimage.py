"""NRRD and MetaImage: spaces, units, encodings, detached data, and headers that lie.

Rows A20 to A22 of the table of nasty inputs.
"""

import gzip
import os

import numpy as np
import pytest

from MambaSynthLib.io.files import read_volume
from Testing.library.image_files import (
    DATA,
    NRRD,
    OBLIQUE,
    VALUES,
    itk_affine,
    itk_file,
    mha_file,
    nrrd_file,
    refused,
)

posix = pytest.mark.skipif(os.name == "nt", reason="pipes, links and modes of POSIX")


@pytest.mark.parametrize(
    "space, signs",
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("LAS", (-1, 1, 1)),
    ],
)
def test_each_nrrd_space_becomes_ras(tmp_path, space, signs):
    path = nrrd_file(tmp_path / "x.nrrd", space=space)
    volume = read_volume(path)
    assert np.allclose(volume.affine, np.diag([*signs, 1]) @ [
        [2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])  # fmt: skip
    assert np.allclose(volume.affine, itk_affine(path))
    assert np.array_equal(volume.array, VALUES) and volume.notes == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"space": None},
        {"space": "3D-right-handed"},
        {"space origin": None},
        {"space": None, "space directions": None, "space origin": None, "spacings": "2 3 4"},
    ],
)
def test_nrrd_without_patient_space_is_noted(tmp_path, changes):
    changes = {key.replace(" ", "_"): value for key, value in changes.items()}
    volume = read_volume(nrrd_file(tmp_path / "x.nrrd", **changes))
    assert volume.notes[0].startswith("no patient geometry")
    assert np.allclose(volume.spacing, (2, 3, 4))
    assert np.array_equal(volume.array, VALUES)


def test_big_endian_and_gzip_and_units_of_nrrd(tmp_path):
    path = tmp_path / "x.nrrd"
    swapped = VALUES.astype(">f4").tobytes(order="F")
    assert np.array_equal(read_volume(nrrd_file(path, swapped, endian="big")).array, VALUES)
    nrrd_file(path, gzip.compress(DATA), encoding="gzip")
    assert np.array_equal(read_volume(path).array, VALUES)
    volume = read_volume(nrrd_file(path, space_units='"um" "um" "um"'))
    assert np.allclose(volume.spacing, (2e-3, 3e-3, 4e-3))
    assert volume.notes[0].startswith("unit converted")


def test_axes_of_size_one_beside_the_three_of_space_are_dropped(tmp_path):
    vectors = NRRD["space directions"]
    for sizes, directions in (("1 5 6 7", "none " + vectors), ("5 6 7 1", vectors + " none")):
        path = nrrd_file(
            tmp_path / "x.nrrd", sizes=sizes, dimension="4", space_directions=directions
        )
        assert np.array_equal(read_volume(path).array, VALUES)
    mha_file(
        path.with_suffix(".mha"),
        NDims="4",
        DimSize="5 6 7 1",
        Offset="10 20 30 0",
        ElementSpacing="2 3 4 1",
        TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
    )
    assert np.array_equal(read_volume(path.with_suffix(".mha")).array, VALUES)


def test_compressed_and_big_endian_metaimages(tmp_path):
    path = tmp_path / "x.mha"
    swapped = VALUES.astype(">f4").tobytes(order="F")
    mha_file(path, swapped, BinaryDataByteOrderMSB="True")
    assert np.array_equal(read_volume(path).array, VALUES)
    itk_file(path, compressed=True)
    assert np.array_equal(read_volume(path).array, VALUES)
    assert np.allclose(read_volume(path).affine, OBLIQUE)


def test_a_metaimage_without_position_is_noted(tmp_path):
    for missing in ("TransformMatrix", "Offset"):
        volume = read_volume(mha_file(tmp_path / "x.mha", **{missing: None}))
        assert volume.notes[0].startswith("no patient geometry")
        assert np.allclose(volume.spacing, (2, 3, 4))


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"type": "block"}, "real numbers"),
        ({"type": "complex"}, "real numbers"),
        ({"type": None}, "real numbers"),
        ({"sizes": "5 6"}, "dimensions"),
        ({"sizes": "5 6 0"}, "impossible size"),
        ({"sizes": "5 6 -7"}, "impossible size"),
        ({"sizes": "5 6 7.5"}, "sizes"),
        ({"sizes": "5 6 nan"}, "sizes"),
        ({"sizes": "5 6 inf"}, "sizes"),
        ({"sizes": "five 6 7"}, "no numbers"),
        ({"sizes": None}, "no numbers"),
        ({"sizes": "5 6 8"}, "truncated"),
        ({"sizes": "5 6 6"}, "one slice more"),
        ({"sizes": "32767 32767 32767"}, "more than"),
        ({"encoding": "ascii"}, "encoding"),
        ({"encoding": None}, "encoding"),
        ({"byte_skip": "-1"}, "skips"),
        ({"endian": None}, "byte order"),
        ({"space_directions": "(2,0,0) (0,3,0)"}, "3 vectors"),
        ({"space_directions": "(2,0,0) (0,3,0) (0,0,x)"}, "no numbers"),
        ({"space_directions": "(2,0,0) (0,3,0) (0,0,0)"}, "voxel size"),
        ({"space_directions": "(2,0,0) (0,3,0) (0,3,0)"}, "singular"),
        ({"space_directions": "(2,0,0) (0,3,0) (0,0,nan)"}, "NaN"),
        ({"space_directions": "(2,0,0) (0,3,0) (0,1,4)"}, "sheared"),
        ({"space_directions": None}, "no voxel size"),
        ({"space_directions": None, "spacings": "2 3 0"}, "impossible voxel size"),
        ({"space_directions": None, "spacings": "2 3 nan"}, "impossible voxel size"),
        ({"dimension": "4", "sizes": "5 6 7 2", "space_directions": None,
          "spacings": "1 1 1 1"}, "one 3-D"),
        ({"dimension": "4", "sizes": "3 5 6 7",
          "space_directions": "none (2,0,0) (0,3,0) (0,0,4)"}, "one 3-D"),
        ({"data_file": "a%03d.raw 0 9 1"}, "several data files"),
        ({"data_file": "LIST"}, "several data files"),
    ],
)  # fmt: skip
def test_nrrd_headers_that_lie_are_refused(tmp_path, changes, match):
    refused(nrrd_file(tmp_path / "x.nrrd", **changes), match)


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"ElementType": "MET_FLOAT_ARRAY"}, "real numbers"),
        ({"ElementNumberOfChannels": "3"}, "3 channels"),
        ({"DimSize": "5 6 0"}, "impossible size"),
        ({"DimSize": "5 6 8"}, "truncated"),
        ({"DimSize": "5 6 6"}, "one slice more"),
        ({"DimSize": "5 6"}, "dimensions"),
        ({"NDims": "2", "DimSize": "5 42"}, "one 3-D"),
        ({"DimSize": "32767 32767 32767"}, "more than"),
        ({"DimSize": "1e400 2 2"}, "DimSize"),
        ({"ElementSpacing": "2 3"}, "3 numbers"),
        ({"ElementSpacing": "2 3 0"}, "impossible voxel size"),
        ({"ElementSpacing": "2 3 nan"}, "impossible voxel size"),
        ({"ElementSpacing": None}, "no numbers"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 1 0"}, "singular"),
        ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, "voxel size"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0.1 1"}, "sheared"),
        ({"Offset": "1 2 nan"}, "NaN"),
        ({"HeaderSize": "-1"}, "header to skip"),
        ({"BinaryData": "False"}, "text data"),
        ({"CompressedData": "True"}, "damaged"),
        ({"ElementDataFile": None}, "truncated|header|unreadable"),
        ({"ElementDataFile": "LIST"}, "several data files"),
    ],
)
def test_metaimage_headers_that_lie_are_refused(tmp_path, changes, match):
    refused(mha_file(tmp_path / "x.mha", **changes), match)


DETACHED = {
    ".nhdr": lambda path, name: nrrd_file(path, b"", data_file=name),
    ".mhd": lambda path, name: mha_file(path, b"", ElementDataFile=name),
}


@pytest.mark.parametrize("suffix", DETACHED)
def test_data_beside_a_detached_header_are_read(tmp_path, suffix):
    (tmp_path / "sub").mkdir()
    for name in ("x.raw", "sub/x.raw", "two words.raw"):
        (tmp_path / name).write_bytes(DATA)
        path = DETACHED[suffix](tmp_path / f"x{suffix}", name)
        assert np.array_equal(read_volume(path).array, VALUES)


@posix
@pytest.mark.parametrize("suffix", DETACHED)
def test_data_outside_the_folder_of_a_detached_header_are_refused(tmp_path, suffix):
    folder, elsewhere = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "x.raw").write_bytes(DATA)
    (folder / "inside.raw").write_bytes(DATA)
    (folder / "link.raw").symlink_to(elsewhere / "x.raw")
    (folder / "alias.raw").symlink_to(folder / "inside.raw")
    (folder / "linked").symlink_to(elsewhere)
    for name in (
        str(elsewhere / "x.raw"),
        "../out/x.raw",
        "..\\out\\x.raw",
        "link.raw",
        "alias.raw",
        "linked/x.raw",
        str(folder / "inside.raw"),
    ):
        refused(DETACHED[suffix](folder / f"x{suffix}", name), "outside its folder")
    refused(DETACHED[suffix](folder / f"x{suffix}", "missing.raw"), "missing.raw: does not exist")
