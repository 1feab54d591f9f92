"""One linear map per volume: undone exactly, moved by neither air, hot voxels nor offsets."""

import numpy as np
import pytest

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.intensity import Scaling, background, percentile_scaling, zscore_scaling

RULES = {"percentile": lambda a, n="x": percentile_scaling(a, 99.5, n), "zscore": zscore_scaling}


@pytest.fixture
def anatomy(head):
    return np.array(head.array)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("offset", [0, -700, 1e6])
def test_undo_gives_the_intensities_back(rule, offset, anatomy):
    shifted = (anatomy + offset).astype(np.float32)
    scaling = RULES[rule](shifted)
    back = scaling.undo(scaling.apply(shifted))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, shifted, atol=520 * 2e-7 + abs(offset) * 1.2e-7)


def test_background_becomes_minus_one_and_the_brightest_tissue_plus_one(anatomy):
    scaled = percentile_scaling(anatomy, 99.5).apply(anatomy)
    assert scaled[0, 0, 0] == -1
    tissue = anatomy[anatomy > 0]
    assert np.mean(scaled[anatomy > 0] <= 1) == pytest.approx(np.mean(tissue <= 520), abs=0.006)
    assert percentile_scaling(anatomy, 100).apply(anatomy).max() == pytest.approx(1)


def test_zscores_of_the_tissue_have_mean_zero_and_deviation_one(anatomy):
    tissue = zscore_scaling(anatomy).apply(anatomy)[anatomy > 60]
    assert tissue.mean() == pytest.approx(0, abs=1e-5) and tissue.std() == pytest.approx(
        1, abs=1e-5
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("hot", [1e9, -1e9, 3e38])
def test_one_hot_voxel_hardly_moves_the_scale(rule, hot, anatomy):
    before = RULES[rule](anatomy)
    spoiled = anatomy.copy()
    spoiled[6, 6, 2] = hot
    if rule == "zscore":  # a mean has no defence; what counts is that the percentiles hold
        spoiled = np.minimum(spoiled, 520)
    after = RULES[rule](spoiled)
    assert after.center == pytest.approx(before.center, rel=0.02)
    assert after.half_width == pytest.approx(before.half_width, rel=0.02)


def test_more_air_does_not_move_the_scale(anatomy):
    wide = np.pad(anatomy, 20)
    assert percentile_scaling(wide, 99.5).half_width == pytest.approx(
        percentile_scaling(anatomy, 99.5).half_width, rel=0.01
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("change", [lambda a: a - 700, lambda a: -a, lambda a: a / 1e30])
def test_negative_and_minute_intensities_are_intensities(rule, change, anatomy):
    changed = change(anatomy).astype(np.float32)
    scaled = RULES[rule](changed).apply(changed)
    assert np.isfinite(scaled).all() and np.ptp(np.clip(scaled, -1, 1)) > 1


def test_the_full_range_of_float32_does_not_overflow():
    values = np.linspace(-3.4e38, 3.4e38, 1000, dtype=np.float32).reshape(10, 10, 10)
    scaled = percentile_scaling(values, 99.5).apply(values)
    assert np.isfinite(scaled).all() and scaled.min() < -0.99


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [0, 7, -3, 1e6, 1e38])
@pytest.mark.parametrize("noise", [0, 1e-8])
def test_a_constant_image_is_refused_by_its_name(rule, value, noise):
    flat = np.full((5, 6, 7), value, np.float32)
    flat[2] += np.float32(value * noise)
    with pytest.raises(VolumeError, match=r"^sub-1\.nii: the image is constant \(all voxels near"):
        RULES[rule](flat, "sub-1.nii")


@pytest.mark.parametrize("rule", RULES)
def test_one_bright_voxel_in_an_empty_image_is_no_constant_image(rule):
    array = np.zeros((20, 20, 20), np.float32)
    array[3, 4, 5] = 9
    assert np.isfinite(RULES[rule](array).apply(array)).all()


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_the_voxels_does_not_change_a_bit(rule, anatomy):
    noisy = anatomy + np.random.default_rng(0).normal(0, 1, anatomy.shape).astype(np.float32)
    turned = np.ascontiguousarray(noisy.transpose(2, 0, 1)[::-1, :, ::-1])
    assert RULES[rule](noisy) == RULES[rule](turned)


def test_scaling_of_a_range_maps_its_ends():
    scaling = Scaling.of_range(100, 300)
    ends = np.float32([100, 300])
    assert scaling.apply(ends).tolist() == [-1, 1]
    assert scaling.undo(np.float32([-1, 1])).tolist() == [100, 300]


def test_background_is_the_exact_border_value_that_reaches_the_border(anatomy):
    anatomy[5, 6, 5] = 0  # a hole in the middle of the brain
    empty = background(anatomy)
    assert not empty[5, 6, 5], "an interior hole is tissue"
    expected = anatomy == 0
    expected[5, 6, 5] = False
    assert np.array_equal(empty, expected)


@pytest.mark.parametrize("value", [-1024, 3.5, 1e6])
def test_the_value_of_the_background_does_not_matter(value, anatomy):
    shifted = (anatomy + value).astype(np.float32)
    assert np.array_equal(background(shifted), background(anatomy))


@pytest.mark.parametrize("integers", [True, False])
def test_noisy_air_is_not_marked(integers, anatomy):
    air = np.abs(np.random.default_rng(1).normal(0, 6, anatomy.shape))
    noisy = anatomy + (np.rint(air) if integers else air)
    assert not background(noisy.astype(np.float32)).any()


def test_tissue_up_to_the_border_is_not_marked():
    tissue = np.random.default_rng(2).integers(200, 220, (9, 9, 9)).astype(np.float32)
    assert not background(tissue).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_hole_in_a_single_slice_is_tissue_too(axis, anatomy):
    single = anatomy.take([5], axis)
    hole = [6, 7, 5]
    hole[axis] = 0
    single[tuple(hole)] = 0
    empty = background(single)
    assert empty.shape == single.shape and not empty[tuple(hole)]
    assert empty.sum() == (single == 0).sum() - 1


@pytest.mark.parametrize("shape", [(1, 1, 9), (1, 1, 1), (2, 2, 2)])
def test_images_that_are_all_border_do_not_fail(shape):
    assert background(np.zeros(shape, np.float32)).all()
