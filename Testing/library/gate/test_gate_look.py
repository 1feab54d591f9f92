"""The picture that the gate sees depends on patient space alone, not on how voxels are stored."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.gate.look import EDGE_MM, SHAPE, coarsened, look_at
from MambaSynthLib.image.volume import Volume

BALL_MM = 70.0


def ball(spacing=(2.0, 2.5, 3.0), middle=(0.0, 0.0, 0.0), air=0.0):
    """A ball of 1000 with a bright pole on its right, in air."""
    shape = [int(200 / edge) for edge in spacing]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -100
    x, y, z = (np.arange(n) * s - 100 - m for n, s, m in zip(shape, spacing, middle, strict=True))
    x, y, z = x[:, None, None], y[:, None], z
    array = np.where(x**2 + y**2 + z**2 < BALL_MM**2, 1000.0 + 400 * (x > 30), air)
    return Volume(array, affine, "ball")


def looked(volume):
    return look_at(coarsened(volume), volume.name)


def stored_otherwise(volume, order, flips):
    """The same image with its array axes in another order and direction."""
    array, affine = volume.array.transpose(order), volume.affine[:, [*order, 3]].copy()
    for axis in np.flatnonzero(flips):
        array = np.flip(array, axis)
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
    return Volume(array, affine, volume.name)


def test_all_axis_orders_of_a_volume_look_the_same():
    volume = ball()
    expected = looked(volume)
    for order, flips in product(permutations(range(3)), product([False, True], repeat=3)):
        found = looked(stored_otherwise(volume, order, flips))
        np.testing.assert_allclose(found.image, expected.image, atol=1e-3)
        assert sorted(found.extent_mm) == sorted(expected.extent_mm)


def test_right_is_at_the_end_of_the_first_axis_and_the_middle_in_the_middle():
    image = looked(ball()).image
    assert image.shape == SHAPE
    _, y, z = (n // 2 for n in SHAPE)
    reach = int(60 / EDGE_MM)
    assert image[20 + reach, y, z] > 1.2 and image[19 - reach, y, z] == pytest.approx(1, abs=0.05)
    assert image[0, 0, 0] == 0


def test_where_the_content_lies_does_not_matter_but_how_large_it_is():
    here, there = looked(ball()), looked(ball(middle=(10.0, -12.5, 9.0)))
    np.testing.assert_allclose(here.extent_mm, 2 * BALL_MM - 8, atol=3)
    np.testing.assert_allclose(there.extent_mm, here.extent_mm, atol=3.1)
    assert np.abs(here.image - there.image).mean() < 0.03


def test_a_gain_and_an_offset_change_nothing():
    volume = ball(air=20.0)
    np.testing.assert_allclose(
        looked(volume.with_array(volume.array * 3 - 500)).image, looked(volume).image, atol=1e-3
    )


def test_the_interpolation_is_that_of_scipy():
    volume = Volume(np.random.default_rng(0).random((20, 24, 18)), np.diag([9.0, 8, 10, 1]))
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    coarse = coarsened(Volume(volume.array, turn @ volume.affine))
    image = look_at(coarse).image
    low = np.percentile(volume.array, 1)
    middle = coarse.affine[:3, :3] @ ((np.array(volume.shape) - 1) / 2) + coarse.affine[:3, 3]
    grid = [(np.arange(n) - (n - 1) / 2) * EDGE_MM for n in SHAPE]
    points = np.stack(np.meshgrid(*grid, indexing="ij"), -1) + middle
    inverse = np.linalg.inv(coarse.affine)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    expected = ndimage.map_coordinates(coarse.array - low, np.moveaxis(index, -1, 0), order=1)
    inside = image[12:-12, 12:-12, 12:-12] > 0
    ratio = expected[12:-12, 12:-12, 12:-12][inside] / image[12:-12, 12:-12, 12:-12][inside]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)


def test_a_single_slice_and_a_volume_of_few_voxels_have_a_look():
    for shape in ((40, 50, 1), (3, 3, 3)):
        array = np.arange(np.prod(shape), dtype=float).reshape(shape)
        assert np.isfinite(looked(Volume(array, np.eye(4))).image).all()


def test_a_constant_volume_has_none():
    with pytest.raises(VolumeError, match="flat: the image is constant .*near 7.; choose"):
        looked(Volume(np.full((9, 9, 9), 7.0), np.eye(4), "flat"))
