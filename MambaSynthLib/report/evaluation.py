"""How near a synthetic volume comes to the acquired one, beside what no model at all would reach.

The notation and the conventions of the numbers are those of ``metrics.py``, the trivial answers
those of ``trivial.py``. This is the one way in which this project scores: ``evaluate``, ``demo``,
``evaluate-set``, the cards and the benchmarks all come through ``compared_slices``, which counts
every slice that holds at least 1 % of mask and says how many those are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.metrics import (
    Mask,
    Scores,
    finite_or_none,
    foreground,
    psnr_raw,
    slice_scores,
    volume_scores,
)
from MambaSynthLib.image.trivial import answered
from MambaSynthLib.image.volume import Volume, array_axis, check_finite, check_same_grid

T = TypeVar("T")
Floats = NDArray[np.floating[Any]]
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
        finite: dict[str, Any] = finite_or_none(asdict(self))
        return finite

    def to_table(self) -> str:
        """A markdown table that also reads as plain text; ``-`` means not computed."""
        first = self.rows[0]
        counted = first.n_slices + first.n_skipped
        return "\n".join(
            [
                f"Reference: {self.reference}. Slices: means over the {counted} of "
                f"{counted + first.n_outside} slices along {self.slice_axis_code} that hold at "
                f"least {MIN_MASK_FRACTION:.0%} of mask, each z-scored with its background. "
                f"Volume: z-scored inside the mask ({self.n_mask_voxels} voxels).",
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

    With a ``source``, the trivial answers are scored too: a synthetic image is worth something
    where it beats them. ``mask`` is inside where it is not 0;
    by default it is ``foreground(reference)``. Slices are cut across the patient axis
    ``slice_axis_code`` (one of L R P A I S), whatever the order of the array axes.

    Raises
    ------
    VolumeError: grids differ, values are not finite, the source or the reference is constant, the
        mask is empty, or no slice can be scored.
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
        images |= answered(source, reference, inside, slice_axis_code)
    rows = tuple(_row(name, image, reference, inside, axis) for name, image in images.items())
    return Evaluation(reference.name, slice_axis_code, int(inside.sum()), rows)


def compared_slices(
    images: Floats, references: Floats, masks: Mask, compare: Callable[[Floats, Floats], T | None]
) -> dict[int, T | None]:
    """Number of each slice that counts -> ``compare`` of that slice of two (N,H,W) stacks.

    A slice counts where its mask, of (N,H,W) ``masks``, holds at least 1 % of its pixels.
    """
    counted = [n for n, mask in enumerate(masks) if mask.mean() >= MIN_MASK_FRACTION]
    return {n: compare(images[n], references[n]) for n in counted}


def _row(name: str, image: Volume, reference: Volume, inside: Mask, axis: int) -> Row:
    images, references = (np.moveaxis(v.array, axis, 0) for v in (image, reference))
    compared = compared_slices(images, references, np.moveaxis(inside, axis, 0), slice_scores)
    scores = [s for s in compared.values() if s is not None]
    n_slices = inside.shape[axis]
    if not scores:
        raise VolumeError(
            f"{image.name}: none of {n_slices} slices can be scored against {reference.name} "
            f"({len(compared)} of them meet the mask, and all of those are constant); check that "
            "both volumes show the anatomy inside the mask."
        )
    return Row(
        name,
        ssim=float(np.mean([s.ssim for s in scores])),
        psnr=float(np.mean([s.psnr for s in scores])),
        nmi=float(np.mean([s.nmi for s in scores])),
        mse=float(np.mean([s.mse for s in scores])),
        n_slices=len(scores),
        n_skipped=len(compared) - len(scores),
        n_outside=n_slices - len(compared),
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
    return [row.name, *_numbers(row), *counts, *whole, number(row.psnr_raw, 2)]


def _numbers(scores: Row | Scores) -> list[str]:
    ssim, nmi, mse = (number(x, 4) for x in (scores.ssim, scores.nmi, scores.mse))
    return [ssim, number(scores.psnr, 2), nmi, mse]


def number(value: float, digits: int) -> str:
    """A cell of a table; - for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def markdown(table: list[list[str]]) -> list[str]:
    """The lines of a table whose first row is its header; columns are padded to one width."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    header, *rows = (
        "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"
        for cells in table
    )
    return [header, "|" + "|".join("-" * (w + 2) for w in widths) + "|", *rows]
