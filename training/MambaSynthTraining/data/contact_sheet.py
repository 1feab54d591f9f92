"""One picture per subject, to be looked at before training: slices, and how well they fit."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.io.atomic import write_whole
from MambaSynthTraining.data.stacks import VISIBLE

if TYPE_CHECKING:
    from PIL import Image

Floats = NDArray[np.float32]
COLUMNS = 6
TILES = 8  # per side of the checkerboard
LINE = 16  # pixels of a line of text
MARGIN = 4  # pixels around the tissue


def write_sheet(path: Path, title: str, stacks: Mapping[str, Floats], paired: bool) -> None:
    """A PNG: a row of slices per contrast; for pairs also a checkerboard of the first two.

    Where the two contrasts do not fit, edges break at the borders of the fields.
    """
    boxes = [_box(stack) for stack in stacks.values()]
    rows = [(contrast, _chosen(stack)[:, *_around(boxes)]) for contrast, stack in stacks.items()]
    if paired and len(rows) > 1:
        one, other = rows[0][1], rows[1][1]
        board = np.where(_checkerboard(one.shape[1:]), one, other)
        rows.append((f"{rows[0][0]} and {rows[1][0]}, field by field", board))
    buffer = io.BytesIO()
    _draw(title, rows).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())


def _chosen(stack: Floats) -> Floats:
    """(COLUMNS,H,W): slices evenly spread over the stack."""
    return stack[np.linspace(0, len(stack) - 1, COLUMNS).round().astype(int)]


def _box(stack: Floats) -> NDArray[np.intp]:
    """(2,2) first and last row, first and last column with tissue in any slice."""
    seen: NDArray[np.bool_] = np.any(stack > VISIBLE, axis=0)
    return np.array([np.flatnonzero(seen.any(axis=1 - axis))[[0, -1]] for axis in (0, 1)])


def _around(boxes: Sequence[NDArray[np.intp]]) -> tuple[slice, slice]:
    first = np.maximum(np.min(boxes, axis=0)[:, 0] - MARGIN, 0)
    last = np.max(boxes, axis=0)[:, 1] + MARGIN + 1
    return slice(first[0], last[0]), slice(first[1], last[1])


def _checkerboard(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    row, column = (np.arange(n) * TILES // n for n in shape)
    board: NDArray[np.bool_] = (row[:, None] + column) % 2 == 0
    return board


def _draw(title: str, rows: list[tuple[str, Floats]]) -> Image.Image:
    from PIL import Image, ImageDraw

    height, width = rows[0][1].shape[1:]
    sheet = Image.new("L", (COLUMNS * width, LINE + len(rows) * (height + LINE)))
    pen = ImageDraw.Draw(sheet)
    pen.text((3, 2), title, fill=255)
    for n, (label, slices) in enumerate(rows):
        top = LINE + n * (height + LINE)
        pen.text((3, top + 2), label, fill=255)
        gray = np.clip(127.5 * (slices + 1), 0, 255).astype(np.uint8)
        strip = np.concatenate(list(gray), axis=1)  # (H, COLUMNS * W)
        sheet.paste(Image.fromarray(strip), (0, top + LINE))
    return sheet
