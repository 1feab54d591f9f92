"""Deformation of volumes: warp, compose, integrate, Jacobian determinant.

A field (B,3,D,H,W) holds, for each voxel of the new image, where in the old one to look: an offset
in voxels, in the order D, H, W (a pull field). ``warp(image, field)[x] = image[x + field(x)]``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SQUARINGS = 6  # 2^6 small steps


def warp(image: Tensor, field: Tensor, padding: str = "zeros", mode: str = "bilinear") -> Tensor:
    """``image`` (B,C,D,H,W) seen through ``field`` (B,3,D,H,W), trilinear, in float32 or better.

    Outside the volume lie zeros, as in DDM (a border of one voxel fades into them), or with
    ``padding="border"`` the nearest voxel. ``mode="nearest"`` is for labels.
    """
    with torch.autocast(image.device.type, enabled=False):
        dtype = torch.promote_types(field.dtype, torch.float32)
        places = _normalized(field.to(dtype) + grid_like(field, dtype))
        return F.grid_sample(
            image.to(dtype), places, mode=mode, padding_mode=padding, align_corners=True
        )


def grid_like(field: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(1,3,D,H,W) the voxel indices of each voxel."""
    axes = [
        torch.arange(n, device=field.device, dtype=dtype or field.dtype) for n in field.shape[2:]
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def _normalized(places: Tensor) -> Tensor:
    """Voxel indices (B,3,D,H,W) -> what ``grid_sample`` wants: (B,D,H,W,3) in [-1,1], W first."""
    parts = [2 * places[:, axis] / max(n - 1, 1) - 1 for axis, n in enumerate(places.shape[2:])]
    return torch.stack(parts[::-1], dim=-1)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The field of warping with ``first`` and the result with ``second``."""
    return second + warp(first, second, padding="border")


def exponential(velocity: Tensor, squarings: int = SQUARINGS) -> Tensor:
    """The field reached after unit time in a stationary ``velocity``: scaling and squaring.

    Arsigny et al., MICCAI 2006. ``exponential(-velocity)`` is its inverse.
    """
    field = velocity / 2**squarings
    for _ in range(squarings):
        field = compose(field, field)
    return field


def jacobian_determinant(field: Tensor) -> Tensor:
    """(B,D-1,H-1,W-1) volume change of each voxel by forward differences; <= 0 where it folds."""
    rows = []
    for axis in (2, 3, 4):
        change = field.diff(dim=axis)
        rest = tuple(slice(None) if a in (0, 1, axis) else slice(0, -1) for a in range(5))
        row = change[rest].clone()
        row[:, axis - 2] += 1
        rows.append(row)  # (B,3,D-1,H-1,W-1)
    a, b, c = rows
    return (a * torch.linalg.cross(b, c, dim=1)).sum(1)
