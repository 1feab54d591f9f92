"""One page for the reader's file: source, synthetic and acquired image, scores, limits, versions.

    | SYNTHETIC - NOT FOR DIAGNOSIS                   |
    | title                                           |
    | axial    | source | synthetic | ref. | difference|
    | coronal  |        |           |      |           |
    | sagittal |        |           |      |           |
    | scores beside the best answer without a model   |
    | what made it, its limits, warnings, versions    |
    | SYNTHETIC - NOT FOR DIAGNOSIS                   |

The page is one picture, as PNG or inside a PDF, so that no mark can be left out when it is passed
on. Pictures as in ``head.py``, but drawn with Pillow, which 3D Slicer brings; it has no matplotlib.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.volume import Volume, check_finite, check_same_grid
from MambaSynthLib.installation import how_to_install
from MambaSynthLib.io.atomic import Outputs, write_whole
from MambaSynthLib.provenance import MARK
from MambaSynthLib.report.columns import PLANES, Column, columns_of, head_center, lpi_axes

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = (".pdf", ".png")
DPI = 150
WIDTH, HEIGHT = round(8.27 * DPI), round(11.69 * DPI)  # A4
EDGE, GAP = 50, 10
BAND = 40  # pixels of the marks at the top and the bottom
MOST_FOR_PICTURES = 1050  # of the height
TITLE, TEXT, SMALL = 26, 19, 16  # pixels
GLYPH = 0.52  # of the size: the width of a letter on average
PAPER, INK, DARK = (255, 255, 255), (20, 22, 24), (16, 18, 20)
MARK_INK, LETTER_INK = (255, 200, 61), (127, 196, 255)
HEAT = ((0, 0, 0), (160, 20, 60), (250, 140, 20), (255, 255, 200))  # of a difference


@dataclass(frozen=True)
class Text:
    """What stands below the pictures.

    scores: rows of cells, the header first; none where nothing was acquired. lines: what made the
    image, its limits, warnings, versions.
    """

    title: str
    scores: Sequence[Sequence[str]] = ()
    lines: Sequence[str] = ()


def write_page(
    path: Path,
    text: Text,
    *,
    source: Volume,
    synthetic: Volume,
    reference: Volume | None = None,
    contrasts: tuple[str, str] = ("T1w", "T2w"),
    through: NDArray[np.float64] | None = None,
    into: Outputs | None = None,
) -> None:
    """Write one page as .pdf or .png; an existing file is replaced.

    ``through``: (3,) RAS mm, the point through which the slices go; None, or outside: the center of
    the head. ``reference``: the acquired target on the same grid.

    Raises
    ------
    VolumeError: the volumes lie on different grids or hold NaN or infinite values.
    FileError: another kind of file, or it cannot be written; nothing is left behind then.
    RequestError: Pillow is missing.
    """
    if path.suffix.lower() not in KINDS:
        raise FileError(f"{path.name}: a report is one of {', '.join(KINDS)}; rename it.")
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise RequestError(f"Reports need Pillow; {how_to_install('report')}.") from error
    for volume in (source, synthetic, reference):
        if volume is not None:
            check_finite(volume)
            check_same_grid(volume, source)
    columns = columns_of(source, synthetic, reference, contrasts)
    center = _center(synthetic, columns[1], through)
    page = _drawn(columns, source.spacing[lpi_axes(source)], center, text)

    def save(stream: Any) -> None:
        if path.suffix.lower() == ".png":
            from PIL.PngImagePlugin import PngInfo

            info = PngInfo()
            info.add_text("Description", MARK)
            page.save(stream, "PNG", pnginfo=info, dpi=(DPI, DPI))
        else:
            page.save(
                stream, "PDF", resolution=DPI, quality=95, title=text.title, subject=MARK,
                creationDate=None, modDate=None,
            )  # fmt: skip

    write_whole(path, save, into=into)


def _center(
    volume: Volume, column: Column, through: NDArray[np.float64] | None
) -> tuple[int, int, int]:
    """The voxel of the column's LPI grid through which the slices go."""
    if through is not None:
        index = np.rint(np.linalg.inv(volume.affine) @ [*through, 1.0])[:3].astype(int)
        if (index >= 0).all() and (index < volume.shape).all():
            turned = []
            for axis in lpi_axes(volume):
                grows = volume.axis_codes[axis] in "LPI"
                turned.append(index[axis] if grows else volume.shape[axis] - 1 - index[axis])
            return int(turned[0]), int(turned[1]), int(turned[2])
    return head_center(column.array)


