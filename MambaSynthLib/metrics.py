"""How near a synthetic image comes to the acquired one, beside what no model at all would reach.

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
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from MambaSynthLib.errors import RequestError, VolumeError
from MambaSynthLib.volume import AXIS_LETTERS, Volume

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

NMI_BINS = 100
SSIM_WINDOW = 7  # voxels along every axis, uniform weights: scikit-image's default
MIN_MASK_FRACTION = 0.01  # of a slice's pixels; emptier slices say little and score high
GRID_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Scores:
    """One comparison; the notation table of this file tells what each number means."""

    ssim: float
    psnr: float
    nmi: float
    mse: float


@dataclass(frozen=True)
class Row:
    """One image against the reference: means over slices, then the masked volume as a whole.

    ``n_skipped`` slices were constant in one of the two images, ``n_outside`` slices hold less
    than 1 % of mask; neither enters the means. ``volume`` is None where the image is constant
    inside the mask. ``psnr_raw`` compares the intensities as they are.
    """

    name: str
    ssim: float
    psnr: float
    nmi: float
    mse: float
    n_slices: int
    n_skipped: int
    n_outside: int
    volume: Scores | None
    psnr_raw: float


@dataclass(frozen=True)
class Evaluation:
    """The scores of a synthetic volume and of the trivial answers to the same question."""

    reference: str
    slice_axis_code: str
    n_mask_voxels: int
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Only JSON types; numbers without a finite value (PSNR of equal images) become None."""
        finite: dict[str, Any] = _finite_or_none(asdict(self))
        return finite

    def to_table(self) -> str:
        """A markdown table that also reads as plain text; ``-`` means not computed."""
        return "\n".join(
            [
                f"Reference: {self.reference}. Slices: means over slices along "
                f"{self.slice_axis_code}, each z-scored. Volume: z-scored inside the mask "
                f"({self.n_mask_voxels} voxels).",
                "",
                *_markdown([TABLE_HEADER, *(_cells(row) for row in self.rows)]),
            ]
        )


# --- pure functions on arrays ------------------------------------------------------------------


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


def foreground(reference: ArrayLike) -> Mask:
    """(I,J,K) everything unlike the background, the most frequent value on the six outer faces.

    Made for images whose background was set to one value; with a noisy background nearly every
    voxel is foreground.
    """
    array = np.asarray(reference)
    faces = [array.take(end, axis).ravel() for axis in range(3) for end in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    mask: Mask = array != values[counts.argmax()]
    return mask


def inverted(image: ArrayLike, mask: Mask) -> Array:
    """max + min - x inside the mask, x outside: the simplest T1w to T2w "synthesis"."""
    array = np.array(image, dtype=np.float64)
    inside = array[mask]
    array[mask] = inside.max() + inside.min() - inside
    return array


# --- volumes -----------------------------------------------------------------------------------


def evaluate(
    synthetic: Volume,
    reference: Volume,
    *,
    source: Volume | None = None,
    mask: Volume | None = None,
    slice_axis_code: str = "S",
) -> Evaluation:
    """Score ``synthetic`` against the acquired target ``reference``.

    With a ``source``, the source itself and its inversion inside the mask are scored too: a
    synthetic image is worth something where it beats both. ``mask`` is inside where it is not 0;
    by default it is ``foreground(reference)``. Slices are cut across the patient axis
    ``slice_axis_code`` (one of L R P A I S), whatever the order of the array axes.

    Raises
    ------
    VolumeError: grids differ, values are not finite, the mask is empty, or no slice can be scored.
    RequestError: ``slice_axis_code`` is no patient direction, or scikit-image is missing.
    """
    for volume in (synthetic, reference, source, mask):
        if volume is not None:
            check_finite(volume)
            check_same_grid(volume, reference)
    axis = array_axis(reference, slice_axis_code)
    inside = foreground(reference.array) if mask is None else mask.array != 0
    if not inside.any():
        raise VolumeError(
            f"{(mask or reference).name}: no voxel is inside the mask; give a mask that covers "
            "the anatomy."
        )
    images = {"synthetic": synthetic}
    if source is not None:
        images["source itself"] = source
        flipped = inverted(source.array, inside)
        images["source inverted inside the mask"] = source.with_array(flipped)
    rows = tuple(_row(name, image, reference, inside, axis) for name, image in images.items())
    return Evaluation(reference.name, slice_axis_code, int(inside.sum()), rows)


def array_axis(volume: Volume, code: str) -> int:
    """The array axis that runs along the patient direction ``code``; either sign will do.

    Raises
    ------
    RequestError: ``code`` is none of L R P A I S.
    """
    pair = next((pair for pair in AXIS_LETTERS if code in pair), None)
    if pair is None:
        raise RequestError(
            f"Slice axis {code!r} is no patient direction; use one of L, R, P, A, I, S."
        )
    return next(axis for axis, letter in enumerate(volume.axis_codes) if letter in pair)


def check_same_grid(volume: Volume, reference: Volume) -> None:
    """Same shape, and every voxel within 1e-3 mm of the same place.

    Raises
    ------
    VolumeError: naming both volumes.
    """
    remedy = "resample one onto the grid of the other first."
    if volume.shape != reference.shape:
        raise VolumeError(
            f"{volume.name} has {volume.shape} voxels, {reference.name} {reference.shape}; {remedy}"
        )
    # The distance between two affine maps is largest at a corner of the grid.
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(volume.shape) - 1)
    step = (volume.affine - reference.affine) @ np.c_[corners, np.ones(8)].T
    distance = float(np.linalg.norm(step, axis=0).max())
    if distance > GRID_TOLERANCE_MM:
        raise VolumeError(
            f"{volume.name} and {reference.name} lie up to {distance:.4g} mm apart; {remedy}"
        )


