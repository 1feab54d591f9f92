"""Whether a volume shows a head or a brain without its skull.

    volume, head --sections below the vertex--> layers of 2 mm, from the air inwards --medians-->
    brightness by depth: of a head scalp, bone and brain, bright, dark and bright again

Bone is dark in every contrast, scalp and brain are not. A brain's own layers get brighter or darker
inwards, but not both. The upper part of a head, or a child's head, may have the size of a brain;
where fat is suppressed and no scalp is seen, size decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.head import block_means, dilated
from MambaSynthLib.image.volume import Volume

LAYER_MM = 2.0
LAYERS = 13  # which reach through the thickest scalp and bone
VERTEX_MM, BELOW_MM = 20, 80  # from the vertex down: sections that cross the vault steeply
FEWEST = 50  # pixels of a layer, in all sections, whose median tells something
BONE = 0.18  # how much darker bone is than what lies above and below: brains 0.11, heads 0.24
LARGEST_BRAIN_CM2 = 225.0  # largest axial section from which on there is a skull around it
LARGEST_BRAIN_L = 2.25  # volume from which on there is

Mask = NDArray[np.bool_]


def has_skull(source: Volume, head: Mask) -> bool:
    """Whether ``source`` is a whole head, or a part of one; ``head`` (I,J,K) is where it shows
    something.

    Brains measure 1.1 to 2.1 l, and 145 to 218 cm2 at the largest axial section, in the volumes
    that were looked at; adults' heads 2.4 l and more, and 215 to 305 cm2.
    """
    if _darker_within(_brightness_by_depth(source, head)) > BONE:
        return True
    return liters(source, head) > LARGEST_BRAIN_L or section_cm2(source, head) > LARGEST_BRAIN_CM2


def liters(source: Volume, head: Mask) -> float:
    """What ``head`` holds."""
    return float(np.count_nonzero(head) * np.prod(source.spacing) / 1e6)


def section_cm2(source: Volume, head: Mask) -> float:
    """The largest axial section of ``head``."""
    turn = Reorientation.between(source.affine, "LPS")
    pixel = float(np.prod(source.spacing[list(turn.order)][1:]))
    return float(turn.view(head).sum(axis=(1, 2)).max() * pixel / 100)


def _brightness_by_depth(source: Volume, head: Mask) -> list[float]:
    """Medians of the layers of the head, above that of the air; of those that can be seen."""
    turn = Reorientation.between(source.affine, "LPS")
    upward = turn.order[0]
    factors = [max(1, round(LAYER_MM / edge)) for edge in source.spacing]
    factors[upward] = 1
    array = turn.view(block_means(source.array, factors))
    outside = turn.view(block_means(head.astype(np.float32), factors)) <= 0.5
    shown = np.flatnonzero(~outside.all(axis=(1, 2)))
    if not len(shown):
        return []
    mm = source.spacing[upward]
    first = max(int(shown[0]), int(shown[-1]) - round(BELOW_MM / mm))
    chosen = slice(first, max(first, int(shown[-1]) - round(VERTEX_MM / mm)) + 1)
    array, outside = array[chosen], outside[chosen]
    air = float(np.median(array[outside])) if outside.any() else 0.0
    medians = []
    for depth in range(LAYERS):
        reached = _grown(outside, diagonally=depth % 2 == 1)
        layer = array[reached & ~outside]
        if len(layer) >= FEWEST:
            medians.append(float(np.median(layer)) - air)
        outside = reached
    return medians


def _grown(mask: Mask, diagonally: bool) -> Mask:
    """By a pixel within its sections: by turns a diamond and a square make an octagon."""
    rows = dilated(mask, [0, 1, 0])
    return dilated(rows, [0, 0, 1]) if diagonally else rows | dilated(mask, [0, 0, 1])


def _darker_within(medians: list[float]) -> float:
    """How much darker a layer is than the brightest one above and below it, the darker of the two;
    1 is black, and 0 says that the layers get brighter, or darker, all the way.
    """
    found = 0.0
    for n in range(1, len(medians) - 1):
        around = min(max(medians[:n]), max(medians[n + 1 :]))
        if around > 0:
            found = max(found, 1 - medians[n] / around)
    return found
