"""The planes in which a volume is cut to slices, and in which of them it is synthesized.

Each is drawn as a radiologist sees it: rows grow towards the back in axial slices and towards the
feet in the others, columns towards the patient's left, or the back in sagittal slices.

A network that has learned all planes synthesizes a volume of thin voxels three times; what the
three say of a voxel is averaged, see ``Targets.add``; of a head near its brain, see
``mask/nearness.py``. Thick slices are taken as they were acquired.
"""

from __future__ import annotations

import numpy as np

from MambaSynthLib.image.volume import AXIS_LETTERS, Volume

PLANES = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}  # columns, rows, slices
CHOICES = ("auto", "one", "all")
THIN_MM = 2.0  # up to which slices are thin: cut otherwise, they still show anatomy
THICK = 1.5  # times the pixels, from which on a slice is thick
SLAB_MM = 80.0  # narrower than that, a volume is a slab, and other cuts of it are strips


def planes_for(volume: Volume, choice: str) -> tuple[str, ...]:
    """The planes to cut ``volume`` in, by name.

    ``auto``: all, where its voxels are thin in every direction and it is no slab, else its own;
    ``one``: its own; ``all``: all. Its own is the one it was acquired in, if thick slices tell;
    else the axial one.
    """
    *_, second, largest = np.sort(volume.spacing)
    thin = largest <= THIN_MM
    slab = np.min(volume.spacing * volume.shape) < SLAB_MM
    if choice == "all" or (choice == "auto" and thin and not slab):
        return tuple(PLANES)
    if thin or largest < THICK * second:
        return ("axial",)
    return (plane_across(volume.axis_codes[int(volume.spacing.argmax())]),)


def plane_across(letter: str) -> str:
    """The name of the plane whose slices follow each other towards that side of the patient."""
    pair = next(pair for pair in AXIS_LETTERS if letter in pair)
    return next(name for name, codes in PLANES.items() if codes[2] in pair)
