"""The head around a brain: fluid, skull, scalp, face, eyes and sinuses, as fractions of voxels.

| code       | unit | meaning                                                             |
|------------|------|---------------------------------------------------------------------|
| ``beyond`` | mm   | distance from the brain, its fissures closed; negative inside       |
| ``depth``  | mm   | distance from the surface of the head; negative inside              |
| fractions  | -    | the share of a voxel that each tissue fills; together they make 1   |

The tissues are painted over each other from the skin inwards, every one with a soft border: a
voxel that a surface cuts holds both sides. Places are in mm to the right, the front and the top of
the center of MNI space, where the brain is expected to lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.phantom.random_field import smooth_field

Field = NDArray[np.floating[Any]]
Places = tuple[Field, Field, Field]

CLOSING_MM = 14.0  # half the width of a fissure that the skull does not enter
COARSE_MM = 2.0
FLUID_MM, TABLE_MM, MARROW_MM = 2.0, 2.0, 3.0  # over the brain, and the layers of the skull
SKIN_MM, FAT_MM, MUCOSA_MM, ORBIT_MM = 2.0, 4.0, 1.5, 6.0
SHEET_MM = 5.0  # about half the distance of two sheets of fat between muscles
UNEVEN = 0.25  # standard deviation of a layer's thickness, relative


@dataclass(frozen=True)
class Ellipsoid:
    """Center and half axes in mm."""

    center: tuple[float, float, float]
    half_axes: tuple[float, float, float]

    def distance(self, places: Places) -> Field:
        """About the distance from the surface in mm, negative inside; exact for a sphere."""
        relative = sum(
            ((x - c) / r) ** 2 for x, c, r in zip(places, self.center, self.half_axes, strict=True)
        )
        distance: Field = (np.sqrt(relative) - 1) * np.float32(min(self.half_axes))
        return distance


TEMPLES = (Ellipsoid((58, 22, -22), (22, 34, 34)), Ellipsoid((-58, 22, -22), (22, 34, 34)))
FACE = (
    Ellipsoid((0, 6, -52), (69, 88, 66)),
    Ellipsoid((0, 86, -56), (13, 22, 24)),  # nose
)
EYES = (Ellipsoid((33, 62, -36), (12, 12, 12)), Ellipsoid((-33, 62, -36), (12, 12, 12)))
SINUSES = (
    Ellipsoid((0, 55, -42), (11, 22, 10)),  # ethmoid cells
    Ellipsoid((0, 64, -64), (12, 26, 14)),  # nasal cavity
    Ellipsoid((29, 52, -62), (12, 15, 15)),  # maxillary, both sides
    Ellipsoid((-29, 52, -62), (12, 15, 15)),
)


class Painting:
    """Fractions of tissues that always add up to 1; what is painted later covers the earlier."""

    def __init__(self, shape: tuple[int, ...], edge_mm: float) -> None:
        self.fractions: dict[str, Field] = {"air": np.ones(shape, dtype=np.float32)}
        self._edge = np.float32(edge_mm)

    def fill(self, tissue: str, distance: Field) -> None:
        """Paint where ``distance`` (mm) is negative, over one voxel's edge."""
        self.cover({tissue: (np.float32(0.5) - distance / self._edge).clip(0, 1)})

    def cover(self, shares: dict[str, Field]) -> None:
        """Paint several tissues whose shares add up to at most 1."""
        left = 1 - sum(shares.values())
        for below in self.fractions.values():
            below *= left
        for tissue, share in shares.items():
            present = self.fractions.setdefault(tissue, np.zeros_like(share))
            present += share