def check_finite(volume: Volume) -> None:
    """Raise VolumeError where a voxel is NaN or infinite."""
    bad = int(np.count_nonzero(~np.isfinite(volume.array)))
    if bad:
        raise VolumeError(
            f"{volume.name}: {bad} voxels are NaN or infinite; replace them by numbers first."
        )


# --- steps -------------------------------------------------------------------------------------


def _row(name: str, image: Volume, reference: Volume, inside: Mask, axis: int) -> Row:
    images, references, masks = (
        np.moveaxis(array, axis, 0) for array in (image.array, reference.array, inside)
    )
    kept = [i for i, part in enumerate(masks) if part.mean() >= MIN_MASK_FRACTION]
    compared = [slice_scores(images[i], references[i]) for i in kept]
    scores = [s for s in compared if s is not None]
    if not scores:
        raise VolumeError(
            f"{image.name}: none of {len(masks)} slices can be scored against {reference.name} "
            f"({len(kept)} of them meet the mask, and all of those are constant); check that both "
            "volumes show the anatomy inside the mask."
        )
    return Row(
        name,
        ssim=float(np.mean([s.ssim for s in scores])),
        psnr=float(np.mean([s.psnr for s in scores])),
        nmi=float(np.mean([s.nmi for s in scores])),
        mse=float(np.mean([s.mse for s in scores])),
        n_slices=len(scores),
        n_skipped=len(kept) - len(scores),
        n_outside=len(masks) - len(kept),
        volume=volume_scores(image.array, reference.array, inside),
        psnr_raw=psnr_raw(image.array, reference.array, inside),
    )


def skimage_metrics() -> ModuleType:
    try:
        import skimage.metrics
    except ImportError as error:
        raise RequestError(
            "Scores need scikit-image, which is not installed; run: pip install scikit-image"
        ) from error
    return skimage.metrics


TABLE_HEADER = [
    *("image", "SSIM", "PSNR dB", "NMI", "MSE", "slices", "constant", "outside mask"),
    *("volume SSIM", "volume PSNR dB", "volume NMI", "volume MSE", "raw PSNR dB"),
]


def _cells(row: Row) -> list[str]:
    counts = [str(n) for n in (row.n_slices, row.n_skipped, row.n_outside)]
    whole = ["-"] * 4 if row.volume is None else _numbers(row.volume)
    return [row.name, *_numbers(row), *counts, *whole, _number(row.psnr_raw, 2)]


def _numbers(scores: Row | Scores) -> list[str]:
    ssim, nmi, mse = (_number(x, 4) for x in (scores.ssim, scores.nmi, scores.mse))
    return [ssim, _number(scores.psnr, 2), nmi, mse]


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _markdown(table: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    header, *rows = (
        "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"
        for cells in table
    )
    return [header, "|" + "|".join("-" * (w + 2) for w in widths) + "|", *rows]


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
