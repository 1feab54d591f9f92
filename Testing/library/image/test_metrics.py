"""Scores are checked against identities, direct library calls and known directions of change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.metrics
from scipy import ndimage
from textured_head import head

from MambaSynthLib.image.metrics import (
    foreground,
    psnr_raw,
    slice_scores,
    volume_scores,
    z_score,
)

RNG = np.random.default_rng(7)


def brain_slice() -> np.ndarray:
    """(192,192) in -1..1, like a T2w slice: dark outside, folded texture, bright ventricles."""
    noise = np.random.default_rng(3).standard_normal((192, 192))
    folds = ndimage.gaussian_filter(noise, 1.6)
    y, x = np.mgrid[-1:1:192j, -1:1:192j]
    brain = (x / 0.7) ** 2 + (y / 0.85) ** 2 < 1
    ventricles = ((abs(x) - 0.12) / 0.08) ** 2 + (y / 0.25) ** 2 < 1
    bright = np.where(ventricles, 0.95, (0.4 + 0.12 * folds / folds.std()).clip(0.05, 1))
    return 2 * ndimage.gaussian_filter(np.where(brain, bright, 0), 0.4) - 1


# --- one slice ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, -1.0])
def test_mse_of_z_scores_is_twice_one_minus_the_correlation(weight):
    a = RNG.standard_normal((50, 60))
    b = weight * a + (1 - abs(weight)) * RNG.standard_normal((50, 60))
    expected = 2 * (1 - np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert slice_scores(a, b).mse == pytest.approx(expected, abs=1e-12)


def test_an_image_equals_itself_perfectly():
    scores = slice_scores(brain_slice(), brain_slice())
    assert scores.ssim == pytest.approx(1)
    assert scores.nmi == pytest.approx(2)
    assert scores.mse == 0
    assert math.isinf(scores.psnr)


def test_nmi_is_the_entropy_ratio_of_a_100_by_100_histogram():
    a, b = brain_slice(), ndimage.gaussian_filter(brain_slice(), 1)
    joint = np.histogram2d(a.ravel(), b.ravel(), bins=100)[0] / a.size

    def entropy(p):
        return -np.sum(p[p > 0] * np.log(p[p > 0]))

    expected = (entropy(joint.sum(0)) + entropy(joint.sum(1))) / entropy(joint)
    assert slice_scores(a, b).nmi == pytest.approx(expected, abs=1e-3)


def test_nmi_of_unrelated_images_approaches_one():
    a, b = RNG.standard_normal((2, 1000, 1000))
    assert slice_scores(a, b).nmi == pytest.approx(1, abs=0.002)


def test_ssim_is_scikit_images_default_on_z_scores_with_the_references_range():
    a, b = brain_slice(), ndimage.shift(brain_slice(), (1, 2), mode="nearest")
    za, zb = (a - np.mean(a)) / np.std(a), (b - np.mean(b)) / np.std(b)
    span = zb.max() - zb.min()
    scores = slice_scores(a, b)
    expected = skimage.metrics.structural_similarity(za, zb, data_range=span)
    assert scores.ssim == pytest.approx(expected, abs=1e-12)
    assert scores.psnr == pytest.approx(10 * np.log10(span**2 / np.mean((za - zb) ** 2)))


def test_a_gain_and_an_offset_change_no_score():
    a, b = brain_slice(), ndimage.gaussian_filter(brain_slice(), 1)
    plain, scaled = slice_scores(b, a), slice_scores(830 * b + 12, 0.2 * a - 5)
    for name in ("ssim", "psnr", "mse"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name), rel=1e-9)
    assert scaled.nmi == pytest.approx(plain.nmi, abs=1e-4)  # a voxel may round to the next bin


def test_perturbations_rank_as_measured_on_real_t2w_slices():
    """Published T2w slices gave SSIM 1, .977, .954, .827 for a gain, a gamma, a blur, a shift."""
    r = brain_slice()
    perturbed = {
        "gain": 0.8 * r,
        "gamma": 2 * ((r + 1) / 2).clip(0) ** 0.8 - 1,
        "blur": ndimage.gaussian_filter(r, 1),
        "shift": np.roll(r, 2, axis=1),
    }
    scores = [slice_scores(y, r) for y in perturbed.values()]
    ssim, nmi, mse = ([getattr(s, name) for s in scores] for name in ("ssim", "nmi", "mse"))
    assert ssim == sorted(ssim, reverse=True)
    assert ssim == pytest.approx([1.0, 0.977, 0.954, 0.827], abs=0.15)
    assert nmi == sorted(nmi, reverse=True)
    assert mse == sorted(mse) and mse[3] > 5 * mse[2]


def test_noise_costs_more_ssim_than_a_blur_although_its_error_is_smaller():
    r = brain_slice()
    noisy = r + np.random.default_rng(0).normal(0, 0.03, r.shape)
    noise, blur = slice_scores(noisy, r), slice_scores(ndimage.gaussian_filter(r, 1), r)
    assert noise.ssim < blur.ssim - 0.03
    assert noise.mse < blur.mse


@pytest.mark.parametrize("level", [0.0, 1e6, -0.1])
def test_a_constant_slice_has_no_score(level):
    flat = np.full((20, 20), level, np.float32)
    assert slice_scores(flat, brain_slice()[:20, :20]) is None
    assert slice_scores(brain_slice()[80:100, 80:100], flat) is None


def test_a_slice_smaller_than_the_window_has_no_ssim_but_other_scores():
    scores = slice_scores(*RNG.standard_normal((2, 6, 40)))
    assert math.isnan(scores.ssim) and math.isfinite(scores.mse)


# --- one volume --------------------------------------------------------------------------------


def test_z_scores_have_mean_zero_and_population_std_one_inside_the_mask():
    array = head()
    inside = z_score(array, array > 0)[array > 0]
    assert (inside.mean(), inside.std()) == pytest.approx((0, 1), abs=1e-9)


def test_masked_psnr_nmi_and_mse_ignore_voxels_outside_the_mask():
    r, mask = head(), head() > 0
    y = r + RNG.standard_normal(r.shape)
    elsewhere = np.where(mask, y, 1e4)
    inside, other = volume_scores(y, r, mask), volume_scores(elsewhere, r, mask)
    assert (inside.psnr, inside.nmi, inside.mse) == (other.psnr, other.nmi, other.mse)
    correlation = np.corrcoef(y[mask], r[mask])[0, 1]
    assert inside.mse == pytest.approx(2 * (1 - correlation))


def test_masked_ssim_averages_the_similarity_map_over_the_mask():
    r, mask = head(), head() > 0
    y = ndimage.gaussian_filter(r, 1)
    zy, zr = ((x - x[mask].mean()) / x[mask].std() for x in (y, r))
    span = np.ptp(zr[mask])
    full = skimage.metrics.structural_similarity(zy, zr, data_range=span, full=True)[1]
    assert volume_scores(y, r, mask).ssim == pytest.approx(full[mask].mean(), abs=1e-12)


def test_raw_psnr_sees_the_gain_that_the_z_scored_one_ignores():
    r, mask = head(), head() > 0
    expected = 20 * np.log10(np.ptp(r[mask]) / np.sqrt(np.mean((0.5 * r[mask]) ** 2)))
    assert psnr_raw(0.5 * r, r, mask) == pytest.approx(expected)
    assert volume_scores(0.5 * r, r, mask).psnr > 200


def test_a_volume_constant_inside_the_mask_has_no_score():
    mask = head() > 0
    assert volume_scores(np.where(mask, 5, 0), head(), mask) is None


def test_the_foreground_is_what_differs_from_the_border():
    array = np.full((9, 9, 9), -3.0)
    array[3:6, 3:6, 3:6] = 7
    array[0, 0, 0] = 1  # a stray border voxel is not the background
    assert foreground(array).sum() == 28 and foreground(array)[4, 4, 4]


def test_the_foreground_of_an_image_with_noisy_air_is_its_largest_bright_piece():
    rng = np.random.default_rng(0)
    array = abs(rng.normal(0, 1, (24, 24, 24)))
    array[4:20, 4:20, 4:20] += 100
    array[10:13, 10:13, 10:13] = 0  # a cavity
    array[22, 22, 22] = 100  # a spot in the air
    mask = foreground(array)
    expected = np.zeros(array.shape, dtype=bool)
    expected[4:20, 4:20, 4:20] = True
    assert np.array_equal(mask, expected)
