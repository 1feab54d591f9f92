"""The velocity that carries one image to another, optimized on these two images alone.

    coarse grid --Adam--> v --finer grid--> ... --> v;  exp(v): A to B, exp(-v): B to A

| symbol | code              | shape        | meaning                                             |
|--------|-------------------|--------------|-----------------------------------------------------|
| A, B   | ``first, last``   | (N,R,C)      | two images, scaled to about [0,1]                   |
| v      | ``velocity``      | (N,2,r,c) or | stationary velocity in voxels of its own grid:      |
|        |                   | (1,3,n,r,c)  | slice by slice, or of the volume                    |
| rho    | ``charbonnier``   | -            | sqrt(x^2 + eps^2) - eps, smooth at 0, else near |x| |

    E(v) = (mean rho(A exp(v) - B) + mean rho(B exp(-v) - A)) / 2 + lambda_smooth mean |grad v|^2
           + lambda_fold mean max(0, J_min - det D exp(+-v))^2

Both directions belong to one velocity, so that they undo each other, and tissue does not fold
(Arsigny et al., MICCAI 2006). Gradients of v are taken in mm per mm: differences between thick
slices weigh less. Slices thicker than ``THICK_MM`` tell nothing of motion across them; it is left
out, and slices are coupled by smoothness alone. The result is a function of the inputs: nothing is
drawn at random.

Smoothness that finds the right motion is too stiff for its details. So in slices a last stage,
``POLISH``, lets go of most of it; what keeps tissue from folding there is lambda_fold. With so
little smoothness from the start, more of B is explained too, but by motion that makes the frames
between worse: tissue that comes from beside the slice is drawn out of thin lines. ``loosen`` goes
on with nearly none of it, for a stack whose wall thickens more than the stiff motion could follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MambaSynthLib.errors import Cancelled
from MambaSynthLib.methods.mstg.velocity_grid import (
    array_of,
    grid_of,
    resized,
    shrunk,
    tensor_of,
    tensor_of_field,
    window_of,
)
from MambaSynthLib.methods.mstg.warp import exponential, warp

Array = NDArray[np.float32]

THICK_MM = 5.0
VELOCITY_MM = 1.4  # finest grid of the velocity in slices
VOLUME_VELOCITY_MM = 5.6  # and in a volume, where one step costs ten times as much
LEARNING_RATE = 0.2  # voxels of the velocity's grid a step
BETAS = (0.9, 0.99)
EPS = 0.02  # of the intensity range: smaller differences are noise
J_MIN = 0.1  # area ratio below which lambda_fold counts
SQUARINGS = 5
PATIENCE, LEAST_GAIN = 6, 5e-4  # steps of a level without this relative gain end it


@dataclass(frozen=True)
class Stage:
    """A pixel size, its share of the steps, and what differs in E: ``softness`` is a factor of
    lambda_smooth. It ends after ``patience`` steps that gain too little.
    """

    level_mm: float
    share: float
    eps: float = EPS
    softness: float = 1.0
    lambda_fold: float = 0.0
    j_min: float = J_MIN
    patience: int = PATIENCE


STAGES = (Stage(11.2, 0.27), Stage(5.6, 0.27), Stage(2.8, 0.27), Stage(1.4, 0.19))
POLISH = Stage(1.4, 0.2, eps=0.05, softness=0.5, lambda_fold=10.0)
LOOSE = Stage(1.4, 0.5, eps=0.05, softness=0.02, lambda_fold=10.0, j_min=0.05, patience=40)


@dataclass(frozen=True)
class FitSettings:
    """``steps`` of Adam at most, over all stages, and the weight of smoothness in E.

    ``far_apart``: the motion is large, as from ED to ES; see ``motion.py``.
    """

    steps: int = 160
    lambda_smooth: float = 0.02
    far_apart: bool = False

    @property
    def further_steps(self) -> int:
        """Of ``loosen``."""
        return round(LOOSE.share * self.steps)

    def stages(self, planar: bool) -> tuple[Stage, ...]:
        """Of slices, or of a volume, which is not polished."""
        if not planar:
            return STAGES
        return (*(replace(s, share=s.share * (1 - POLISH.share)) for s in STAGES), POLISH)


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
        moved = warp(tensor_of(image, self.planar), self._field(share), "border")
        return array_of(moved[:, 0] if self.planar else moved[0, 0])

    def field(self, share: float) -> Array:
        """(3,N,R,C) how the moved image looks into the one it was, in voxels."""
        field = self._field(share)
        if not self.planar:
            return array_of(field[0])
        across = field.new_zeros(self.size)
        return array_of(torch.stack([across, field[:, 0], field[:, 1]]))

    def plus(self, other: Fit, share: float) -> Fit:
        """This velocity and a ``share`` of another one on the same grid."""
        return replace(self, velocity=self.velocity + share * other.velocity)

    def times(self, share: float) -> Fit:
        """A share of the motion."""
        return replace(self, velocity=share * self.velocity)

    @torch.no_grad()
    def _field(self, share: float) -> Tensor:
        size = self.size[1:] if self.planar else self.size
        return resized(exponential(share * self.velocity, SQUARINGS + 1), size)


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
    a, b = (tensor_of(image, planar) for image in (first, last))
    shape = first.shape[axes]
    velocity = tensor_of_field(np.zeros((3, *first.shape)) if start is None else start, planar)
    taken = 0
    stages = settings.stages(planar)
    shares = [stage.share for stage in stages]
    ends = [round(settings.steps * part) for part in np.cumsum((0.0, *shares))]
    finest = VELOCITY_MM if planar else VOLUME_VELOCITY_MM
    for number, stage in enumerate(stages):
        velocity = resized(velocity, grid_of(shape, lengths, max(stage.level_mm, finest)))
        level = _level(a, b, velocity, spacing, settings, stage)
        for after_step in level.descend(velocity, ends[number + 1] - ends[number]):
            velocity, taken = after_step, taken + 1
            progress(taken, settings.steps)
            if cancelled():
                raise Cancelled
    progress(settings.steps, settings.steps)
    n, r, c = first.shape
    return Fit(velocity * window_of(velocity), (n, r, c), taken, settings.steps)


def loosen(
    fit: Fit,
    first: Array,
    last: Array,
    spacing: Sequence[float],
    settings: FitSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Fit:
    """The fit of a stack's slices after ``further_steps`` at most of the stage ``LOOSE``.

    The other arguments are those of ``fit_velocity``. Raises Cancelled between two steps.
    """
    a, b = (tensor_of(image, True) for image in (first, last))
    velocity, taken, most = fit.velocity, 0, settings.further_steps
    level = _level(a, b, velocity, spacing, settings, LOOSE)
    for after_step in level.descend(velocity, most):
        velocity, taken = after_step, taken + 1
        progress(taken, most)
        if cancelled():
            raise Cancelled
    velocity = velocity * window_of(velocity)
    return Fit(velocity, fit.size, fit.steps + taken, fit.planned + most)


def _level(
    first: Tensor,
    last: Tensor,
    velocity: Tensor,
    spacing: Sequence[float],
    settings: FitSettings,
    stage: Stage,
) -> _Level:
    """Both images on the grid of a stage, and the size of the velocity's voxels."""
    shape = tuple(first.shape[2:])
    lengths = tuple(float(mm) for mm in spacing[3 - len(shape) :])
    images = [shrunk(x, grid_of(shape, lengths, stage.level_mm)) for x in (first, last)]
    voxel = [mm * n / g for mm, n, g in zip(lengths, shape, velocity.shape[2:], strict=True)]
    return _Level(images[0], images[1], voxel, float(spacing[0]), settings, stage)


