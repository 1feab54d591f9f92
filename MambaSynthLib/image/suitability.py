"""Doubts about a source that its name and its numbers raise. They warn; nothing is refused here.

What a file states for certain, such as another modality, is refused when it is read
(``io/modality.py``). Whether an image shows what a model expects is judged by ``gate/``.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.skull import has_skull, liters, section_cm2
from MambaSynthLib.image.volume import Volume

SUFFIXES = ("T1w", "T2w", "PDw", "FLAIR", "T2starw", "T1map", "T2map", "angio", "bold", "dwi",
            "asl", "ct", "pet")  # fmt: skip
CALLED = {"t1": "T1w", "mprage": "T1w", "t2": "T2w", "pd": "PDw"}  # outside BIDS
AIR_HU = (-1050.0, -950.0)  # of air in CT, whose scale is fixed
CT_SHARE = 0.05  # of all voxels, from which on the air around a body is seen


def taken_for(source: Volume, head: NDArray[np.bool_]) -> str:
    """What a model of whole heads and brains takes ``source`` for, and how large that is.

    ``head`` (I,J,K) is where it shows something.
    """
    kind = "a whole head" if has_skull(source, head) else "a brain without its skull"
    largest, volume = section_cm2(source, head), liters(source, head)
    return f"{kind}, {largest:.0f} cm2 at its largest axial section, {volume:.1f} l in all"


def doubts(source: Volume, contrast: str) -> tuple[str, ...]:
    """Named warnings about ``source`` as an image of ``contrast``."""
    return name_doubts(source.name, contrast) + value_doubts(source)


def name_doubts(name: str, contrast: str) -> tuple[str, ...]:
    """Whether a name has the word for another contrast in it, as BIDS or others call it, and not
    the one for this.
    """
    words = {known.lower(): known for known in SUFFIXES} | CALLED
    parts = re.split(r"[_ -]", name.split(".")[0].lower())
    said = [words[part] for part in parts if part in words]
    if not said or contrast.lower() in (known.lower() for known in said):
        return ()
    return (f"contrast: the name says {said[-1]}, but the model synthesizes from {contrast}",)


def value_doubts(source: Volume) -> tuple[str, ...]:
    """Whether the values are those of CT: air at -1000."""
    low, high = AIR_HU
    slabs = source.array  # one after the other, so that no second volume is in memory
    share = sum(np.count_nonzero((slab > low) & (slab < high)) for slab in slabs) / slabs.size
    if share < CT_SHARE:
        return ()
    return (f"values: {share:.0%} of the voxels lie near -1000, as air does in CT and not in MR",)
