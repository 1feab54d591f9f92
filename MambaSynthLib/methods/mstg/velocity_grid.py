"""Images and velocities on coarse and fine grids of one box.

| shape                      | what                                                    |
|----------------------------|---------------------------------------------------------|
| (N,R,C), (3,N,R,C)         | an image, a field: slices, rows, columns                |
| (N,1,R,C), (N,2,R,C)       | the same for the fit, slice by slice                    |
| (1,1,N,R,C), (1,3,N,R,C)   | or as one volume                                        |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]

RIM = 4  # voxels of the velocity's grid over which motion ends at the rim of the box


def tensor_of(image: Array, planar: bool) -> Tensor:
    """(N,R,C) -> (N,1,R,C) slices side by side, or (1,1,N,R,C) a volume."""
    whole = torch.from_numpy(np.array(image, np.float32))
    return whole[:, None] if planar else whole[None, None]


def tensor_of_field(field: Array, planar: bool) -> Tensor:
    """(3,N,R,C) -> (N,2,R,C) or (1,3,N,R,C)."""
    whole = torch.from_numpy(np.array(field, np.float32))
    return whole[1:].transpose(0, 1) if planar else whole[None]


def array_of(x: Tensor) -> Array:
    array: Array = x.numpy()
    return array


def grid_of(shape: Sequence[int], lengths: Sequence[float], target_mm: float) -> tuple[int, ...]:
    """How many voxels of about ``target_mm``, but no smaller ones than there are."""
    return tuple(
        -(-n // max(1, round(target_mm / mm))) for n, mm in zip(shape, lengths, strict=True)
    )


def shrunk(image: Tensor, grid: Sequence[int]) -> Tensor:
    if tuple(image.shape[2:]) == tuple(grid):
        return image
    return F.interpolate(image, size=tuple(grid), mode="area")


def resized(field: Tensor, size: Sequence[int]) -> Tensor:
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


def window_of(velocity: Tensor) -> Tensor:
    """1 inside, falling to 0 at the rim of rows and columns, so that motion ends in the box."""
    window = torch.ones(())
    for size in velocity.shape[-2:]:
        from_rim = torch.minimum(torch.arange(size), torch.arange(size - 1, -1, -1))
        ramp = (from_rim / RIM).clamp(max=1.0) if size > 4 * RIM else torch.ones(size)
        window = window[..., None] * ramp
    return window