def _drawn(
    columns: list[Column], spacing: NDArray[np.float64], center: tuple[int, int, int], text: Text
) -> Image:
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(page)
    for top in (0, HEIGHT - BAND):
        draw.rectangle((0, top, WIDTH, top + BAND), fill=DARK)
        _write(draw, (WIDTH // 2, top + BAND // 2), MARK, TITLE, MARK_INK, anchor="mm")
    top = BAND + GAP
    for line in textwrap.wrap(text.title, int((WIDTH - 2 * EDGE) / (GLYPH * TITLE)))[:2]:
        _write(draw, (EDGE, top), line, TITLE, INK)
        top += round(1.3 * TITLE)
    top = _pictures(page, draw, columns, spacing, center, top + GAP)
    top = _table(draw, text.scores, top + GAP)
    _lines(draw, text.lines, top + GAP)
    return page


def _pictures(
    page: Image,
    draw: Any,
    columns: list[Column],
    spacing: NDArray[np.float64],
    center: tuple[int, int, int],
    top: int,
) -> int:
    """The three planes of each column in one scale; returns where the next thing begins."""
    width = (WIDTH - 2 * EDGE - (len(columns) - 1) * GAP) // len(columns)
    extent = np.array(columns[0].array.shape) * spacing
    planes = np.array([extent[[0, 1]], extent[[0, 2]], extent[[1, 2]]])  # across, down; mm
    scale = min(width / planes[:, 0].max(), MOST_FOR_PICTURES / planes[:, 1].sum())
    sizes = np.maximum(np.rint(planes * scale).astype(int), 8)
    for number, column in enumerate(columns):
        middle = EDGE + number * (width + GAP) + width // 2
        _write(draw, (middle, top), column.title, SMALL, INK, anchor="ma")
        below = top + round(1.4 * SMALL)
        for (axis, letters), size in zip(PLANES.values(), sizes, strict=True):
            plane = np.moveaxis(column.array, axis, 0)[center[axis]].T
            tile = _tile(plane, column, letters, (int(size[0]), int(size[1])))
            page.paste(tile, (middle - tile.width // 2, below))
            below += tile.height + GAP
        low, high = (f"{value:.4g}" for value in column.window)
        _write(draw, (middle, below - GAP // 2), f"{low} to {high}", SMALL, INK, anchor="ma")
    return below + round(1.2 * SMALL)


def _tile(plane: NDArray[Any], column: Column, letters: str, size: tuple[int, int]) -> Image:
    """One plane at its true proportions, with the directions, and the mark where it is due."""
    from PIL import Image, ImageDraw

    low, high = column.window
    gray = np.clip((np.asarray(plane, np.float64) - low) / (high - low), 0, 1)
    if column.colors == "gray":
        tile = Image.fromarray((gray * 255).round().astype(np.uint8)).convert("RGB")
    else:
        steps = np.linspace(0, 1, len(HEAT))
        parts = [np.interp(gray, steps, [color[n] for color in HEAT]) for n in range(3)]
        tile = Image.fromarray(np.stack(parts, axis=-1).round().astype(np.uint8))
    tile = tile.resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(tile)
    _write(draw, (4, size[1] // 2), letters[0], SMALL, LETTER_INK, anchor="lm")
    _write(draw, (size[0] - 4, size[1] // 2), letters[1], SMALL, LETTER_INK, anchor="rm")
    _write(draw, (size[0] // 2, 3), letters[2], SMALL, LETTER_INK, anchor="ma")
    if column.marked or column.colors != "gray":  # the difference holds the synthetic image, too
        ink = max(8, min(SMALL, int(size[0] / (len(MARK) * GLYPH * 1.15))))
        _write(draw, (size[0] // 2, size[1] - 4), MARK, ink, MARK_INK, anchor="md")
    return tile


def _table(draw: Any, rows: Sequence[Sequence[str]], top: int) -> int:
    """Cells in columns of equal width, the first one wide; returns where the next thing begins."""
    for number, (name, *cells) in enumerate(rows):
        _write(draw, (EDGE, top), name, TEXT, INK)
        for place, cell in enumerate(cells, start=1):
            right = EDGE + 420 + 130 * place
            _write(draw, (right, top), cell, TEXT, INK, anchor="ra")
        top += round(1.35 * TEXT)
        if number == 0:
            draw.line((EDGE, top - 3, EDGE + 420 + 130 * len(cells), top - 3), fill=INK)
    return top


def _lines(draw: Any, lines: Sequence[str], top: int) -> None:
    """Wrapped; what would run into the mark at the bottom is left out, and said to be."""
    glyphs = int((WIDTH - 2 * EDGE) / (GLYPH * SMALL))
    wrapped = [part for line in lines for part in textwrap.wrap(line, glyphs) or [""]]
    room = int((HEIGHT - BAND - GAP - top) / (1.35 * SMALL))
    if len(wrapped) > room:
        wrapped = [*wrapped[: max(0, room - 1)], "... (more in the image's record of origin)"]
    for line in wrapped:
        _write(draw, (EDGE, top), line, SMALL, INK)
        top += round(1.35 * SMALL)


def _write(
    draw: Any,
    place: tuple[int, int],
    text: str,
    size: int,
    ink: tuple[int, int, int],
    anchor: str = "la",
) -> None:
    """Letters over a picture get an outline: they must be legible on white, too."""
    from PIL import ImageFont

    over = {"stroke_width": 2, "stroke_fill": DARK} if ink in (MARK_INK, LETTER_INK) else {}
    draw.text(place, text, font=ImageFont.load_default(size), fill=ink, anchor=anchor, **over)
