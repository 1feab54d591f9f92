"""A mask model, loaded once, and volumes in: where their brain is, and where their head.

V --Placing--> cubes --scaled, padded--> network --> probabilities --largest part, holes filled-->
  --linear, back to the voxels--> > 1/2
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.backends import PREFERRED, choose_backend, installed_backends
from MambaSynthLib.errors import ModelError, VolumeError
from MambaSynthLib.image.head import dilated
from MambaSynthLib.image.intensity import connected, connected_to_border
from MambaSynthLib.image.volume import Volume, check_finite
from MambaSynthLib.mask.placing import AIR, Placing, scaled
from MambaSynthLib.methods import METHODS
from MambaSynthLib.model.card import MaskCard
from MambaSynthLib.model.package import ModelPackage
from MambaSynthLib.provenance import Place

LIGHT = "onnxruntime"  # loaded in a tenth of torch's time
BRIDGE_MM = 18.0  # thinner connections are none: the brain stem is thicker, the cord is not
MOST_OF_IT = 0.6
WHOLE = 0.8  # of a head's volume, from which on the brain is all there is

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Masks:
    """Brain and head of a volume, 1 and 0 on its grid, and their volumes in ml."""

    brain: Volume
    head: Volume

    def milliliters(self, kind: str) -> float:
        volume: Volume = getattr(self, kind)
        return float(volume.array.sum(dtype=np.float64) * np.prod(volume.spacing) / 1000)

    @property
    def shows(self) -> str:
        """What the volume shows."""
        stripped = self.milliliters("brain") > WHOLE * self.milliliters("head")
        return "a brain without its skull" if stripped else "a whole head"


class MaskEngine:
    """Finds brains and heads with one model package.

    Raises ModelError when the package is damaged or makes no masks, RequestError when the device or
    the backend is not here.
    """

    def __init__(self, package: ModelPackage, device: str = "auto", backend: str = "auto") -> None:
        if not isinstance(package.card, MaskCard):
            raise ModelError(
                f"the model {package.card.id} synthesizes {package.card.direction}, no masks; "
                "choose another with 'mambasynth models list'."
            )
        self.package, self.card = package, package.card
        if backend == "auto" and not os.environ.get(PREFERRED) and LIGHT in installed_backends():
            backend = LIGHT
        runtime = choose_backend(backend, device)
        self.backend = runtime.NAME
        self._network = runtime.load_network(package, runtime.choose_device(device))
        self._probabilities = METHODS[self.card.method].part("synthesis").probabilities

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the network computes."""
        return self._network.places

    def find(self, volume: Volume) -> Masks:
        """Both masks. Raises VolumeError for a volume that is constant, holds NaN, or shows no
        brain.
        """
        check_finite(volume)
        placing = Placing.of(volume, self.card.grid.spacing_mm, self.card.config.multiple)
        cubes = placing.pad(scaled(placing.apply(volume.array), volume.name), AIR)
        brain, head = self._probabilities(self._network, cubes)
        brain = _one_part(brain, BRIDGE_MM, self.card.grid.spacing_mm)
        head = _one_part(np.maximum(brain, head))
        found = [placing.undo(share) > 0.5 for share in (brain, head)]
        if not found[0].any():
            raise VolumeError(
                f"{volume.name}: no brain was found in it; give a T1w, T2w or FLAIR volume of a "
                "head whose orientation and voxel size are right."
            )
        names = (f"{kind} of {volume.name}" for kind in ("brain", "head"))
        return Masks(*(volume.with_array(m, name) for m, name in zip(found, names, strict=True)))


def _one_part(share: Floats, bridge_mm: float = 0.0, edge_mm: float = 1.0) -> Floats:
    """Nothing but the largest connected part, and no holes in it. (D,H,W) from 0 to 1.

    What hangs on it by less than ``bridge_mm``, such as muscles of the neck on the cord, is another
    part.
    """
    whole = _largest(_filled(share > 0.5))
    part = _largest(_without_bridges(whole, round(bridge_mm / edge_mm / 2)))
    near = dilated(part, [1, 1, 1])  # the border between two cubes lies in the outer one
    holes = part & (share <= 0.5)
    return np.where(holes, np.float32(1), np.where(near, share, np.float32(0)))


def _filled(mask: Mask) -> Mask:
    return ~connected_to_border(~mask)


def _without_bridges(mask: Mask, radius: int) -> Mask:
    """What lies near the largest part that is thicker than twice the radius. Where that would be
    less than ``MOST_OF_IT``, as of a slab through both temporal lobes, a smaller radius is taken.
    """
    for cubes in range(radius, 0, -1):
        core = ~dilated(~mask, 3 * [cubes])
        kept = dilated(_largest(core), 3 * [cubes + 1]) & mask
        if np.count_nonzero(kept) > MOST_OF_IT * np.count_nonzero(mask):
            return kept
    return mask


def _largest(mask: Mask) -> Mask:
    """The largest part whose voxels are connected by their faces."""
    best, left = np.zeros_like(mask), mask.copy()
    while np.count_nonzero(left) > np.count_nonzero(best):
        seed = np.zeros_like(mask)
        seed.flat[int(np.flatnonzero(left)[np.count_nonzero(left) // 2])] = True
        part = connected(left, seed)
        left &= ~part
        best = max(best, part, key=np.count_nonzero)
    return best
