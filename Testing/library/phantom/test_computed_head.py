"""The computed head: its tissues fill every voxel, and its images are what the equations say."""

from __future__ import annotations

import numpy as np
import pytest

from MambaSynthLib.phantom.anatomy import Ellipsoid, Painting, distance_beyond, head_around
from MambaSynthLib.phantom.head import PROTOCOLS, computed_head
from MambaSynthLib.phantom.tissues import INDEX, mean_properties
from Testing.analytic_heads import analytic_head, brain

SPACING = (3.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def maps():
    return brain(SPACING)


@pytest.fixture(scope="module")
def fractions(maps):
    anatomy, *_ = np.random.default_rng(0).spawn(3)  # as computed_head does
    return head_around(*maps, anatomy)


@pytest.fixture(scope="module")
def head(maps):
    return computed_head(*maps, seed=0)


def test_the_tissues_are_known_and_fill_every_voxel_once(fractions):
    assert set(fractions) <= set(INDEX)
    total = sum(fractions.values())
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert all(share.min() >= -1e-6 and share.max() > 0.2 for share in fractions.values())


def test_the_brain_is_the_one_that_was_given(fractions, maps):
    gray, white, _ = maps
    np.testing.assert_allclose(fractions["cortex"], gray, atol=1e-6)
    np.testing.assert_allclose(fractions["white matter"], white, atol=1e-6)


def test_from_the_brain_outwards_lie_fluid_bone_marrow_bone_fat_and_air(fractions):
    """Along a ray from the middle of the brain to the top of the head."""
    i, j, above = 88 // 3, 108 // 3, 130 // 3
    ray = {name: share[i, j, above:] for name, share in fractions.items()}
    outwards = ("cerebrospinal fluid", "compact bone", "marrow", "fat", "air")
    begins = [int(np.argmax(ray[name] > 0.1)) for name in outwards]
    assert begins == sorted(begins) and begins[-1] > begins[0]
    bone, marrow = np.flatnonzero(ray["compact bone"] > 0.1), np.argmax(ray["marrow"])
    assert bone[0] <= marrow <= bone[-1] and ray["air"][-1] == 1


def test_without_noise_a_pure_voxel_has_the_signal_of_its_tissue(maps, fractions, monkeypatch):
    """T2w is free of noise and bias: two tissues differ by what the spin echo says, exactly."""
    monkeypatch.setattr("MambaSynthLib.phantom.head.WATER", 0)
    image = computed_head(*maps, seed=0)["T2w"].array
    table = mean_properties(3.0)

    def expected(tissue):
        t1, t2, density = (float(value) for value in table[INDEX[tissue]])
        parameters = PROTOCOLS["T2w"].parameters
        recovery = 1 - np.exp(-parameters["tr"] / t1)
        return density * recovery * np.exp(-parameters["te"] / t2)

    def found(tissue):
        pure = fractions[tissue] > 0.9999
        assert pure.any()
        assert image[pure].std() < 1e-3 * image[pure].mean()
        return image[pure].mean()

    for tissue in ("cerebrospinal fluid", "fat", "muscle"):
        ratio = found(tissue) / found("white matter")
        assert ratio == pytest.approx(expected(tissue) / expected("white matter"), rel=1e-4)


def test_t1w_and_t2w_show_what_radiologists_expect(head, fractions):
    def order(contrast):
        image = head[contrast].array
        tissues = ("fat", "white matter", "cortex", "cerebrospinal fluid", "air")
        means = {name: image[fractions[name] > 0.95].mean() for name in tissues}
        return sorted(means, key=means.get, reverse=True)

    assert order("T1w") == ["fat", "white matter", "cortex", "cerebrospinal fluid", "air"]
    assert order("T2w") == ["cerebrospinal fluid", "fat", "cortex", "white matter", "air"]


def test_air_is_exactly_zero_in_the_reference_and_noise_in_the_source(head, fractions):
    air = fractions["air"] == 1
    assert (head["T2w"].array[air] == 0).all()
    assert 0 < head["T1w"].array[air].mean() < 50


def test_the_same_seed_gives_the_same_head_and_another_another(maps, head):
    again, other = computed_head(*maps, seed=0), computed_head(*maps, seed=1)
    for contrast, volume in head.items():
        assert np.array_equal(volume.array, again[contrast].array)
        assert not np.array_equal(volume.array, other[contrast].array)
        assert volume.array.dtype == np.float32


def test_a_stripped_head_is_zero_outside_and_keeps_its_ventricles():
    whole, stripped = (analytic_head(SPACING, skull)["T2w"].array for skull in (True, False))
    outside = stripped == 0
    assert 0.5 < outside.mean() < 0.95
    assert np.array_equal(stripped[~outside], whole[~outside])
    ventricle = tuple(int(n / 3) for n in (88 - 10, 126 - 12, 76 + 20))
    assert stripped[ventricle] > 1.5 * np.median(stripped[~outside])


def test_a_fissure_is_closed_and_the_distance_is_in_mm_on_any_grid():
    x, y, z = np.ogrid[-60:60, -30:30, -20:20]
    ball = x**2 + (2 * y) ** 2 + (3 * z) ** 2 < 35**2
    ball[:, 28:32] = False  # a fissure through the whole, 8 mm wide
    beyond = distance_beyond(ball, np.array([1.0, 2.0, 3.0]))
    assert beyond[60, 30, 20] < -10
    exact = np.sqrt(x**2 + (2 * y) ** 2 + (3 * z) ** 2) - 35
    near = np.abs(exact) < 12
    assert np.abs(beyond - exact)[near].mean() < 2


def test_a_sphere_is_measured_exactly_and_painted_over_one_voxel():
    places = np.meshgrid(*[np.arange(-8.0, 9)] * 3, indexing="ij")
    sphere = Ellipsoid((1, 0, 0), (5, 5, 5)).distance(tuple(places))
    exact = np.sqrt((places[0] - 1) ** 2 + places[1] ** 2 + places[2] ** 2)
    np.testing.assert_allclose(sphere, exact - 5, atol=1e-6)
    painting = Painting(sphere.shape, 1.0)
    painting.fill("muscle", sphere)
    share = painting.fractions["muscle"]
    assert share[sphere < -0.5].min() == 1 and share[sphere > 0.5].max() == 0
    assert share[sphere == 0] == pytest.approx(0.5)
