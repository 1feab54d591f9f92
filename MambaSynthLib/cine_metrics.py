"""How close synthetic frames are to acquired ones: the uvi-protocol, written down.

| symbol | code                | meaning                                                           |
|--------|---------------------|-------------------------------------------------------------------|
| y, r   | ``frame``, ``reference`` | synthetic and acquired frame (D,H,W)                         |
| MSE    | -                   | mean of (y - r)^2                                                 |
| PSNR   | ``psnr``            | 20 log10(1 / sqrt(MSE)) in dB over the volume; peak 1             |
| NMSE   | ``nmse``            | MSE / mean(r^2); UVI-Net and others print 100 times this          |
| SSIM   | ``ssim``            | Gaussian 11^3, sigma 1.5, population variances, L = 1             |
| Dice   | ``dice``            | 2 |A and B| / (|A| + |B|) of one label                            |

Reference frames are scaled to [0,1] by their own minimum and maximum, synthetic ones are clipped
to [0,1]. Only frames strictly between ED and ES count. Zero padding along the slice axis inflates
PSNR and SSIM, so each score is given with and without it. Definitions as in the public evaluation
of UVI-Net (Kim et al., CVPR 2024); the paper of MSTG states none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.metrics import skimage_metrics

Array = NDArray[np.float64]

SSIM_SIGMA = 1.5  # with scikit-image's truncation at 3.5 sigma this is a window of 11 voxels
SSIM_WINDOW = 11


@dataclass(frozen=True)
class FrameScores:
    """One frame against its reference, over the whole volume."""

    nmse: float
    psnr: float
    ssim: float


@dataclass(frozen=True)
class CineScores:
    """All frames strictly between ED and ES, as handed in and without zero padding."""

    frames: tuple[FrameScores, ...]
    unpadded: tuple[FrameScores, ...]

    @property
    def mean(self) -> FrameScores:
        return _mean(self.frames)

    @property
    def mean_unpadded(self) -> FrameScores:
        return _mean(self.unpadded)


def scaled(frame: ArrayLike) -> Array:
    """Min-max to [0,1]. Raises VolumeError for a constant frame."""
    array = np.asarray(frame, dtype=np.float64)
    low, high = float(array.min()), float(array.max())
    if not high > low:
        raise VolumeError(f"a frame is constant (all voxels {low:g}) and cannot be scored.")
    result: Array = (array - low) / (high - low)
    return result


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
    """The uvi-protocol for one frame (D,H,W) in [0,1] against a reference in any unit.

    Raises VolumeError where shapes differ, a value is not finite, or the reference is constant.
    """
    y, r = np.asarray(frame, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if y.shape != r.shape:
        raise VolumeError(f"a frame has {y.shape} voxels but its reference {r.shape}.")
    if not (np.all(np.isfinite(y)) and np.all(np.isfinite(r))):
        raise VolumeError("a frame to be scored holds NaN or infinite values.")
    return _scores(np.clip(y, 0, 1), scaled(r))


def cine_scores(
    frames: Sequence[ArrayLike], references: Sequence[ArrayLike], fractions: Sequence[float]
) -> CineScores:
    """Frames (D,H,W) against references at the same ``fractions`` between ED (0) and ES (1).

    Frames at 0 and 1 are left out: a method that returns its input there would be rewarded.
    The padding is what is zero in the outer slices of all references alike.

    Raises VolumeError as ``frame_scores``, and where no frame lies strictly between.
    """
    between = [n for n, fraction in enumerate(fractions) if 0 < fraction < 1]
    if not between:
        raise VolumeError("no frame lies strictly between ED and ES, so there is none to score.")
    if not len(frames) == len(references) == len(fractions):
        raise VolumeError(
            f"{len(frames)} frames, {len(references)} references and {len(fractions)} fractions do "
            "not fit together."
        )
    inside = unpadded_slices([references[n] for n in between])
    whole, cut = [], []
    for n in between:
        whole.append(frame_scores(frames[n], references[n]))
        y = np.clip(np.asarray(frames[n], dtype=np.float64), 0, 1)[inside]
        cut.append(_scores(y, scaled(references[n])[inside]))
    return CineScores(tuple(whole), tuple(cut))


def unpadded_slices(references: Sequence[ArrayLike]) -> slice:
    """The slices (first axis) between the outermost that are not constant in some reference."""
    filled = np.any([np.ptp(np.asarray(r), axis=(1, 2)) > 0 for r in references], axis=0)
    found = np.flatnonzero(filled)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(None)


def _scores(y: Array, r: Array) -> FrameScores:
    return FrameScores(nmse(y, r), psnr(y, r), ssim(y, r))


def _mean(scores: Sequence[FrameScores]) -> FrameScores:
    return FrameScores(
        *(float(np.mean([getattr(s, name) for s in scores])) for name in ("nmse", "psnr", "ssim"))
    )
