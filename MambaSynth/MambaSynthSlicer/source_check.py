"""What goes in, told below the selector before the click: contrast, head or brain, doubts.

The same words that the result's warnings would have, by the library's own rules. Looking at a whole
volume takes a moment, so each state of a volume is looked at once, when it has come to rest.
"""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError
from MambaSynthLib.image.head import air_around
from MambaSynthLib.image.suitability import doubts, taken_for

from . import mrml

MOST_VOXELS = 40e6  # beyond, the look would take seconds


class SourceCheck:
    """Remembers the latest answer; ``look`` takes the moment, ``known`` does not."""

    def __init__(self) -> None:
        self._asked: tuple[Any, ...] | None = None
        self._told = ""

    def known(self, node: Any, contrast: str) -> str | None:
        """One or two sentences of a node as a source of ``contrast``; None: not looked at yet."""
        reason = "" if node is None else mrml.refusal(node)
        if reason is not None:
            return reason
        return self._told if self._asked == stateOf(node, contrast) else None

    def look(self, node: Any, contrast: str) -> None:
        if self.known(node, contrast) is None:
            self._asked, self._told = stateOf(node, contrast), looked(node, contrast)


def stateOf(node: Any, contrast: str) -> tuple[Any, ...]:
    return node.GetID(), node.GetName(), mrml.fingerprint(node), contrast


def looked(node: Any, contrast: str) -> str:
    if node.GetImageData().GetNumberOfPoints() > MOST_VOXELS:
        return _("A large volume: it is looked at during the synthesis.")
    volume = mrml.readVolume(node)
    found = [sentence(text) for text in doubts(volume, contrast)]
    try:
        seen = taken_for(volume, ~air_around(volume))
        found.append(_("Taken for {what}.").format(what=seen))
    except MambaSynthError as error:  # a constant volume
        found.append(str(error))
    return " ".join(found)


def sentence(note: str) -> str:
    """``contrast: the name says FLAIR`` -> ``The name says FLAIR.``"""
    words = note.partition(": ")[2] or note
    return words[:1].upper() + words[1:].rstrip(".") + "."
