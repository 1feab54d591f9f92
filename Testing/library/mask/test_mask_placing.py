"""Voxels become cubes of the patient's axes and come back, however the array is turned."""

from itertools import permutations, product

import numpy as np
import pytest

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.mask.placing import MOST, Placing, scaled


def volume(spacing=(2.0, 3.0, 6.0), shape=(13, 10, 7), seed=0):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -20, 5, 11
    return Volume(np.random.default_rng(seed).random(shape), affine, "noise")


def turned(source, order, flips):
    """The same image with its array axes in another order and direction."""
    array, affine = source.array.transpose(order), source.affine.copy()
    affine[:, :3] = affine[:, list(order)]
    for axis, flipped in enumerate(flips):
        if flipped:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    return Volume(array, affine, source.name)


def test_cubes_grow_upwards_forwards_and_to_the_right():
    array = np.zeros((12, 10, 8))
    array[-1, 0, 0] = 1  # of an LAS grid: leftmost, hindmost, lowest
    las = Volume(array, np.diag([-3.0, 3.0, 3.0, 1.0]), "a corner")
    cubes = Placing.of(las, 3.0).apply(las.array)
    assert cubes.shape == (8, 10, 12) and cubes[0, 0, 0] == 1 and cubes.sum() == 1


def test_all_48_axis_orders_give_the_same_cubes():
    source = volume()
    expected = Placing.of(source, 3.0, 8).apply(source.array)
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        other = turned(source, order, flips)
        placing = Placing.of(other, 3.0, 8)
        np.testing.assert_array_equal(placing.apply(other.array), expected)
        assert placing.undo(placing.pad(expected, 0)).shape == other.shape


def test_sizes_are_multiples_and_the_padding_is_outside():
    placing = Placing.of(volume(), 3.0, 8)
    assert placing.padded == (16, 16, 16) and placing.cubes == (14, 10, 9)
    cubes = placing.pad(placing.apply(np.ones((13, 10, 7), np.float32)), -1)
    assert (cubes == -1).sum() == cubes.size - 14 * 10 * 9


def test_equal_edges_are_neither_changed_there_nor_back():
    source = volume((3.0, 3.0, 3.0))
    placing = Placing.of(source, 3.0, 8)
    cubes = placing.pad(placing.apply(source.array), 0)
    np.testing.assert_array_equal(placing.undo(cubes), source.array)


def test_a_slope_survives_coarser_and_finer_slices():
    ramp = np.broadcast_to(np.arange(40.0)[:, None, None], (40, 8, 8))
    source = Volume(ramp, np.diag([1.0, 3.0, 6.0, 1.0]), "ramp")
    placing = Placing.of(source, 3.0)
    back = placing.undo(placing.apply(source.array))
    assert np.abs(back[3:-3] - source.array[3:-3]).max() < 0.2


def test_air_is_nothing_and_the_median_of_the_rest_one():
    cubes = np.zeros((20, 20, 20), np.float32)
    cubes[5:15, 5:15, 5:15] = 200
    cubes[5, 5, 5:15] = 3000
    found = scaled(cubes + 50, "head")
    assert found[0, 0, 0] == 0 and found[9, 9, 9] == 1 and found[5, 5, 9] == MOST


def test_a_constant_image_is_refused():
    with pytest.raises(VolumeError, match="flat: the image is constant"):
        scaled(np.full((8, 8, 8), 7, np.float32), "flat")
