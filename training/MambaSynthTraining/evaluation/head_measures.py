"""How near a synthetic head comes to the acquired one, in a region of it.

The synthetic volume is first fitted to the acquired one by one linear map, so that no unit is held
against anybody; both are then clipped to the acquired one's range 0 to its 99.9 percentile L.

| measure      | meaning                                                                         |
|--------------|---------------------------------------------------------------------------------|
| psnr         | 10 log10 (L^2 / mean squared error), dB                                         |
| ssim, nmi    | of axial slices, scikit-image's; SSIM averaged inside the region                |
| r            | Pearson's correlation                                                           |
| detail       | energy of what a Gaussian of one pixel removes in slices, over the acquired's   |
| jitter       | mean size of the second difference of the slices' brightness over that of the   |
|              | acquired volume: bands in sagittal and coronal views                            |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.metrics import skimage_metrics

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
RANGE_PERCENTILE = 99.9
SMALLEST = 300  # voxels of a slice in the region, from which on it is scored, unless it is flat
NMI_BINS = 64
BRIGHT = 0.1  # of the range: what counts as signal in air
TINY = 1e-6  # narrower than any number that a file keeps
LEVELS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.925, 0.95, 0.975, 0.99)


def head_scores(
    made: NDArray[np.float32], acquired: NDArray[np.float32], region: Mask
) -> dict[str, float]:
    """All measures of the table; arrays (I,J,K) with slices along K."""
    metrics = skimage_metrics()
    top = float(np.percentile(acquired[region], RANGE_PERCENTILE))
    r = np.clip(np.where(region, acquired, 0), 0, top).astype(np.float64)
    x = np.clip(fitted(made, acquired, region), 0, top)
    chosen = [
        k
        for k in range(r.shape[2])
        if region[:, :, k].sum() > SMALLEST and np.ptp(r[:, :, k][region[:, :, k]]) > 0
    ]
    similar, shared = [], []
    for k in chosen:
        inside = region[:, :, k]
        image = metrics.structural_similarity(x[:, :, k], r[:, :, k], data_range=top, full=True)[1]
        similar.append(image[inside])
        a, b = x[:, :, k][inside], r[:, :, k][inside]
        shared.append(metrics.normalized_mutual_information(a, b, bins=NMI_BINS))
    return {
        "psnr": float(10 * np.log10(top**2 / np.mean((x - r)[region] ** 2))),
        "ssim": float(np.concatenate(similar).mean()),
        "nmi": float(np.mean(shared)),
        "r": float(np.corrcoef(x[region], r[region])[0, 1]),
        "detail": _detail(x, region) / _detail(r, region),
        "jitter": _jitter(x, region, chosen) / _jitter(r, region, chosen),
    }


def fitted(made: NDArray[np.float32], acquired: NDArray[np.float32], region: Mask) -> Floats:
    """``made`` under the linear map that brings it nearest to ``acquired``; 0 outside."""
    values = made[region].astype(np.float64)
    slope, offset = np.polyfit(values, acquired[region], 1) if np.ptp(values) else (0.0, 0.0)
    result = np.zeros(made.shape)
    result[region] = slope * values + offset
    return result


def interval_factors(
    made: NDArray[np.float32],
    half_width: NDArray[np.float32],
    acquired: NDArray[np.float32],
    region: Mask,
    tissue: Mask | None = None,
) -> list[float]:
    """By what the half-widths of ``made`` are to be multiplied so that the share of acquired values
    within is that of ``LEVELS``, one by one; both under the linear map of ``fitted``. Counted in
    ``tissue``, or in the whole region.
    """
    counted = region if tissue is None else tissue
    slope = np.polyfit(made[region].astype(np.float64), acquired[region], 1)[0]
    error = np.abs(fitted(made, acquired, region) - acquired)[counted]
    width = np.maximum(np.abs(slope) * half_width[counted].astype(np.float64), TINY)
    return [float(factor) for factor in np.quantile(error / width, LEVELS)]


def share_in_air(made: NDArray[np.float32], air: Mask) -> float:
    """Share of the air's voxels above a tenth of the synthetic volume's own range."""
    top = float(np.percentile(made[~air], RANGE_PERCENTILE))
    return float(np.mean(made[air] > BRIGHT * top)) if air.any() else 0.0


def _detail(x: Floats, region: Mask) -> float:
    from scipy import ndimage

    inner = ndimage.binary_erosion(region, np.ones((5, 5, 1)))
    fine = x - ndimage.gaussian_filter(x, (1, 1, 0))
    return float(np.mean(fine[inner] ** 2))


def _jitter(x: Floats, region: Mask, chosen: list[int]) -> float:
    means = np.array([x[:, :, k][region[:, :, k]].mean() for k in chosen])
    return float(np.abs(np.diff(means, 2)).mean() / means.mean())
