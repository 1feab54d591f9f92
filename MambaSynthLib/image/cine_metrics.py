"""How close synthetic frames are to acquired ones.

| symbol | code                | meaning                                                           |
|--------|---------------------|-------------------------------------------------------------------|
| y, r   | ``frame``, ``reference`` | synthetic and acquired frame (D,H,W)                         |
| MSE    | -                   | mean of (y - r)^2                                                 |
| PSNR   | ``psnr``            | 20 log10(1 / sqrt(MSE)) in dB over the volume; peak 1             |
| NMSE   | ``nmse``            | MSE / mean(r^2); UVI-Net and others print 100 times this          |
| SSIM   | ``ssim``            | Gaussian 11^3, sigma 1.5, population variances, L = 1             |
| Dice   | ``dice``            | 2 |A and B| / (|A| + |B|) of one label                            |

Synthetic frames are clipped to [0,1], the scale that ED and ES set. Whoever scores a cine counts
the frames strictly between the two, and says whether zero padding, which inflates PSNR and SSIM, is
among the voxels. Definitions as in the public evaluation of UVI-Net (Kim et al., CVPR 2024), but
for its scaling of each reference frame by itself; the paper of MSTG states none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.metrics import skimage_metrics

Array = NDArray[np.float64]

SSIM_SIGMA = 1.5  # with scikit-image's truncation at 3.5 sigma this is a window of 11 voxels
SSIM_WINDOW = 11


@dataclass(frozen=True)
class FrameScores:
    """One frame against its reference, over the whole volume."""

    nmse: float
    psnr: float
    ssim: float


def nmse(frame: Array, reference: Array) -> float:
    """Mean squared error over the mean square of the reference. 0 is perfect."""
    return float(np.mean((frame - reference) ** 2) / np.mean(reference**2))


def psnr(frame: Array, reference: Array) -> float:
    """dB for a peak of 1; infinite for equal frames."""
    error = float(np.mean((frame - reference) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(frame: Array, reference: Array) -> float:
    """Wang et al. 2004 in three dimensions; the mean leaves out a rim of half a window.

    Along an axis with fewer than 11 voxels the window cannot be placed, and the slices (D) are
    compared one by one. NaN where they are too small as well.
    """
    if min(frame.shape) < SSIM_WINDOW:
        if frame.ndim == 2:
            return math.nan
        return float(np.mean([ssim(y, r) for y, r in zip(frame, reference, strict=True)]))
    similarity: Any = skimage_metrics().structural_similarity(
        frame,
        reference,
        data_range=1.0,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
    )
    return float(similarity)


def dice(labels: ArrayLike, reference: ArrayLike, label: int) -> float:
    """Overlap of one label, 0..1; NaN where neither image has it."""
    a, b = np.asarray(labels) == label, np.asarray(reference) == label
    total = int(a.sum()) + int(b.sum())
    return 2 * int(np.sum(a & b)) / total if total else math.nan


def frame_scores(frame: ArrayLike, reference: ArrayLike) -> FrameScores:
    """One frame (D,H,W) against the acquired one in the same scale, in which ED and ES span [0,1].

    Raises VolumeError where shapes differ, a value is not finite, or the reference is constant.
    """
    y, r = np.asarray(frame, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if y.shape != r.shape:
        raise VolumeError(f"a frame has {y.shape} voxels but its reference {r.shape}.")
    if not (np.all(np.isfinite(y)) and np.all(np.isfinite(r))):
        raise VolumeError("a frame to be scored holds NaN or infinite values.")
    if not np.ptp(r) > 0:
        raise VolumeError(f"a frame is constant (all voxels {r.flat[0]:g}) and cannot be scored.")
    y = np.clip(y, 0, 1)
    return FrameScores(nmse(y, r), psnr(y, r), ssim(y, r))
