"""Where a head ends, and how bright its middle is, whatever surrounds it."""

from __future__ import annotations

import numpy as np
import pytest

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.head import air_around
from MambaSynthLib.image.intensity import connected, connected_by_sweeps, median_scaling
from MambaSynthLib.image.suitability import taken_for
from MambaSynthLib.image.volume import Volume

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
CENTER = np.array([35, 40, 30])


def ellipsoid(radii_mm):
    grid = np.indices((70, 80, 60)).transpose(1, 2, 3, 0)
    return (((grid - CENTER) * 3 / np.array(radii_mm)) ** 2).sum(-1) < 1


def head(noise=0.0, sinus=True, scalp=900.0):
    """Scalp, dark bone, brain with dark ventricles; a sinus of air in the bone."""
    rng = np.random.default_rng(0)
    array = np.where(ellipsoid((84, 102, 84)), scalp, 0.0)
    array[ellipsoid((77, 95, 77))] = 20.0
    array[ellipsoid((70, 86, 70))] = 400.0
    array[ellipsoid((12, 25, 12))] = 60.0
    if sinus:
        array[33:38, 66:71, 20:24] = 0.0
    noisy = np.hypot(array + noise * rng.standard_normal(array.shape),
                     noise * rng.standard_normal(array.shape))  # fmt: skip
    return Volume(noisy.astype(np.float32), AFFINE, "head")


def brain():
    volume = head(sinus=False)
    return volume.with_array(np.where(ellipsoid((70, 86, 70)), volume.array, 0))


@pytest.mark.parametrize("noise", [0.0, 15.0, 40.0])
def test_the_head_is_kept_and_the_noise_around_it_is_air(noise):
    air = air_around(head(noise))
    inside = ellipsoid((80, 98, 80))
    assert not air[inside].any()
    assert air[~ellipsoid((92, 110, 92))].mean() > 0.999


def test_dark_ventricles_and_sinuses_belong_to_the_head():
    air = air_around(head(20.0))
    assert not air[ellipsoid((12, 25, 12))].any()
    assert not air[33:38, 66:71, 20:24].any()


def test_the_exact_background_of_a_stripped_brain_is_taken_at_its_word():
    volume = brain()
    np.testing.assert_array_equal(air_around(volume), volume.array == 0)


def test_a_head_that_the_field_of_view_cuts_is_no_air_at_the_cut():
    volume = head(10.0)
    cut = Volume(np.ascontiguousarray(volume.array[:, :, :34]), AFFINE, "cut")
    assert not air_around(cut)[35, 40, 5:].any()


def test_a_constant_volume_is_refused():
    with pytest.raises(VolumeError, match="constant"):
        air_around(Volume(np.ones((8, 8, 8), np.float32), AFFINE, "x"))


def test_a_bright_scalp_does_not_move_the_scale_of_the_brain():
    scaled = [median_scaling(v).half_width for v in (brain(), head(), head(scalp=3000.0))]
    np.testing.assert_allclose(scaled, scaled[0], rtol=0.02)


def test_the_median_of_the_middle_becomes_minus_one_half():
    volume = brain()
    assert median_scaling(volume).apply(np.float32([[400.0]]))[0, 0] == pytest.approx(-0.5)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(), (0, 2)])
def test_the_scale_does_not_depend_on_how_the_volume_is_stored(axes, flips):
    volume = head(10.0)
    affine = volume.affine.copy()
    array = volume.array
    for axis in flips:
        array = np.flip(array, axis)
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
    turned = affine.copy()
    turned[:3, :3] = affine[:3, list(axes)]
    stored = Volume(np.ascontiguousarray(array.transpose(axes)), turned, "x")
    assert median_scaling(stored).half_width == pytest.approx(
        median_scaling(volume).half_width, rel=0.02
    )


def test_one_pass_finds_what_the_sweeps_find():
    passable = np.random.default_rng(1).random((20, 21, 22)) < 0.6
    seeds = np.zeros_like(passable)
    seeds[0] = True
    np.testing.assert_array_equal(connected(passable, seeds), connected_by_sweeps(passable, seeds))


@pytest.mark.parametrize(
    ("volume", "word"), [(head(), "a whole head"), (brain(), "a brain without")]
)
def test_it_is_said_what_an_input_was_taken_for(volume, word):
    assert taken_for(volume, ~air_around(volume)).startswith(word)
