"""A volume becomes a stack of network slices, and a synthesized stack becomes a volume again.

    Volume --reorient--> (N,H,W) --resample in plane--> --canvas--> --scale--> [-1,1]
    Volume <--reorient-- (N,H,W) <--resample in plane-- <--canvas-- <--scale-- [-1,1]

The synthetic volume has the source's grid to the bit: the affine is never recomputed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.grid import Canvas, InPlaneResampling, Reorientation
from MambaSynthLib.image.head import air_around
from MambaSynthLib.image.intensity import (
    EMPTY,
    Scaling,
    background,
    median_scaling,
    percentile_scaling,
    zscore_scaling,
)
from MambaSynthLib.image.neighbors import neighbors_of
from MambaSynthLib.image.tone import Toned
from MambaSynthLib.image.volume import AXIS_LETTERS, Volume, check_finite, check_same_grid

SMALLEST = 4  # pixels per row or column that a slice must have
LARGEST = 4096  # pixels per row or column that a network can be given

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class GridSpec:
    """The grid a network was trained on."""

    axis_codes: str  # columns, rows, slices: 'LPS' is the radiological view of axial slices
    in_plane_spacing_mm: float | None  # None: the volume's own pixels
    size: tuple[int, int]  # smallest canvas, rows x columns
    multiple: int = 4  # of which the canvas's rows and columns are made
    in_plane_tolerance: float = 0.0  # pixels that differ by up to this share are taken as they are
    planes: str = "one"  # that the network has learned: the one of axis_codes, or 'all'


@dataclass(frozen=True)
class IntensitySpec:
    """How intensities enter and leave the network."""

    rule: str  # 'percentile', 'zscore' or 'median'
    upper_percentile: float
    target_range: tuple[float, float]  # what the network's -1 and +1 mean in the synthetic volume
    white_over_gray: float = 0.0  # that sources are brought to, see tone.py; 0: as they are


@dataclass(frozen=True)
class Preparation:
    """The way of a volume, or of several on one grid, to the network and back. See ``prepare``.

    others: the further source volumes, each with its own scaling.
    """

    volume: Volume
    intensity: IntensitySpec
    empty: NDArray[np.bool_]  # (I,J,K) background, see intensity.background
    reorientation: Reorientation
    resampling: InPlaneResampling
    canvas: Canvas
    scaling: Scaling
    others: tuple[tuple[Volume, Scaling], ...] = ()

    def stack(self) -> Floats:
        """(N,H,W) in [-1,1]: the source as the network sees it."""
        return self.slices(np.arange(self.count))

    def slices(self, chosen: Indices) -> Floats:
        """(n,H,W) in [-1,1]: the n chosen slices of ``stack``, made without the others."""
        return self._to_network(self.volume.array, self.scaling, chosen)

    def sources(self, chosen: Indices) -> Floats:
        """(n,S,H,W) in [-1,1]: the chosen slices of all S volumes."""
        others = [self._to_network(v.array, scaling, chosen) for v, scaling in self.others]
        return np.stack([self.slices(chosen), *others], axis=1)

    def neighbors(self, chosen: Indices, r: int) -> Floats:
        """(n,2rS,H,W) in [-1,1]: the slices around each chosen one, see ``neighbors_of``; those of
        the first volume come first.
        """
        around = neighbors_of(chosen, r, 0, self.count - 1)
        needed, places = np.unique(around, return_inverse=True)
        found = self.sources(needed)[places.reshape(around.shape)]  # (n,2r,S,H,W)
        return found.swapaxes(1, 2).reshape(len(chosen), -1, *found.shape[3:])

    def stack_of(self, registered: Volume, scaling: Scaling | None = None) -> Floats:
        """(N,H,W) in [-1,1]: another volume of the same grid, such as the acquired target.

        It is scaled by its own intensities, where no other ``scaling`` is given. Raises VolumeError
        when it lies on another grid.
        """
        check_same_grid(registered, self.volume)
        scaling = scaling or scaling_of(registered, self.intensity)
        return self._to_network(registered.array, scaling, np.arange(self.count))

    def _to_network(self, array: Floats, scaling: Scaling, chosen: Indices) -> Floats:
        scaled = np.clip(scaling.apply(self.reorientation.view(array)[chosen]), -1, 1)
        slices = np.where(self._empty(chosen), np.float32(EMPTY), scaled)
        return self.canvas.apply(self.resampling.apply(slices), EMPTY)

    @property
    def count(self) -> int:
        """N, the number of slices."""
        return self.volume.shape[self.reorientation.order[0]]

    @property
    def slice_mm(self) -> float:
        """From one slice to the next."""
        return float(self.volume.spacing[self.reorientation.order[0]])

    @property
    def sagittal(self) -> bool:
        """Whether the slices follow each other from one side of the patient to the other."""
        return self.volume.axis_codes[self.reorientation.order[0]] in AXIS_LETTERS[0]

    def cut(self, grid: GridSpec) -> Preparation:
        """The way of the same volumes to ``grid``. Raises VolumeError as ``prepare`` does."""
        turn, resampling = _turned(self.volume, grid)
        canvas = _canvas(grid, self.empty, turn, resampling)
        return replace(self, reorientation=turn, resampling=resampling, canvas=canvas)

    def tissue_slices(self) -> NDArray[np.bool_]:
        """(N,) which slices hold anything but background."""
        holds: NDArray[np.bool_] = ~np.all(self.reorientation.view(self.empty), axis=(1, 2))
        return holds

    def blank(self, scaling: Scaling) -> Floats:
        """(I,J,K) background everywhere, in the unit of ``scaling``; to be filled by ``write``."""
        return np.full(self.volume.shape, scaling.undo(np.full((), EMPTY, np.float32)))

    def write(self, array: Floats, chosen: Indices, slices: Floats, scaling: Scaling) -> None:
        """Put n slices (n,H,W) from the network to their place in ``array`` (I,J,K).

        Values beyond [-1,1], which no training image has, are clamped. ``scaling`` gives them
        their unit: the target's, or the source's own to undo ``slices``.
        """
        placed = self.resampling.undo(self.canvas.undo(np.clip(slices, -1, 1), EMPTY))
        placed = np.where(self._empty(chosen), np.float32(EMPTY), placed)
        self.reorientation.view(array)[chosen] = scaling.undo(placed)

    def _empty(self, chosen: Indices) -> NDArray[np.bool_]:
        """(n,rows,columns) background of the chosen slices, before resampling."""
        return self.reorientation.view(self.empty)[chosen]


def prepare(
    volume: Volume, grid: GridSpec, intensity: IntensitySpec, *others: Volume
) -> Preparation:
    """Plan the way of ``volume`` to a network trained on ``grid`` and ``intensity``.

    Background is what is background in all ``others``, too.

    Raises
    ------
    VolumeError: a volume is constant, holds NaN, or has slices of too few or too many pixels; or
        one of the ``others`` lies on another grid.
    """
    volumes = (volume, *others)
    for each in volumes:
        check_finite(each)
        check_same_grid(each, volume)
    turned = _turned(volume, grid)
    scaling, *more = (_of_source(each, intensity) for each in volumes)
    empty = np.logical_and.reduce([empty_in(each, intensity) for each in volumes])
    pairs = tuple(zip(others, more, strict=True))
    canvas = _canvas(grid, empty, *turned)
    return Preparation(volume, intensity, empty, *turned, canvas, scaling, pairs)


def _turned(volume: Volume, grid: GridSpec) -> tuple[Reorientation, InPlaneResampling]:
    """To the grid's slices and its pixels. Raises VolumeError: too few or too many of those."""
    reorientation = Reorientation.between(volume.affine, grid.axis_codes)
    spacing = volume.spacing[list(reorientation.order)]
    rows, columns = (volume.shape[axis] for axis in reorientation.order[1:])
    resampling = InPlaneResampling.between(
        (rows, columns), spacing[1:], grid.in_plane_spacing_mm, grid.in_plane_tolerance
    )
    _check_sizes(resampling, volume.name)
    return reorientation, resampling


