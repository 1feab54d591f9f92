"""The gate's door: lets a volume in, with what is known against it, or refuses it in a sentence.

What it has to say becomes a note of the volume, which every command shows and every provenance and
sidecar keeps; so a volume that was let in by force carries that with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from MambaSynthLib.errors import RefusedInput, RequestError
from MambaSynthLib.gate.verdict import FITS, REFUSED, examine
from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.watermark.detection import find_mark, find_mark_of_frames

BY_OPTION = "add --force"  # on the command line
ACQUIRED = "use an acquired image"


def admit(
    volume: Volume,
    contrast: str,
    *,
    forced: bool = False,
    insist: str = "",
    synthetic: bool = False,
) -> Volume:
    """``volume``, with a note where it is doubtful or let in though it was refused.

    ``insist``: how to have a refused volume all the same, for the sentence that refuses it;
    ``synthetic``: whether one that is synthetic by its voxels may come in.

    Raises
    ------
    RefusedInput: it does not show what a model of ``contrast`` expects, or is synthetic already,
        and is not ``forced``.
    """
    mark = find_mark(volume)
    if mark is not None:
        said = f"is synthetic already ({mark.sentence_without_model()})"
        if not (synthetic or forced):
            raise RefusedInput(f"{volume.name}: {said}; {ACQUIRED}{_or(insist)}.")
        volume = _with_note(volume, f"synthetic source: {said}")
    verdict = examine(volume, contrast)
    if verdict.answer == FITS:
        return volume
    if verdict.answer != REFUSED:
        return _with_note(volume, f"gate, doubtful: {verdict.sentence()}")
    if not forced:
        raise RefusedInput(f"{volume.name}: {verdict.sentence()}{_or(insist)}.")
    return _with_note(volume, f"gate, refused but forced: {verdict.sentence()}")


def admit_all(
    sources: Mapping[str, Volume],
    *,
    forced: bool = False,
    insist: str = "",
    synthetic: bool = False,
) -> dict[str, Volume]:
    """``admit`` for every contrast of ``sources``."""
    how: dict[str, Any] = {"forced": forced, "insist": insist, "synthetic": synthetic}
    return {contrast: admit(volume, contrast, **how) for contrast, volume in sources.items()}


def admit_cine(cine: Cine, *, synthetic: bool = False, insist: str = "") -> Cine:
    """``cine``, unless its voxels say that frames of it are synthetic; with a note where such a one
    is let in as ``synthetic``. What it shows is not judged.

    Raises RequestError.
    """
    mark = find_mark_of_frames(cine.frames)
    if mark is None:
        return cine
    said = f"holds synthetic frames already ({mark.sentence_without_model()})"
    if not synthetic:
        raise RequestError(f"{cine.name}: {said}; use an acquired cine{_or(insist)}.")
    return replace(cine, notes=(*cine.notes, f"synthetic source: {said}"))


def _or(insist: str) -> str:
    return f", or {insist}" if insist else ""


def _with_note(volume: Volume, note: str) -> Volume:
    return replace(volume, notes=(*volume.notes, note))
