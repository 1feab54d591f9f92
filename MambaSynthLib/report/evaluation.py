"""How near a synthetic volume comes to the acquired one, beside what no model at all would reach.

The notation and the conventions of the numbers are those of ``metrics.py``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.metrics import (
    Mask,
    Scores,
    foreground,
    inverted,
    psnr_raw,
    slice_scores,
    volume_scores,
)
from MambaSynthLib.image.volume import Volume, array_axis, check_finite, check_same_grid

MIN_MASK_FRACTION = 0.01  # of a slice's pixels; emptier slices say little and score high


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
                *markdown([TABLE_HEADER, *(_cells(row) for row in self.rows)]),
            ]
        )


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


def scored_slices(masks: Mask) -> list[int]:
    """The indices n of masks (N,H,W) that hold at least 1 % of their slice."""
    return [n for n, mask in enumerate(masks) if mask.mean() >= MIN_MASK_FRACTION]


def _row(name: str, image: Volume, reference: Volume, inside: Mask, axis: int) -> Row:
    images, references = (np.moveaxis(v.array, axis, 0) for v in (image, reference))
    masks = np.moveaxis(inside, axis, 0)
    kept = scored_slices(masks)
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


def markdown(table: list[list[str]]) -> list[str]:
    """The lines of a table whose first row is its header; columns are padded to one width."""
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
