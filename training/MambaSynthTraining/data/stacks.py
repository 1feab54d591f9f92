"""Volumes become the slices that a network is trained on, by the library's own preparation.

What the Engine shows a network for the volume of a subject, and the slices stored for it, are the
same numbers; only slices with too little tissue are left out and the canvas has one fixed size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec

Floats = NDArray[np.float32]
VISIBLE = EMPTY + 0.1  # values above are tissue
FEWEST = 5  # slices that a subject must give
MOST_CROPPED = 0.005  # share of a subject's tissue that may lie beyond the canvas


@dataclass(frozen=True)
class SliceRule:
    """Which slices are kept: those of which at least ``tissue`` of the canvas shows tissue.

    Of more than ``most`` the ``most`` consecutive ones with the most tissue; 0 keeps all.
    """

    tissue: float = 0.1
    most: int = 0


@dataclass(frozen=True)
class Stacks:
    """(n,H,W) in [-1,1] per contrast, and where along the slice axis each slice lay."""

    slices: dict[str, Floats]
    indices: dict[str, list[int]]
    notes: tuple[str, ...] = field(default=())


def cut(
    volumes: Mapping[str, Volume],
    grid: GridSpec,
    intensity: IntensitySpec,
    rule: SliceRule,
    paired: bool,
) -> Stacks:
    """The slices of one subject. Of a paired one, those where every contrast shows tissue.

    Raises
    ------
    VolumeError: nearly empty, constant, larger than the canvas, or paired on different grids.
    """
    groups = [list(volumes)] if paired else [[contrast] for contrast in volumes]
    slices: dict[str, Floats] = {}
    indices: dict[str, list[int]] = {}
    notes: tuple[str, ...] = ()
    for group in groups:
        source = volumes[group[0]]
        preparation = prepare(source, grid, intensity)
        whole = {group[0]: preparation.stack()}
        whole |= {contrast: preparation.stack_of(volumes[contrast]) for contrast in group[1:]}
        fitted = {c: _fit(stack, grid.size, source.name) for c, stack in whole.items()}
        if any(fitted[c].shape != whole[c].shape for c in group):
            notes += (f"{source.name}: background beyond {grid.size} pixels was cropped",)
        kept = _usable(list(fitted.values()), rule, source.name)
        slices |= {contrast: stack[kept] for contrast, stack in fitted.items()}
        indices |= {contrast: kept.tolist() for contrast in group}
    return Stacks(slices, indices, notes)


def _fit(stack: Floats, size: tuple[int, int], name: str) -> Floats:
    """The middle of a canvas that grew beyond ``size``; refuses to cut tissue off."""
    middle = middle_of(stack, size)
    whole, inside = np.count_nonzero(stack > VISIBLE), np.count_nonzero(middle > VISIBLE)
    if inside < (1 - MOST_CROPPED) * whole:
        raise VolumeError(
            f"{name}: {100 - 100 * inside / whole:.0f} % of its tissue lies beyond {size[0]} x "
            f"{size[1]} pixels; choose larger pixels with --spacing MM or a larger --size."
        )
    return middle


def middle_of(stack: Floats, size: tuple[int, int]) -> Floats:
    """(N,H,W) -> (N,*size), which may not be larger."""
    first = [(n - wanted) // 2 for n, wanted in zip(stack.shape[1:], size, strict=True)]
    return stack[:, first[0] : first[0] + size[0], first[1] : first[1] + size[1]]


def _usable(stacks: list[Floats], rule: SliceRule, name: str) -> NDArray[np.intp]:
    """The indices that ``rule`` keeps. Raises VolumeError where they are next to none."""
    share = np.min([(stack > VISIBLE).mean(axis=(1, 2)) for stack in stacks], axis=0)  # (N,)
    kept = np.flatnonzero(share >= rule.tissue)
    if len(kept) < FEWEST:
        raise VolumeError(
            f"{name}: is nearly empty, only {len(kept)} of its {len(share)} slices show tissue on "
            f"{100 * rule.tissue:g} % of the canvas; check the image, its registration or --tissue."
        )
    if rule.most and len(kept) > rule.most:
        window = np.convolve(share[kept], np.ones(rule.most), "valid")
        first = int(np.argmax(window))
        kept = kept[first : first + rule.most]
    return kept