class _Level:
    """E in one stage: images and velocity on the grids of a pixel size."""

    def __init__(
        self,
        first: Tensor,
        last: Tensor,
        voxel: Sequence[float],
        slice_mm: float,
        settings: FitSettings,
        stage: Stage,
    ) -> None:
        self.first, self.last, self.stage = first, last, stage
        self.lambda_smooth = stage.softness * settings.lambda_smooth
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
            if waited >= self.stage.patience:
                return

    def energy(self, velocity: Tensor) -> Tensor:
        size, eps = self.first.shape[2:], self.stage.eps
        there, back = (exponential(sign * velocity, SQUARINGS) for sign in (1, -1))
        forth = charbonnier(warp(self.first, resized(there, size), "border") - self.last, eps)
        home = charbonnier(warp(self.last, resized(back, size), "border") - self.first, eps)
        energy = (forth.mean() + home.mean()) / 2 + self.lambda_smooth * self.roughness(velocity)
        if self.stage.lambda_fold:
            narrow = narrowness(there, self.stage.j_min) + narrowness(back, self.stage.j_min)
            energy = energy + self.stage.lambda_fold * narrow / 2
        return energy

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


def charbonnier(x: Tensor, eps: float) -> Tensor:
    """A smooth absolute value."""
    return (x * x + eps * eps).sqrt() - eps


def narrowness(field: Tensor, j_min: float = J_MIN) -> Tensor:
    """mean max(0, J_min - det)^2 of a field (N,2,R,C) in its own voxels, by forward differences."""
    down, right = field.diff(dim=2)[..., :-1], field.diff(dim=3)[:, :, :-1]
    determinant = (1 + down[:, 0]) * (1 + right[:, 1]) - down[:, 1] * right[:, 0]
    return (j_min - determinant).clamp(min=0).square().mean()
