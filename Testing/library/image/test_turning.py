"""An image is turned onto a grid that has its voxels, and onto no other."""

from itertools import permutations, product

import numpy as np
import pytest

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.turning import turned_onto
from MambaSynthLib.image.volume import Volume


def with_other_axes(volume, order, backward):
    """The same image in space with its array axes in another order and direction."""
    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, :3][:, order]
    array = volume.array.transpose(order)
    for axis in np.flatnonzero(backward):
        affine[:3, 3] += (array.shape[axis] - 1) * affine[:3, axis]
        affine[:3, axis] *= -1
        array = np.flip(array, int(axis))
    return Volume(array, affine, "other")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_all_orders_and_directions_of_axes_come_back(head, order):
    for backward in product((False, True), repeat=3):
        other = with_other_axes(head, order, backward)
        found = turned_onto(other, head.affine, head.shape, "grid")
        assert np.array_equal(found.array, head.array)
        assert np.array_equal(found.affine, head.affine)


def moved(volume, **changes):
    affine = volume.affine.copy()
    for place, change in changes.items():
        affine[int(place[1]), int(place[2])] += change
    return Volume(volume.array, affine, "other")


def test_another_grid_is_refused(head):
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    others = (
        moved(head, _03=0.002),
        moved(head, _00=0.001),
        moved(head, _22=3),
        Volume(head.array, turned @ head.affine, "other"),
        Volume(head.array[:-1], head.affine, "other"),
    )
    for other in others:
        with pytest.raises(VolumeError, match="other: does not lie on the grid of scan"):
            turned_onto(other, head.affine, head.shape, "scan")
    close = turned_onto(moved(head, _03=0.0005), head.affine, head.shape, "scan")
    assert np.array_equal(close.affine, head.affine)
