"""What becomes of an image that was made, in one place: marked, looked at again, and recorded."""

from __future__ import annotations

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.watermark.detection import NARROWEST, find_mark
from MambaSynthLib.watermark.embedding import slices_of, with_mark
from MambaSynthLib.watermark.pattern import code_of

OFF = "off, as asked for"
TOO_SMALL = f"none: slices of fewer than {NARROWEST} x {NARROWEST} pixels hold too little"


def words_of(model_id: str) -> str:
    """What a record says of a marked image."""
    return f"spread spectrum 1, code {code_of(model_id):06x}"


def mark(volume: Volume, model_id: str, *, wanted: bool = True) -> tuple[Volume, str]:
    """The volume with its mark, and what to record about it.

    Not ``wanted``, or where a slice is too small, the same volume.
    """
    if not wanted:
        return volume, OFF
    if is_too_small(volume):
        return volume, TOO_SMALL
    marked, words = with_mark(volume, model_id), words_of(model_id)
    if find_mark(marked, thorough=False) is None:
        words += ", but the image has too little texture for it to be found again"
    return marked, words


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