def _canvas(
    grid: GridSpec,
    empty: NDArray[np.bool_],
    reorientation: Reorientation,
    resampling: InPlaneResampling,
) -> Canvas:
    """Around all that is not ``empty`` (I,J,K)."""
    tissue = np.any(reorientation.apply(~empty), axis=0, keepdims=True)  # (1,H,W)
    content = resampling.apply(tissue.astype(np.float32))[0] > 0
    return Canvas.around(content, grid.size, grid.multiple, spare=int(grid.planes == "all"))


def empty_in(volume: Volume, intensity: IntensitySpec) -> NDArray[np.bool_]:
    """(I,J,K) where there is nothing of the head."""
    return air_around(volume) if intensity.rule == "median" else background(volume.array)


def _check_sizes(resampling: InPlaneResampling, name: str) -> None:
    """Before the network's memory is filled with what a header claims."""
    rows, columns = resampling.source_size
    if min(rows, columns) < SMALLEST:
        raise VolumeError(
            f"{name}: its slices are {rows} x {columns} pixels, too small to show anatomy; at "
            f"least {SMALLEST} x {SMALLEST} are needed."
        )
    rows, columns = resampling.target_size
    if max(rows, columns) > LARGEST:
        raise VolumeError(
            f"{name}: its slices would become {rows} x {columns} pixels for this model, more than "
            f"{LARGEST} a side; check the voxel size or crop the image."
        )


def _of_source(volume: Volume, intensity: IntensitySpec) -> Scaling:
    """As ``scaling_of``, bent where the card asks for it."""
    if intensity.white_over_gray:
        return Toned.of(volume, intensity.white_over_gray)
    return scaling_of(volume, intensity)


def scaling_of(volume: Volume, intensity: IntensitySpec) -> Scaling:
    """The linear map of a volume's intensities that the card's rule asks for."""
    if intensity.rule == "median":
        return median_scaling(volume)
    if intensity.rule == "zscore":
        return zscore_scaling(volume.array, volume.name)
    return percentile_scaling(volume.array, intensity.upper_percentile, volume.name)
