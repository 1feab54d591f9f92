"""The gate's door: lets a volume in, with what is known against it, or refuses it in a sentence.

What it has to say becomes a note of the volume, which every command shows and every provenance and
sidecar keeps; so a volume that was let in by force carries that with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from MambaSynthLib.errors import RefusedInput
from MambaSynthLib.gate.verdict import FITS, REFUSED, examine
from MambaSynthLib.image.volume import Volume

BY_OPTION = "add --force"  # on the command line


def admit(volume: Volume, contrast: str, *, forced: bool = False, insist: str = "") -> Volume:
    """``volume``, with a note where it is doubtful or let in though it was refused.

    ``insist``: how to have a refused volume all the same, for the sentence that refuses it.

    Raises
    ------
    RefusedInput: it does not show what a model of ``contrast`` expects, and is not ``forced``.
    """
    verdict = examine(volume, contrast)
    if verdict.answer == FITS:
        return volume
    if verdict.answer != REFUSED:
        return _with_note(volume, f"gate, doubtful: {verdict.sentence()}")
    if not forced:
        remedy = f", or {insist}" if insist else ""
        raise RefusedInput(f"{volume.name}: {verdict.sentence()}{remedy}.")
    return _with_note(volume, f"gate, refused but forced: {verdict.sentence()}")


def admit_all(
    sources: Mapping[str, Volume], *, forced: bool = False, insist: str = ""
) -> dict[str, Volume]:
    """``admit`` for every contrast of ``sources``."""
    return {c: admit(volume, c, forced=forced, insist=insist) for c, volume in sources.items()}


def _with_note(volume: Volume, note: str) -> Volume:
    return replace(volume, notes=(*volume.notes, note))