def head_around(
    gray: Field, white: Field, affine: NDArray[np.float64], rng: np.random.Generator
) -> dict[str, Field]:
    """The fraction of every tissue, named as in ``tissues.py``, of a head whose brain is given.

    Parameters
    ----------
    gray, white: (I,J,K) fractions from 0 to 1; ``affine`` (4,4) maps voxels to mm in MNI space.
    rng: draws how uneven skull and scalp are; the same seed gives the same head.
    """
    voxel = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    places = places_of(gray.shape, affine)
    painting = Painting(gray.shape, float(voxel.mean()))
    beyond = distance_beyond(gray + white > 0.5, voxel)
    table, marrow, scalp = (
        mean * (1 + UNEVEN * smooth_field(gray.shape, voxel, 40, rng)).clip(0.4, 2)
        for mean in (TABLE_MM, MARROW_MM, SKIN_MM + FAT_MM)
    )
    skull = FLUID_MM + table + marrow + table
    sheets = SHEET_MM * (np.abs(smooth_field(gray.shape, voxel, 9, rng)) - np.float32(0.2))
    _paint_soft_tissue(painting, beyond - skull - scalp, sheets, places)
    painting.fill("compact bone", beyond - skull)
    painting.fill("marrow", beyond - skull + table)
    painting.fill("compact bone", beyond - FLUID_MM - table)
    painting.fill("cerebrospinal fluid", beyond - FLUID_MM)
    painting.cover({"cortex": gray, "white matter": white})
    return painting.fractions


def _paint_soft_tissue(painting: Painting, scalp: Field, sheets: Field, places: Places) -> None:
    """Skin, fat, muscle, sinuses and eyes.

    ``scalp`` and ``sheets`` are distances in mm, from the surface of the scalp alone and from the
    fat between muscles.
    """
    depth = np.minimum.reduce([scalp, *(part.distance(places) for part in (*FACE, *TEMPLES))])
    painting.fill("skin", depth)
    painting.fill("fat", depth + SKIN_MM)
    painting.fill("muscle", depth + SKIN_MM + FAT_MM)
    painting.fill("fat", np.maximum(sheets, depth + SKIN_MM))
    for sinus in SINUSES:
        painting.fill("mucosa", np.maximum(sinus.distance(places), depth) - MUCOSA_MM)
    for sinus in SINUSES:
        painting.fill("air", sinus.distance(places))
    for eye in EYES:
        painting.fill("fat", np.maximum(eye.distance(places) - ORBIT_MM, depth + SKIN_MM))
        painting.fill("vitreous", eye.distance(places))


def distance_beyond(brain: NDArray[np.bool_], voxel: NDArray[np.float64]) -> Field:
    """(I,J,K) mm from the brain with its fissures closed, negative inside.

    Computed on voxels of about ``COARSE_MM`` and interpolated in between, which is much cheaper.
    """
    from scipy import ndimage

    every = np.maximum(1, np.rint(COARSE_MM / voxel)).astype(int)
    step = every * voxel
    margin = int(np.ceil(CLOSING_MM / step.min())) + 1
    coarse = np.pad(brain[tuple(slice(None, None, n) for n in every)], margin)
    wide = ndimage.distance_transform_edt(~coarse, sampling=step) <= CLOSING_MM
    closed = ndimage.distance_transform_edt(wide, sampling=step) > CLOSING_MM
    signed = ndimage.distance_transform_edt(~closed, sampling=step)
    signed -= ndimage.distance_transform_edt(closed, sampling=step)
    signed = ndimage.gaussian_filter(signed.astype(np.float32), 1)  # no steps of the coarse grid
    index = (np.arange(n) / e + margin for n, e in zip(brain.shape, every, strict=True))
    at = np.meshgrid(*index, indexing="ij", sparse=True)
    dense = np.broadcast_arrays(*at)
    found: Field = ndimage.map_coordinates(signed, dense, order=1)
    return found


def places_of(shape: tuple[int, ...], affine: NDArray[np.float64]) -> Places:
    """Where each voxel lies, in mm: three arrays of ``shape``."""
    index = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    x, y, z = (
        sum(affine[row, axis] * index[axis] for axis in range(3)) + affine[row, 3]
        for row in range(3)
    )
    return tuple(np.asarray(place, dtype=np.float32) for place in (x, y, z))  # type: ignore
