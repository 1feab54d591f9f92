"""Every number that a table may show, for one slice, with the convention it was made by.

Both slices are in the network's range, where -1 is background; z-scores undo any range. The first
five are the paper's protocol (``MambaSynthLib.image.metrics``). The others are conventions found in
other papers and in the published code: they rank methods alike and differ by more than methods do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.metrics import psnr, slice_scores, ssim, z_score

Slice = NDArray[np.float64]
BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli, Bovik 2003
WINDOW = 11  # pixels of the Gaussian window
NOT_COMPUTED = "not computed"
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


NATIVE = (
    Measure("ssim", "SSIM %", "z-scored slices; scikit-image's default (uniform window of 7), data "
            "range of the acquired slice", 100, 2),
    Measure("nmi", "NMI", "(H(y) + H(r)) / H(y, r), 100 bins, 1..2"),
    Measure("lpips", "LPIPS", "AlexNet v0.1; z-scored slices mapped to [-1,1] by "
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
    Measure("ms_ssim", "MS-SSIM %", "z-scored slices; torchmetrics, Gaussian 11, sigma 1.5, data "
            "range of the acquired slice; the five scales of Wang et al. 2003 from 176 pixels on, "
            "of smaller slices the first that fit, their weights made to add up to 1", 100, 2),
)  # fmt: skip
PAPER = ("ssim", "nmi", "lpips", "mse")  # the columns of CRAViM's tables
CANVAS = "canvas_"  # begins the names of measures on the prepared slices, see ``frame.py``
MEASURES = (
    *NATIVE,
    *(replace(m, name=CANVAS + m.name) for m in NATIVE if m.name in (*PAPER, "psnr")),
)
BY_NAME = {measure.name: measure for measure in MEASURES}


def slice_measures(
    image: Slice, reference: Slice, lpips: Lpips | None = None
) -> dict[str, float] | None:
    """Name -> value of two (H,W) slices; None where one is constant. LPIPS only if given."""
    found = paper_measures(image, reference, lpips)
    if found is None:
        return None
    y, r = z_score(image), z_score(reference)
    span = float(np.ptp(r))
    clipped_y, clipped_r = np.clip(image, -1, 1), np.clip(reference, -1, 1)
    return found | {
        "ssim_gaussian": ssim_gaussian(y, r, span),
        "ssim_torchmetrics": ssim_torchmetrics(y, r, span),
        "ssim_network_range": ssim(clipped_y, clipped_r, float(np.ptp(clipped_r))),
        "psnr_network_range": psnr(clipped_y, clipped_r, 2.0),
        "ms_ssim": ms_ssim(y, r, span),
    }


def paper_measures(
    image: Slice, reference: Slice, lpips: Lpips | None = None
) -> dict[str, float] | None:
    """Those of the paper's tables, and PSNR. As ``slice_measures``."""
    scores = slice_scores(image, reference)
    if scores is None:
        return None
    found = {"ssim": scores.ssim, "nmi": scores.nmi, "mse": scores.mse, "psnr": scores.psnr}
    if lpips is not None:
        found["lpips"] = lpips(*perceived(image, reference))
    return found


def perceived(image: Slice, reference: Slice) -> tuple[Slice, Slice]:
    """Both slices as a network of natural images sees them: z-scored, in [-1,1] by the range of
    the reference, clipped. Neither may be constant.
    """
    y, r = z_score(image), z_score(reference)
    low, high = r.min(), r.max()
    seen = [np.clip(2 * (x - low) / (high - low) - 1, -1, 1) for x in (y, r)]
    return seen[0], seen[1]


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


def ms_ssim(image: Slice, reference: Slice, data_range: float) -> float:
    """SSIM over several scales, as many as torchmetrics allows for slices of this size."""
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    betas = _scales(min(image.shape))
    y, r = (torch.from_numpy(np.float32(x))[None, None] for x in (image, reference))
    value = multiscale_structural_similarity_index_measure(
        y, r, data_range=data_range, betas=betas, normalize="relu"
    )
    return float(value)


def _scales(pixels: int) -> tuple[float, ...]:
    """The weights of the scales whose windows fit into so many pixels; they add up to 1."""
    fitting = [n for n in range(1, len(BETAS) + 1) if pixels // max(1, n - 1) ** 2 >= WINDOW]
    weights = BETAS[: max(fitting, default=1)]
    return tuple(weight / sum(weights) for weight in weights)
