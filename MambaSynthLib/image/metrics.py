"""How near a synthetic image comes to the acquired one, array by array.

| symbol | code        | meaning                                                                  |
|--------|-------------|--------------------------------------------------------------------------|
| y, r   | ``image``, ``reference`` | synthetic image and acquired target, on one grid            |
| z(x)   | ``z_score`` | (x - mean) / population standard deviation, of each image by itself      |
| SSIM   | ``ssim``    | structural similarity, 1 = equal; papers print it x 100                  |
| PSNR   | ``psnr``    | 10 log10(range(r)^2 / MSE) in dB; infinite for equal images              |
| NMI    | ``nmi``     | (H(y) + H(r)) / H(y, r) with 100 bins, **1..2** (Studholme 1999)         |
| MSE    | ``mse``     | mean of (z(y) - z(r))^2 = 2 (1 - correlation), 0..4                      |

MR intensities have arbitrary units, so every headline number compares z-scores and ignores a gain
and an offset of either image. Scores of other conventions (data range, window, mask) differ by
more than methods do: compare only numbers made by the same function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.installation import how_to_install

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

NMI_BINS = 100
DARKEST_TISSUE = 0.1  # of the range, as in intensity.percentile_scaling
SSIM_WINDOW = 7  # voxels along every axis, uniform weights: scikit-image's default


@dataclass(frozen=True)
class Scores:
    """One comparison; the notation table of this file tells what each number means."""

    ssim: float
    psnr: float
    nmi: float
    mse: float


def z_score(image: ArrayLike, mask: Mask | None = None) -> Array:
    """(x - mean) / population std, both taken inside ``mask``; any shape, not constant there."""
    image = np.asarray(image, dtype=np.float64)
    inside = image if mask is None else image[mask]
    scored: Array = (image - inside.mean()) / inside.std()
    return scored


def is_constant(image: ArrayLike) -> bool:
    """Whether an array is empty or varies by no more than float32 rounding."""
    image = np.asarray(image, dtype=np.float64)
    return image.size == 0 or bool(np.ptp(image) <= 1e-6 * np.abs(image).max())


def ssim(image: Array, reference: Array, data_range: float, mask: Mask | None = None) -> float:
    """Structural similarity of Wang et al. 2004 in any dimension.

    7-voxel uniform window along every axis, sample covariance, K1 = 0.01, K2 = 0.03. The map is
    averaged without a 3-voxel rim, or over the mask when one is given (windows at the edge of the
    mask see the voxels beyond it). NaN where the window does not fit into the image.
    """
    if min(image.shape) < SSIM_WINDOW:
        return math.nan
    mean, similarity = skimage_metrics().structural_similarity(
        image, reference, win_size=SSIM_WINDOW, data_range=data_range, full=True
    )
    return float(mean if mask is None else similarity[mask].mean())


def psnr(image: Array, reference: Array, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB for a stated ``data_range``; infinite for equal images."""
    with np.errstate(divide="ignore"):
        ratio = skimage_metrics().peak_signal_noise_ratio
        return float(ratio(reference, image, data_range=data_range))


def nmi(image: Array, reference: Array) -> float:
    """Normalized mutual information, 1..2, from a 100 x 100 histogram over both full ranges."""
    information = skimage_metrics().normalized_mutual_information
    return float(information(image, reference, bins=NMI_BINS))


def mse(image: Array, reference: Array) -> float:
    """Mean squared difference, in the squared units of the images handed in."""
    return float(np.mean((image - reference) ** 2))


def slice_scores(image: ArrayLike, reference: ArrayLike) -> Scores | None:
    """The cravim-protocol: two (H,W) slices, background included, each z-scored by itself.

    SSIM and PSNR take the range of the z-scored reference as data range. None where a slice is
    constant: it has no z-score, and NMI is undefined. Protocol of the CRAViM evaluation, metrics
    recommended by Dohmen et al. (arXiv 2405.08431).
    """
    if is_constant(image) or is_constant(reference):
        return None
    y, r = z_score(image), z_score(reference)
    span = float(np.ptp(r))
    return Scores(ssim(y, r, span), psnr(y, r, span), nmi(y, r), mse(y, r))


def volume_scores(image: ArrayLike, reference: ArrayLike, mask: Mask) -> Scores | None:
    """Two (I,J,K) volumes, each z-scored by its voxels inside ``mask``; None if constant there.

    PSNR, NMI and MSE see the voxels inside the mask only; SSIM uses a 7x7x7 window and averages
    its map over the mask. The data range of SSIM and PSNR is the range of the z-scored reference
    inside the mask.
    """
    image, reference = np.asarray(image), np.asarray(reference)
    if is_constant(image[mask]) or is_constant(reference[mask]):
        return None
    y, r = z_score(image, mask), z_score(reference, mask)
    y_in, r_in = y[mask], r[mask]
    span = float(np.ptp(r_in))
    return Scores(ssim(y, r, span, mask), psnr(y_in, r_in, span), nmi(y_in, r_in), mse(y_in, r_in))


def psnr_raw(image: ArrayLike, reference: ArrayLike, mask: Mask) -> float:
    """PSNR in dB of the untouched intensities inside ``mask``; range = max - min of the reference.

    Only meaningful where both images share their units. NaN for a constant reference.
    """
    y = np.asarray(image, dtype=np.float64)[mask]
    r = np.asarray(reference, dtype=np.float64)[mask]
    return math.nan if is_constant(r) else psnr(y, r, float(np.ptp(r)))


def finite_or_none(value: Any) -> Any:
    """Scores for JSON, which has no number for infinity and NaN: dicts and lists go through."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def foreground(reference: ArrayLike) -> Mask:
    """(I,J,K) where there is anatomy, by one of two rules.

    Where one value fills half of the six outer faces (stripped, masked, padded images), everything
    that differs from it. Otherwise the air is noisy, and the anatomy is the largest piece brighter
    than a tenth of the way from the 0.1 to the 99.9 percentile, with its cavities.
    """
    array = np.asarray(reference)
    faces = [array.take(end, axis).ravel() for axis in range(3) for end in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    if 2 * counts.max() >= counts.sum():
        mask: Mask = array != values[counts.argmax()]
        return mask
    return _largest_piece(array)


def _largest_piece(array: NDArray[Any]) -> Mask:
    from scipy import ndimage

    low, high = np.percentile(array, [0.1, 99.9])
    pieces, count = ndimage.label(array > low + DARKEST_TISSUE * (high - low))
    if not count:
        return np.zeros(array.shape, dtype=bool)
    largest = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    closed: Mask = ndimage.binary_fill_holes(largest)
    return closed


def skimage_metrics() -> ModuleType:
    try:
        import skimage.metrics
    except ImportError as error:
        raise RequestError(
            f"Scores need scikit-image, which is not installed; {how_to_install('report')}."
        ) from error
    return skimage.metrics
