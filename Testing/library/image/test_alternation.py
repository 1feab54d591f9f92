"""Every other slice goes to the network as its mirror image, a pixel further, and comes back."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

from MambaSynthLib.engine import Engine
from MambaSynthLib.image.alternation import Alternation
from MambaSynthLib.image.neighbors import offsets, own_and_neighbors
from MambaSynthLib.image.volume import Volume
from Testing.library.image.test_overlap import SIZES, untrained
from Testing.library.image.test_planes import ALL, cut_in, ellipsoid


@pytest.fixture(scope="module")
def engine(make_package, tmp_path_factory):
    """Of an untrained network that has learned all planes."""
    folder = tmp_path_factory.mktemp("models") / "turning"
    return Engine(untrained(make_package, folder, SIZES, grid={"planes": "all"}), "cpu", "torch")


@pytest.fixture(scope="module")
def thin():
    return ellipsoid()


def answering(engine, answer):
    """The engine, with ``answer`` for its network: of slices (n,5,H,W), its own and the two on
    either side, to estimates (n,3,H,W) of its own and of the one on either side.
    """

    class Network:
        places = engine._network.places

        def __call__(self, images):
            return answer(images)[:, None].astype(np.float32)

    other = copy.copy(engine)
    other._network = Network()
    return other


def image_of(engine, plane, source):
    """(I,J,K): what the slices of one plane become."""
    return cut_in(engine, plane, source).volumes["T2w"].array


def as_it_lies(engine):
    """The engine without any of this."""
    other = copy.copy(engine)
    other.card = replace(other.card, grid=replace(other.card.grid, planes="one"))
    return other


OWN_AND_NEIGHBORS = own_and_neighbors(2, 1)


def copied(images):
    """What a network says that takes its slices for the result."""
    return images[:, OWN_AND_NEIGHBORS]


@pytest.mark.parametrize("plane", ALL)
def test_every_slice_comes_back_to_its_place(plane, engine, thin):
    copying = answering(engine, copied)
    made = image_of(copying, plane, thin)
    assert np.ptp(made) > 100
    expected = image_of(as_it_lies(copying), plane, thin)
    inner = tuple(slice(8, -8) for _ in range(3))  # at the ends the weights are others
    np.testing.assert_allclose(made[inner], expected[inner], atol=0.5)


def test_odd_slices_are_mirrored_and_a_row_down(thin):
    images = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 1, 3, 4)
    found = Alternation(True).to_network(images, np.array([6, 7]))
    assert np.array_equal(found[0], images[0])
    assert np.array_equal(found[1, 0, 1:], images[1, 0, :-1, ::-1])


def test_a_sagittal_head_is_mirrored_by_the_order_of_its_slices():
    n, r = np.array([6, 7]), 2
    around = (n[:, None] + offsets(r)[1:]).astype(np.float32)[:, :, None, None]  # their numbers
    two = np.concatenate([around, around + 100], axis=1)  # of two source volumes
    found = Alternation(True, across=True).to_network(two, n, r)[..., 0, 0]
    assert found[0].tolist() == [4, 5, 7, 8, 104, 105, 107, 108]
    assert found[1].tolist() == [9, 8, 6, 5, 109, 108, 106, 105]


def test_nothing_moves_for_a_network_of_one_plane():
    images = np.random.default_rng(3).random((4, 3, 6, 6), np.float32)
    turns, n = Alternation(False), np.arange(4)
    assert turns.to_network(images, n) is images and turns.back(images, n) is images


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_what_a_network_adds_to_one_side_is_shared_by_both(plane, engine, thin):
    """It lights its canvas more and more from column to column."""

    def one_sided(images):
        columns = np.linspace(0, 0.4, images.shape[-1], dtype=np.float32)
        return 0 * copied(images) + columns

    lit = answering(engine, one_sided)
    made, plain = (image_of(each, plane, thin) for each in (lit, as_it_lies(lit)))
    assert np.ptp(plain[14:28, 22, 20]) > 50
    assert np.ptp(made[14:28, 22, 20]) < 1


def test_what_a_network_adds_to_the_next_slice_is_shared_by_both_sides_of_a_sagittal_one(engine):
    """It says of each slice what it sees in the next, so that the head moves to one side."""
    array = np.zeros((40, 40, 40))
    array[6:34, 6:34, 6:34] = (300 + 20 * np.arange(28))[:, None, None]
    ramp = Volume(array, np.diag([2.0, 2, 2, 1]), "ramp.nii.gz")
    moving = answering(engine, lambda images: images[:, [3, 0, 4]])
    at_rest = image_of(answering(engine, copied), "sagittal", ramp)[14:26, 20, 20]
    moved = [
        image_of(each, "sagittal", ramp)[14:26, 20, 20] for each in (moving, as_it_lies(moving))
    ]
    assert np.abs(moved[1] - at_rest).min() > 10
    assert np.abs(moved[0] - at_rest).max() < 1


def test_what_a_network_adds_to_even_rows_is_no_band_in_the_other_planes(engine, thin):
    """Every other row of its grid is lit; row by row the mean over all coronal slices is not."""

    def striped(images):
        found = 0 * copied(images)
        found[..., ::2, :] = 0.2
        return found

    lit = answering(engine, striped)
    image, plain = image_of(lit, "coronal", thin), image_of(as_it_lies(lit), "coronal", thin)
    assert np.ptp(plain[plain > 0]) > 20
    inner = [image[:, n] for n in np.flatnonzero((image > 0).any(axis=(0, 2)))[1:-1]]
    assert max(np.ptp(slice_[slice_ > 0]) for slice_ in inner) < 1


@pytest.mark.parametrize("plane", ALL)
def test_a_head_as_wide_as_the_canvas_keeps_its_last_row(plane, engine):
    array = np.zeros((48, 48, 48))
    array[4:44, 4:44, 4:44] = 500 + np.arange(40)[:, None, None]
    full = Volume(array, np.diag([2.0, 2, 2, 1]), "full.nii.gz")
    assert np.array_equal(image_of(engine, plane, full) > 0, array > 0)


def test_thick_slices_weigh_all_calls_alike(engine, thin):
    """Of thin ones a checkerboard would be seen in the other planes, of these slice by slice."""
    by_call = answering(
        engine, lambda images: copied(images) * 0 + np.float32([0, 0.3, 0.6])[:, None, None]
    )
    thick = Volume(thin.array[:, :, ::2], thin.affine @ np.diag([1.0, 1, 2, 1]), "thick.nii.gz")
    # own 0, of the slice before .3, of the one after .6: means .3 where alike, .225 by 1 2 1
    values = [
        image_of(by_call, "axial", source)[20, 22, n] for source, n in ((thick, 10), (thin, 20))
    ]
    low, high = (1000 * (1 + value) / 2 for value in (0.225, 0.3))
    assert values == pytest.approx([high, low], abs=0.5)
