"""FreeSurfer's .mgz and .mgh: read exactly, or refused, and told by their sidecars."""

import gzip
import struct

import numpy as np
import pytest

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.files import read_marks, read_volume, sha256_of, write_volume
from MambaSynthLib.io.formats import WRITABLE
from MambaSynthLib.io.marking import mark_file
from MambaSynthLib.io.marks import sidecar_of
from Testing.provenance_records import RECORD

nibabel = pytest.importorskip("nibabel")

CODES = {"u1": 0, "i4": 1, "f4": 3, "i2": 4, "u2": 10}
SIZE = (5, 4, 3)
MDC = np.array([[-0.96, 0, 0.28], [0, -1, 0], [0.28, 0, 0.96]])  # columns: axes of the array in RAS
SPACING, CENTER = np.array([1.5, 2.0, 3.0]), np.array([4.0, -5.0, 6.0])
FOOTER = struct.pack(">5f", 2300, 0.15, 2.9, 900, 0) + b"mri_convert in.nii out.mgz" * 40


def image_bytes(kind="i2", oriented=1, frames=1, code=None, footer=FOOTER, size=SIZE, version=1):
    """A file as the wiki describes it, and its voxels, written here byte by byte."""
    values = np.arange(np.prod(SIZE) * frames).reshape(*SIZE, frames, order="F")
    header = struct.pack(">7i", version, *size, frames, CODES[kind] if code is None else code, 0)
    header += struct.pack(">h15f", oriented, *SPACING, *MDC.ravel(order="F"), *CENTER)
    data = values.astype(f">{kind}").tobytes(order="F")
    return header.ljust(284, b"\0") + data + footer, values[..., 0]


def stored(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".mgz" else content)
    return path


@pytest.mark.parametrize("name", ["x.mgz", "x.mgh", "X.MGZ"])
@pytest.mark.parametrize("kind", CODES)
def test_every_type_is_read_at_its_place(name, kind, tmp_path):
    content, values = image_bytes(kind)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.lower().endswith("z") else content)
    volume = read_volume(path)
    assert np.array_equal(volume.array, values) and volume.notes == ()
    for index in ((0, 0, 0), (4, 1, 2)):
        expected = MDC @ (SPACING * (np.array(index) - np.array(SIZE) / 2)) + CENTER
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], expected, atol=1e-5)


def test_what_nibabel_writes_is_read_as_it_reads_it(tmp_path):
    values = np.random.default_rng(1).random((6, 7, 8), np.float32)
    affine = np.array([[-1.0, 0, 0, 3], [0, 0, 1.2, -4], [0, -0.9, 0, 5], [0, 0, 0, 1]])
    nibabel.save(nibabel.MGHImage(values, affine), tmp_path / "x.mgz")
    volume = read_volume(tmp_path / "x.mgz")
    assert np.array_equal(volume.array, values)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)


def test_a_file_without_footer_is_read(tmp_path):
    content, values = image_bytes(footer=b"")
    assert np.array_equal(read_volume(stored(tmp_path / "x.mgz", content)).array, values)


def test_without_directions_left_and_right_are_unknown(tmp_path):
    volume = read_volume(stored(tmp_path / "x.mgz", image_bytes(oriented=0)[0]))
    assert volume.notes[0].startswith("no patient geometry")
    assert volume.axis_codes == "LIA"  # coronal, as FreeSurfer has it


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frames": 3}, "holds 3 frames, but one 3-D volume is needed"),
        ({"code": 2}, "values of the unknown type 2; convert it with FreeSurfer's mri_convert"),
        ({"size": (5, 0, 3)}, "impossible size"),
        ({"size": (50000, 50000, 3)}, "more than the"),
        ({"size": (500, 500, 500)}, "the header promises"),
        ({"size": (5, 4, 30), "footer": b""}, "it is truncated"),
        ({"version": 2}, "is not a FreeSurfer image"),
    ],
)
def test_what_cannot_be_read_is_refused(changes, said, tmp_path):
    for name in ("x.mgz", "x.mgh"):
        with pytest.raises(FileError, match=said if name == "x.mgh" else "x.mgz: "):
            read_volume(stored(tmp_path / name, image_bytes(**changes)[0]))


def test_a_footer_without_end_is_another_image_and_not_read_to_its_end(tmp_path):
    path = stored(tmp_path / "x.mgz", image_bytes(footer=bytes(2**24 + 1))[0])
    with pytest.raises(FileError, match="x.mgz: holds at least one slice more"):
        read_volume(path)


def test_damage_behind_the_image_is_found(tmp_path):
    path = stored(tmp_path / "x.mgz", image_bytes()[0])
    path.write_bytes(path.read_bytes()[:-6] + b"abcdef")
    with pytest.raises(FileError, match="x.mgz: the compressed data are damaged"):
        read_volume(path)


def test_another_image_under_this_name_is_refused_and_its_mark_is_found(tmp_path, head):
    write_volume(head, tmp_path / "x.nii.gz", provenance=RECORD)
    (tmp_path / "x.nii.gz").rename(tmp_path / "y.mgz")
    with pytest.raises(FileError, match="y.mgz: is not a FreeSurfer image"):
        read_volume(tmp_path / "y.mgz")
    assert read_marks(tmp_path / "y.mgz").provenance == RECORD


def test_none_is_written_as_it_could_not_carry_a_mark(tmp_path, head):
    assert not {".mgz", ".mgh"} & set(WRITABLE)
    with pytest.raises(FileError, match="x.mgz: cannot be written in this format"):
        write_volume(head, tmp_path / "x.mgz")


def test_a_saved_synthetic_one_is_told_by_its_sidecar(tmp_path):
    path = stored(tmp_path / "x.mgz", image_bytes()[0])
    before = sha256_of(path)
    assert read_marks(path) is None
    mark_file(path, RECORD)
    assert sha256_of(path) == before and sidecar_of(path).name == "x.json"
    assert read_marks(path).provenance == RECORD
