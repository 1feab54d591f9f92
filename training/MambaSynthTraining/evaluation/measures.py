"""Every number that a table may show, for one slice, with the convention it was made by.

Both slices are in the network's range, where -1 is background; z-scores undo any range. The first
five are the paper's protocol (``MambaSynthLib.image.metrics``). The others are conventions found in
other papers and in the published code: they rank methods alike and differ by more than methods do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.metrics import psnr, slice_scores, ssim, z_score

Slice = NDArray[np.float64]
Lpips = Callable[[Slice, Slice], float]


@dataclass(frozen=True)
class Measure:
    """A column of the per-slice file."""

    name: str
    title: str  # in the table
    convention: str
    scale: float = 1.0  # of the printed number
    digits: int = 3
    higher_is_better: bool = True


MEASURES = (
    Measure("ssim", "SSIM %", "z-scored slices; scikit-image's default (uniform window of 7), data "
            "range of the acquired slice", 100, 2),
    Measure("nmi", "NMI", "(H(y) + H(r)) / H(y, r), 100 bins, 1..2"),
    Measure("lpips", "LPIPS", "AlexNet v0.1 (torchmetrics); z-scored slices mapped to [-1,1] by "
            "the acquired slice's range and clipped", higher_is_better=False),
    Measure("mse", "MSE", "of z-scored slices, 0..4", higher_is_better=False),
    Measure("psnr", "PSNR dB", "z-scored slices, range of the acquired slice", 1, 2),
    Measure("ssim_gaussian", "SSIM % (Gaussian)", "z-scored slices; scikit-image with Gaussian "
            "weights, sigma 1.5, population covariance (Wang et al. 2004)", 100, 2),
    Measure("ssim_torchmetrics", "SSIM % (torchmetrics)", "z-scored slices; torchmetrics' default "
            "(Gaussian 11, sigma 1.5), data range of the acquired slice", 100, 2),
    Measure("ssim_network_range", "SSIM % (no z-score)", "slices clipped to [-1,1]; scikit-image's "
            "default, data range of the acquired slice: the published test.py", 100, 2),
    Measure("psnr_network_range", "PSNR dB (no z-score)", "slices clipped to [-1,1], range 2",
            1, 2),
)  # fmt: skip
BY_NAME = {measure.name: measure for measure in MEASURES}
PAPER = ("ssim", "nmi", "lpips", "mse")  # the columns of CRAViM's tables


def slice_measures(
    image: Slice, reference: Slice, lpips: Lpips | None = None
) -> dict[str, float] | None:
    """Name -> value of two (H,W) slices; None where one is constant. LPIPS only if given."""
    scores = slice_scores(image, reference)
    if scores is None:
        return None
    y, r = z_score(image), z_score(reference)
    span = float(np.ptp(r))
    clipped_y, clipped_r = np.clip(image, -1, 1), np.clip(reference, -1, 1)
    found = {
        "ssim": scores.ssim,
        "nmi": scores.nmi,
        "mse": scores.mse,
        "psnr": scores.psnr,
        "ssim_gaussian": ssim_gaussian(y, r, span),
        "ssim_torchmetrics": ssim_torchmetrics(y, r, span),
        "ssim_network_range": ssim(clipped_y, clipped_r, float(np.ptp(clipped_r))),
        "psnr_network_range": psnr(clipped_y, clipped_r, 2.0),
    }
    if lpips is not None:
        low, high = r.min(), r.max()
        found["lpips"] = lpips(*(np.clip(2 * (x - low) / (high - low) - 1, -1, 1) for x in (y, r)))
    return found


def ssim_gaussian(image: Slice, reference: Slice, data_range: float) -> float:
    """SSIM with the Gaussian window of Wang et al. 2004, as scikit-image computes it."""
    from skimage.metrics import structural_similarity

    value = structural_similarity(
        image, reference, data_range=data_range, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    return float(value)


def ssim_torchmetrics(image: Slice, reference: Slice, data_range: float) -> float:
    """SSIM by torchmetrics' defaults, but with a stated data range."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    y, r = (torch.from_numpy(np.float32(x))[None, None] for x in (image, reference))
    value: Any = structural_similarity_index_measure(y, r, data_range=data_range)
    return float(value)  # declared as one or two tensors; two only on request
