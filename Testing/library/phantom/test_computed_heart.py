"""The heart from formulas beats, keeps its muscle, and is the same for the same seed."""

import numpy as np
import pytest

from MambaSynthLib.cine.phases import found_phases
from MambaSynthLib.errors import VolumeError
from MambaSynthLib.phantom import heart
from MambaSynthLib.phantom.heart import SPACING_MM, computed_heart, contraction


def test_it_is_a_cine_whose_phases_are_found():
    cine = computed_heart(10)
    phases = found_phases(cine)
    assert phases.ed == 0 and phases.es in (3, 4)  # 0.3 and 0.4 of the beat; it is at 0.36
    assert cine.times_ms[1] == pytest.approx(90.0) and cine.frames[0].shape == heart.SHAPE


def test_the_pool_contracts_and_the_muscle_keeps_its_volume():
    """Of the slices in the middle, where no tapering blurs the edges; without noise."""
    volumes = []
    for s in (0.0, 1.0):
        image = heart.anatomy(s)[28:69, 28:69, 5]
        x, y, _ = (c[28:69, 28:69, 5] for c in heart._coordinates())
        middle = np.hypot(x, y) < 38
        pool = (image > 450) & middle & (x > -14)
        volumes.append(pool.sum() * SPACING_MM[0] * SPACING_MM[1])
    assert volumes[1] < 0.6 * volumes[0]
    radii = [heart.POOL_MM * (1 - heart.SHORTENING * s) for s in (0.0, 1.0)]
    wall = [np.sqrt(r**2 + (heart.POOL_MM + heart.WALL_MM) ** 2 - heart.POOL_MM**2) for r in radii]
    areas = [R**2 - r**2 for R, r in zip(wall, radii, strict=True)]
    assert areas[0] == pytest.approx(areas[1])


def test_contraction_is_smooth_and_periodic():
    phases = np.linspace(0, 1, 1001)
    values = np.array([contraction(p) for p in phases])
    assert values[0] == values[-1] == 0 and values.max() == pytest.approx(1)
    assert abs(phases[values.argmax()] - heart.SYSTOLE) < 1e-3
    assert np.abs(np.diff(values)).max() < 0.01


def test_the_same_seed_gives_the_same_heart_and_another_one_does_not():
    one, same, other = (computed_heart(2, seed) for seed in (1, 1, 2))
    assert all(
        np.array_equal(a.array, b.array) for a, b in zip(one.frames, same.frames, strict=True)
    )
    assert not np.array_equal(one.frames[0].array, other.frames[0].array)


def test_one_frame_is_no_beat():
    with pytest.raises(VolumeError, match="two or more"):
        computed_heart(1)
