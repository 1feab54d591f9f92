"""The velocity that carries one image to another, optimized on these two images alone.

    coarse grid --Adam--> v --finer grid--> ... --> v;  exp(v): A to B, exp(-v): B to A

| symbol | code              | shape        | meaning                                             |
|--------|-------------------|--------------|-----------------------------------------------------|
| A, B   | ``first, last``   | (N,R,C)      | two images, scaled to about [0,1]                   |
| v      | ``velocity``      | (N,2,r,c) or | stationary velocity in voxels of its own grid:      |
|        |                   | (1,3,n,r,c)  | slice by slice, or of the volume                    |
| rho    | ``charbonnier``   | -            | sqrt(x^2 + eps^2) - eps, smooth at 0, else near |x| |

    E(v) = (mean rho(A exp(v) - B) + mean rho(B exp(-v) - A)) / 2 + lambda_smooth mean |grad v|^2

Both directions belong to one velocity, so that they undo each other, and tissue does not fold
(Arsigny et al., MICCAI 2006). Gradients of v are taken in mm per mm: differences between thick
slices weigh less. Slices thicker than ``THICK_MM`` tell nothing of motion across them; it is left
out, and slices are coupled by smoothness alone. The result is a function of the inputs: nothing is
drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from MambaSynthLib.errors import Cancelled
from MambaSynthLib.methods.mstg.warp import exponential, warp

Array = NDArray[np.float32]

THICK_MM = 5.0
LEVELS_MM = (11.2, 5.6, 2.8, 1.4)  # pixel sizes from coarse to fine
SHARES = (0.27, 0.27, 0.27, 0.19)  # of the steps, by level
VELOCITY_MM = 2.8  # finest grid of the velocity in slices
VOLUME_VELOCITY_MM = 5.6  # and in a volume, where one step costs ten times as much
LEARNING_RATE = 0.2  # voxels of the velocity's grid a step
BETAS = (0.9, 0.99)
EPS = 0.02  # of the intensity range: smaller differences are noise
SQUARINGS = 5
RIM = 4  # voxels of the velocity's grid over which motion ends at the rim of the box
PATIENCE, LEAST_GAIN = 6, 5e-4  # steps of a level without this relative gain end it


@dataclass(frozen=True)
class FitSettings:
    """``steps`` of Adam at most, over all levels, and the weight of smoothness in E."""

    steps: int = 160
    lambda_smooth: float = 0.02


@dataclass(frozen=True)
class Fit:
    """``velocity`` as in the table, and what its grid is to the images' (N,R,C) of ``size``.

    ``steps``: how many were taken, of ``planned``.
    """

    velocity: Tensor
    size: tuple[int, int, int]
    steps: int
    planned: int

    @property
    def planar(self) -> bool:
        return self.velocity.ndim == 4

    def pulled(self, image: Array, share: float) -> Array:
        """(N,R,C) the image after a ``share`` of the motion; with a negative one, ``last`` on its
        way back.
        """
        moved = warp(_tensor(image, self.planar), self._field(share), "border")
        return _stack(moved[:, 0] if self.planar else moved[0, 0])

    def field(self, share: float) -> Array:
        """(3,N,R,C) how the moved image looks into the one it was, in voxels."""
        field = self._field(share)
        if not self.planar:
            return _stack(field[0])
        across = field.new_zeros(self.size)
        return _stack(torch.stack([across, field[:, 0], field[:, 1]]))

    def plus(self, other: Fit, share: float) -> Fit:
        """This velocity and a ``share`` of another one on the same grid."""
        return replace(self, velocity=self.velocity + share * other.velocity)

    def times(self, share: float) -> Fit:
        """A share of the motion."""
        return replace(self, velocity=share * self.velocity)

    @torch.no_grad()
    def _field(self, share: float) -> Tensor:
        size = self.size[1:] if self.planar else self.size
        return _resized(exponential(share * self.velocity, SQUARINGS + 1), size)


def fit_velocity(
    first: Array,
    last: Array,
    spacing: Sequence[float],
    start: Array | None = None,
    settings: FitSettings | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Fit:
    """The velocity between two images (N,R,C) with voxels of ``spacing`` mm (slice, row, column).

    ``start`` (3,N,R,C): a velocity in image voxels to begin with, None: no motion. With 0 steps the
    start comes back on the finest grid. Raises Cancelled between two steps.
    """
    settings = settings or FitSettings()
    planar = spacing[0] > THICK_MM or len(first) == 1
    axes = slice(1, 3) if planar else slice(0, 3)
    lengths = tuple(float(mm) for mm in spacing[axes])
    a, b = (_tensor(image, planar) for image in (first, last))
    shape = first.shape[axes]
    velocity = _tensor_of_field(np.zeros((3, *first.shape)) if start is None else start, planar)
    taken = 0
    ends = [round(settings.steps * part) for part in np.cumsum((0.0, *SHARES))]
    finest = VELOCITY_MM if planar else VOLUME_VELOCITY_MM
    for number, level_mm in enumerate(LEVELS_MM):
        velocity = _resized(velocity, _grid(shape, lengths, max(level_mm, finest)))
        images = [_shrunk(x, _grid(shape, lengths, level_mm)) for x in (a, b)]
        voxel = [mm * n / g for mm, n, g in zip(lengths, shape, velocity.shape[2:], strict=True)]
        level = _Level(images[0], images[1], voxel, float(spacing[0]), settings)
        for after_step in level.descend(velocity, ends[number + 1] - ends[number]):
            velocity, taken = after_step, taken + 1
            progress(taken, settings.steps)
            if cancelled():
                raise Cancelled
    progress(settings.steps, settings.steps)
    n, r, c = first.shape
    return Fit(velocity * _window(velocity), (n, r, c), taken, settings.steps)


class _Level:
    """E on one level: images and velocity on the grids of a pixel size."""

    def __init__(
        self,
        first: Tensor,
        last: Tensor,
        voxel: Sequence[float],
        slice_mm: float,
        settings: FitSettings,
    ) -> None:
        self.first, self.last, self.settings = first, last, settings
        self.voxel, self.slice_mm = voxel, slice_mm  # mm of the velocity's grid; between slices

    def descend(self, velocity: Tensor, steps: int) -> Iterator[Tensor]:
        """The velocity after each step of Adam, whose rate falls by half a cosine, until it gains
        nothing.
        """
        velocity = velocity.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([velocity], lr=LEARNING_RATE, betas=BETAS)
        best, waited = float("inf"), 0
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (0.5 + 0.5 * np.cos(np.pi * step / steps))
            energy = self.energy(velocity)
            optimizer.zero_grad()
            energy.backward()
            optimizer.step()
            yield velocity.detach()
            reached = float(energy.detach())
            waited = 0 if reached < best * (1 - LEAST_GAIN) else waited + 1
            best = min(best, reached)
            if waited >= PATIENCE:
                return

    def energy(self, velocity: Tensor) -> Tensor:
        size = self.first.shape[2:]
        there = _resized(exponential(velocity, SQUARINGS), size)
        back = _resized(exponential(-velocity, SQUARINGS), size)
        forth = charbonnier(warp(self.first, there, "border") - self.last).mean()
        home = charbonnier(warp(self.last, back, "border") - self.first).mean()
        return (forth + home) / 2 + self.settings.lambda_smooth * self.roughness(velocity)

    def roughness(self, velocity: Tensor) -> Tensor:
        """mean |grad v|^2, both in mm."""
        mm = torch.tensor(self.voxel).reshape(1, -1, *[1] * len(self.voxel))
        in_mm = velocity * mm
        total = torch.zeros(())
        for axis, length in enumerate(self.voxel):
            if velocity.shape[2 + axis] > 1:
                total = total + (in_mm.diff(dim=2 + axis) / length).square().sum(1).mean()
        if len(velocity) > 1:  # slices side by side
            total = total + (in_mm.diff(dim=0) / self.slice_mm).square().sum(1).mean()
        return total


def charbonnier(x: Tensor) -> Tensor:
    """A smooth absolute value."""
    return (x * x + EPS * EPS).sqrt() - EPS


# --- grids


def _tensor(image: Array, planar: bool) -> Tensor:
    """(N,R,C) -> (N,1,R,C) slices side by side, or (1,1,N,R,C) a volume."""
    whole = torch.from_numpy(np.array(image, np.float32))
    return whole[:, None] if planar else whole[None, None]


def _tensor_of_field(field: Array, planar: bool) -> Tensor:
    """(3,N,R,C) -> (N,2,R,C) or (1,3,N,R,C)."""
    whole = torch.from_numpy(np.array(field, np.float32))
    return whole[1:].transpose(0, 1) if planar else whole[None]


def _stack(x: Tensor) -> Array:
    array: Array = x.numpy()
    return array


def _grid(shape: Sequence[int], lengths: Sequence[float], target_mm: float) -> tuple[int, ...]:
    """How many voxels of about ``target_mm``, but no smaller ones than there are."""
    return tuple(
        -(-n // max(1, round(target_mm / mm))) for n, mm in zip(shape, lengths, strict=True)
    )


def _shrunk(image: Tensor, grid: Sequence[int]) -> Tensor:
    if tuple(image.shape[2:]) == tuple(grid):
        return image
    return F.interpolate(image, size=tuple(grid), mode="area")


def _resized(field: Tensor, size: Sequence[int]) -> Tensor:
    """A field on another grid of the same box, counted in voxels of that grid."""
    held = field.shape[2:]
    if tuple(held) == tuple(size):
        return field
    larger = [new / old for new, old in zip(size, held, strict=True)]
    scale = torch.tensor(larger, dtype=field.dtype).reshape(1, -1, *[1] * len(held))
    if max(larger) <= 1:
        return F.interpolate(field, size=tuple(size), mode="area") * scale
    mode = "bilinear" if len(held) == 2 else "trilinear"
    return F.interpolate(field, size=tuple(size), mode=mode, align_corners=False) * scale


def _window(velocity: Tensor) -> Tensor:
    """1 inside, falling to 0 at the rim of rows and columns, so that motion ends in the box."""
    window = torch.ones(())
    for size in velocity.shape[-2:]:
        from_rim = torch.minimum(torch.arange(size), torch.arange(size - 1, -1, -1))
        ramp = (from_rim / RIM).clamp(max=1.0) if size > 4 * RIM else torch.ones(size)
        window = window[..., None] * ramp
    return window
