"""A volume is a real 3-D array on a grid in patient space, or it is refused in one sentence."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.volume import Volume, axis_codes

EYE = np.eye(4)
SMALL = np.arange(24.0).reshape(2, 3, 4)


def rotation(degrees, axis):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    turn = np.eye(3)
    turn[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return turn


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "int64", "uint64", "f2", "f8"]
)
def test_any_real_dtype_becomes_float32(dtype):
    volume = Volume(np.ones((2, 3, 4), dtype), EYE)
    assert volume.array.dtype == np.float32 and np.all(volume.array == 1)


@pytest.mark.parametrize("layout", ["fortran", "strided", "read-only", "big-endian"])
def test_the_memory_layout_of_the_array_does_not_matter(layout):
    array = {
        "fortran": np.asfortranarray(SMALL),
        "strided": np.repeat(SMALL, 2, axis=2)[:, :, ::2],
        "read-only": SMALL.copy(),
        "big-endian": SMALL.astype(">f8"),
    }[layout]
    if layout == "read-only":
        array.flags.writeable = False
    volume = Volume(array, EYE)
    assert np.array_equal(volume.array, SMALL) and volume.array.flags.c_contiguous


def test_a_volume_keeps_a_copy_that_nobody_can_change():
    array, affine = SMALL.astype(np.float32), np.eye(4)
    volume = Volume(array, affine)
    array[:], affine[:] = -1, -1
    assert np.array_equal(volume.array, SMALL) and np.array_equal(volume.affine, EYE)
    for kept in (volume.array, volume.affine):
        with pytest.raises(ValueError, match="read-only"):
            kept[0] = 5


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 3)), r"2 dimensions \(2, 3\)"),
        (np.zeros((2, 3, 4, 5)), "4 dimensions"),
        (np.zeros((2, 3, 4, 1)), "4 dimensions"),
        (np.float32(1), "0 dimensions"),
        (np.zeros((0, 3, 4)), "no voxels"),
        (np.zeros((2, 3, 4), complex), "complex128"),
        (np.zeros((2, 3, 4), object), "object"),
        (np.zeros((2, 3, 4), "datetime64[s]"), "datetime64"),
        (np.full((2, 3, 4), "x"), "<U1"),
        (np.zeros((2, 3, 4), [("r", "u1"), ("g", "u1")]), "real numbers"),
    ],
)
def test_an_array_that_is_no_scalar_image_is_refused_by_name(array, said):
    with pytest.raises(VolumeError, match=f"^sub-1: .*{said}"):
        Volume(array, EYE, "sub-1")


@pytest.mark.parametrize(
    ("affine", "said"),
    [
        (np.eye(3), r"shape \(3, 3\)"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.diag([1, 1, np.inf, 1]), "infinite"),
        (np.diag([1, 1, 1, 2]), "last row"),
        (np.diag([1, 1, 0, 1]), "voxel size"),
        (np.diag([1, 1, 1e12, 1]), "voxel size"),
        (np.diag([1, 1e-12, 1, 1]), "voxel size"),
        (np.diag([1e200, 1e200, 1e200, 1]), "voxel size"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
    ],
)
def test_an_affine_that_maps_no_voxel_to_a_place_is_refused(affine, said):
    with np.errstate(over="ignore"), pytest.raises(VolumeError, match=f"^sub-1: .*{said}"):
        Volume(SMALL, affine, "sub-1")


def test_spacing_is_the_length_of_the_voxel_edges_also_where_the_grid_is_oblique():
    affine = np.eye(4)
    affine[:3, :3] = rotation(13.7, 0) @ rotation(-4, 1) @ np.diag([0.3, 0.7, 9])
    np.testing.assert_allclose(Volume(SMALL, affine).spacing, [0.3, 0.7, 9], rtol=1e-12)


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_axis_codes_agree_with_nibabel_for_all_48_orientations(order):
    for signs in product((1, -1), repeat=3):
        affine = np.eye(4)
        affine[:3, :3] = (rotation(13.7, 0) @ rotation(-9, 2) @ np.diag(signs))[:, order] * 2.5
        assert axis_codes(affine) == "".join(nibabel.aff2axcodes(affine))


@pytest.mark.parametrize("degrees", [45, 44.999999, 45.000001, 54.7356])
def test_each_patient_axis_is_used_once_even_where_two_are_equally_close(degrees):
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees, 0) @ rotation(45, 2)
    codes = axis_codes(affine)
    assert sorted("LPI".find(c) % 3 if c in "LPI" else "RAS".find(c) for c in codes) == [0, 1, 2]


def test_other_intensities_keep_the_grid_and_must_fit_it():
    volume = Volume(SMALL, EYE, "sub-1", ("a note",))
    other = volume.with_array(SMALL * 2, "twice")
    assert (other.name, other.notes) == ("twice", ("a note",))
    assert np.array_equal(other.affine, volume.affine)
    with pytest.raises(VolumeError, match="does not fit"):
        volume.with_array(SMALL[1:])


def test_volumes_can_be_compared_and_kept_in_sets():
    first, second = Volume(SMALL, EYE), Volume(SMALL, EYE)
    assert first == first and first != second and len({first, second}) == 2
