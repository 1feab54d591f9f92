"""Scores of frames against independent formulas and implementations."""

import math
from dataclasses import astuple

import numpy as np
import pytest
import torch
from monai.metrics import SSIMMetric
from scipy.ndimage import gaussian_filter

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.cine_metrics import dice, frame_scores, nmse, psnr, ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(4)
    reference = gaussian_filter(rng.random((16, 24, 20)), 1.5)
    reference = (reference - reference.min()) / np.ptp(reference)
    return np.clip(reference + rng.normal(0, 0.05, reference.shape), 0, 1), reference


def test_psnr_and_nmse_are_the_textbooks(pair):
    y, r = pair
    error = sum((a - b) ** 2 for a, b in zip(y.ravel(), r.ravel(), strict=True)) / y.size
    assert psnr(y, r) == pytest.approx(20 * math.log10(1 / math.sqrt(error)))
    assert nmse(y, r) == pytest.approx(error / np.mean([v * v for v in r.ravel()]))
    assert psnr(r, r) == math.inf and nmse(r, r) == 0
    assert psnr(r + 0.1, r) == pytest.approx(20.0)


def test_ssim_is_that_of_another_library_inside_its_rim(pair):
    y, r = (torch.tensor(part)[None, None] for part in pair)
    theirs = SSIMMetric(3, data_range=1.0, win_size=11, kernel_sigma=1.5)(y, r)
    assert ssim(*pair) == pytest.approx(float(theirs), abs=2e-4)
    assert ssim(pair[1], pair[1]) == pytest.approx(1.0)


def test_thin_stacks_are_compared_slice_by_slice(pair):
    y, r = (part[:4] for part in pair)
    assert ssim(y, r) == pytest.approx(np.mean([ssim(a, b) for a, b in zip(y, r, strict=True)]))


def test_dice_counts_voxels():
    a, b = np.array([1, 1, 2, 0]), np.array([1, 2, 2, 0])
    assert dice(a, b, 1) == pytest.approx(2 / 3) and dice(a, b, 2) == pytest.approx(2 / 3)
    assert math.isnan(dice(a, b, 3)) and dice(a, a, 1) == 1


def test_frames_are_clipped_and_references_are_not_rescaled(pair):
    y, r = pair
    assert frame_scores(r / 2, r / 2).nmse == 0 and frame_scores(r, r / 2).nmse > 0
    beyond = y.copy()
    beyond[0, 0, 0] = 9
    y[0, 0, 0] = 1
    assert frame_scores(beyond, r) == frame_scores(y, r)
    assert astuple(frame_scores(y, r)) == (nmse(y, r), psnr(y, r), ssim(y, r))


@pytest.mark.parametrize(
    ("frame", "reference", "said"),
    [(np.zeros((3, 3, 3)), np.zeros((3, 3, 4)), "voxels but"),
     (np.full((3, 3, 3), np.nan), np.eye(3)[None].repeat(3, 0), "NaN"),
     (np.zeros((3, 3, 3)), np.ones((3, 3, 3)), "constant")],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused(frame, reference, said):
    with pytest.raises(VolumeError, match=said):
        frame_scores(frame, reference)
