"""What becomes of an image that was made, in one place: marked, looked at again, and recorded."""

from __future__ import annotations

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.watermark.detection import NARROWEST, find_mark
from MambaSynthLib.watermark.embedding import add_mark, slices_of, with_mark
from MambaSynthLib.watermark.pattern import Floats, code_of

OFF = "off, as asked for"
TOO_SMALL = f"none: slices of fewer than {NARROWEST} x {NARROWEST} pixels hold too little"


def words_of(model_id: str) -> str:
    """What a record says of a marked image."""
    return f"spread spectrum 1, code {code_of(model_id):06x}"


def mark(array: Floats, grid: Volume, model_id: str, *, wanted: bool = True) -> str:
    """Mark an image on the ``grid`` of a volume, in place; what to record about it.

    Not ``wanted``, or where a slice is too small, it stays as it is.
    """
    if not wanted:
        return OFF
    if is_too_small(grid):
        return TOO_SMALL
    add_mark(array, grid, model_id)
    words = words_of(model_id)
    if find_mark(grid.with_array(array), thorough=False) is None:
        words += ", but the image has too little texture for it to be found again"
    return words


def mark_frame(frame: Volume, model_id: str, *, wanted: bool = True) -> Volume:
    """A synthetic frame of a cine; all of them together tell more than one."""
    return with_mark(frame, model_id) if wanted and not is_too_small(frame) else frame


def words_of_cine(frame: Volume, model_id: str, *, wanted: bool = True) -> str:
    """What to record about a cine on the grid of ``frame``."""
    if not wanted:
        return OFF
    return TOO_SMALL if is_too_small(frame) else f"{words_of(model_id)}, in synthetic frames"


def is_too_small(volume: Volume) -> bool:
    rows, columns = slices_of(volume).view(volume.array).shape[1:]
    return bool(min(rows, columns) < NARROWEST)
