"""One picture for the reader: source, synthetic image, reference and their difference.

    | axial    |  source | synthetic | reference | difference |
    | coronal  |         |           |           |            |
    | sagittal |         |           |           |            |
    | grey bar |         |           |           |            |

Every plane is shown in the radiological convention at its true size in mm: the patient's right on
the left of axial and coronal pictures, anterior on the left of sagittal ones. All planes share one
scale and pass through the center of the head. Oblique grids are cut along their own axes and
labelled with the nearest patient directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume, check_finite, check_same_grid
from MambaSynthLib.io.atomic import Outputs, write_whole
from MambaSynthLib.report.columns import (
    PLANES,
    Array,
    Column,
    columns_of,
    head_center,
    lpi_axes,
)
from MambaSynthLib.report.sheet import BACKGROUND, FONT, GAP_INCHES, Sheet, text_inches, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARK = "SYNTHETIC - not for diagnosis"

COLUMN_INCHES, MAX_ROWS_INCHES, MIN_ROW_INCHES = 2.6, 10.0, 0.45
BAR_INCHES = 0.08
TITLE_POINTS, TEXT_POINTS = 10, 7
LETTER_INK, MARK_INK = "#7fc4ff", "#ffc83d"


def write_report(
    path: str | Path,
    *,
    source: Volume,
    synthetic: Volume,
    reference: Volume | None = None,
    title: str,
    caption: Sequence[str] = (),
    contrasts: tuple[str, str] = ("T1w", "T2w"),
    into: Outputs | None = None,
) -> None:
    """Write one PNG that shows a synthesis; an existing file is replaced.

    ``reference`` is the acquired or computed target, where there is one; it adds its own column
    and that of the absolute difference, taken after each image is scaled by its own display
    window because MR units are arbitrary. ``contrasts`` are the names of source and target
    contrast; ``title`` and the lines of ``caption`` are wrapped. Equal inputs give equal bytes. The
    picture gets its name with others where it goes ``into`` a set of outputs.

    Raises
    ------
    VolumeError: the volumes lie on different grids or hold NaN or infinite values.
    FileError: ``path`` is no PNG name or cannot be written; nothing is left behind then.
    RequestError: matplotlib is missing.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise FileError(f"{path}: a report is a PNG picture; give it a name that ends in .png.")
    for volume in (source, synthetic, reference):
        if volume is not None:
            check_finite(volume)
            check_same_grid(volume, source)
    columns = columns_of(source, synthetic, reference, contrasts)
    spacing = source.spacing[lpi_axes(source)]
    write_whole(path, _draw(columns, spacing, title, caption), into=into)


def _draw(
    columns: list[Column], spacing: NDArray[np.float64], title: str, caption: Sequence[str]
) -> bytes:
    """Lay out blocks from top to bottom, make the sheet as large as they need, and fill it."""
    pictures = _picture_inches(np.array(columns[0].array.shape) * spacing)
    width = len(columns) * (COLUMN_INCHES + GAP_INCHES) + GAP_INCHES
    heading = wrapped([title], width, TITLE_POINTS)
    names = [wrapped([column.title], COLUMN_INCHES, TEXT_POINTS) for column in columns]
    legend = wrapped(caption, width, TEXT_POINTS)

    names_top = GAP_INCHES + text_inches(heading, TITLE_POINTS)
    rows_top = names_top + max(text_inches(name, TEXT_POINTS) for name in names)
    bars_top = rows_top + _row_inches(pictures).sum()
    legend_top = bars_top + BAR_INCHES + text_inches("0", TEXT_POINTS) + GAP_INCHES
    sheet = Sheet(width, legend_top + text_inches(legend, TEXT_POINTS))

    sheet.text(GAP_INCHES, GAP_INCHES, heading, TITLE_POINTS, weight="bold")
    sheet.text(GAP_INCHES, legend_top, legend, TEXT_POINTS)
    center = head_center(columns[1].array)  # the synthetic one: it may be a few slices only
    for index, (column, name) in enumerate(zip(columns, names, strict=True)):
        middle = GAP_INCHES + index * (COLUMN_INCHES + GAP_INCHES) + COLUMN_INCHES / 2
        sheet.text(middle, names_top, name, TEXT_POINTS, horizontalalignment="center")
        _draw_planes(sheet, column, center, (middle, rows_top), pictures)
        _draw_bar(sheet, column, (middle, bars_top))
    return sheet.png(MARK)


def _row_inches(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) heights of the rows, each with the gap below it; thin slabs get room for their mark."""
    rows: NDArray[np.float64] = np.maximum(pictures[:, 1], MIN_ROW_INCHES) + GAP_INCHES
    return rows


def _picture_inches(extent: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,2) width and height of the three planes of a grid of (3,) ``extent`` mm along L, P, I."""
    planes = np.array([extent[[0, 1]], extent[[0, 2]], extent[[1, 2]]])
    scale = min(COLUMN_INCHES / planes[:, 0].max(), MAX_ROWS_INCHES / planes[:, 1].sum())
    inches: NDArray[np.float64] = planes * scale
    return inches


def _draw_planes(
    sheet: Sheet,
    column: Column,
    center: tuple[int, int, int],
    place: tuple[float, float],
    pictures: NDArray[np.float64],
) -> None:
    """The three planes through ``center``, below the middle of their top edge ``place``."""
    middle, top = place
    planes = zip(PLANES.values(), pictures, _row_inches(pictures), strict=True)
    for (axis, letters), (width, height), row in planes:
        upper = top + (row - GAP_INCHES - height) / 2
        axes = sheet.axes(middle - width / 2, upper, width, height)
        _draw_plane(axes, column, np.moveaxis(column.array, axis, 0)[center[axis]].T, letters)
        top += row


def _draw_plane(axes: Axes, column: Column, picture: Array, letters: str) -> None:
    low, high = column.window
    axes.imshow(
        picture, cmap=column.colors, vmin=low, vmax=high, aspect="auto", interpolation="bilinear"
    )
    box = {"facecolor": BACKGROUND, "alpha": 0.75, "linewidth": 0, "pad": 1.2}
    style: dict[str, Any] = {"fontsize": TEXT_POINTS, "family": FONT, "bbox": box}
    style |= {"transform": axes.transAxes}
    axes.text(0.02, 0.5, letters[0], ha="left", va="center", color=LETTER_INK, **style)
    axes.text(0.98, 0.5, letters[1], ha="right", va="center", color=LETTER_INK, **style)
    axes.text(0.5, 0.98, letters[2], ha="center", va="top", color=LETTER_INK, **style)
    if column.marked:
        axes.text(0.5, 0.02, MARK, ha="center", va="bottom", color=MARK_INK, **style)


def _draw_bar(sheet: Sheet, column: Column, place: tuple[float, float]) -> None:
    """The greys of a column from dark to bright, with the intensities at both ends below."""
    middle, top = place
    left, right = middle - 0.4 * COLUMN_INCHES, middle + 0.4 * COLUMN_INCHES
    axes = sheet.axes(left, top, right - left, BAR_INCHES)
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=column.colors, aspect="auto")
    low, high = (f"{value:.4g}" for value in column.window)
    below = top + BAR_INCHES + GAP_INCHES / 2
    sheet.text(left, below, low, TEXT_POINTS)
    sheet.text(right, below, high, TEXT_POINTS, horizontalalignment="right")
