"""What the gate sees of a volume: a coarse picture in patient space, and how large it is.

    V --means over 2.5 mm--> coarse --by the affine, around the content--> 40 x 46 x 40 of 5 mm

| symbol | code           | shape      | meaning                                                |
|--------|----------------|------------|--------------------------------------------------------|
| c      | ``Coarse``     | (I,J,K)    | block means of the volume, with their own affine       |
| L      | ``image``      | (40,46,40) | rightwards, forwards, upwards by the affine; air is 0, |
|        |                |            | the median of what is not air is 1, cut at 3           |
| e      | ``extent_mm``  | (3,)       | how far the content reaches along each array axis      |
| t      | ``threshold``  |            | of the volume's values: what is brighter is content    |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.head import block_means
from MambaSynthLib.image.volume import Affine, Volume, spacing

FINE_MM, EDGE_MM = 2.5, 5.0
SHAPE = (40, 46, 40)
AIR_SHARE = 0.15  # of the way from the darkest to the brightest: what is below counts as air
DARKEST, BRIGHTEST = 1.0, 99.5  # percentiles
FRINGE = 0.5  # percent of the content that may lie outside its extent: noise, ghosts
MOST = 3.0  # medians

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Coarse:
    """Block means of a volume, and their voxel -> RAS mm map."""

    array: Floats
    affine: Affine


@dataclass(frozen=True)
class Look:
    """The picture of a volume that the gate's network sees, and its size in mm."""

    image: Floats
    extent_mm: tuple[float, float, float]
    threshold: float


def coarsened(volume: Volume) -> Coarse:
    """Means over blocks of about 2.5 mm; voxels that are larger stay as they are."""
    factors = [max(1, round(FINE_MM / edge)) for edge in volume.spacing]
    factors = [min(f, n) for f, n in zip(factors, volume.shape, strict=True)]
    affine = volume.affine @ np.diag([*factors, 1.0])
    affine[:3, 3] = volume.affine[:3, 3] + volume.affine[:3, :3] @ ((np.array(factors) - 1) / 2)
    return Coarse(block_means(volume.array, factors), affine)


def look_at(coarse: Coarse, name: str = "volume") -> Look:
    """The picture around the middle of the content. Raises VolumeError for a constant volume."""
    low, bright = (float(v) for v in np.percentile(coarse.array, [DARKEST, BRIGHTEST]))
    if not bright > low:
        low, bright = float(coarse.array.min()), float(coarse.array.max())
    threshold = low + AIR_SHARE * (bright - low)
    content = coarse.array > threshold
    if not bright > low or not content.any():
        raise VolumeError(
            f"{name}: the image is constant (all voxels near {low:g}); choose a volume that shows "
            "anatomy."
        )
    ends = np.array([_ends(content, axis) for axis in range(3)])  # (3,2)
    extent = (ends[:, 1] - ends[:, 0] + 1) * spacing(coarse.affine)
    middle = coarse.affine[:3, :3] @ ends.mean(axis=1) + coarse.affine[:3, 3]
    median = float(np.median(coarse.array[content]))
    image = (_sampled(coarse, middle, low) - low) / (median - low)
    across, along, up = extent.tolist()
    return Look(np.clip(image, 0, MOST).astype(np.float32), (across, along, up), threshold)


def _ends(content: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """The first and the last slice of an axis, but for the fringe."""
    counts = np.cumsum(np.count_nonzero(content, axis=tuple({0, 1, 2} - {axis})))
    fringe = FRINGE / 100 * counts[-1]
    first = int(np.searchsorted(counts, fringe, side="right"))
    return first, int(np.searchsorted(counts, counts[-1] - fringe))


def _sampled(coarse: Coarse, middle: NDArray[np.float64], outside: float) -> Floats:
    """(40,46,40) the coarse volume on the gate's grid, linearly interpolated."""
    inverse = np.linalg.inv(coarse.affine)
    first = middle - EDGE_MM * (np.array(SHAPE) - 1) / 2
    start = inverse[:3, :3] @ first + inverse[:3, 3]
    axes = [EDGE_MM * np.outer(np.arange(n), inverse[:3, a]) for a, n in enumerate(SHAPE)]
    index = [
        (start[i] + axes[0][:, None, None, i] + axes[1][None, :, None, i] + axes[2][:, i]).ravel()
        for i in range(3)
    ]
    return _interpolated(coarse.array, index, outside).reshape(SHAPE)


def _interpolated(array: Floats, index: list[NDArray[np.float64]], outside: float) -> Floats:
    """(n,) values at n positions in voxels; ``outside`` where there are none."""
    padded = np.pad(array, 1, constant_values=np.float32(outside))
    lower, weight = [], []
    for position, n in zip(index, array.shape, strict=True):
        position = np.clip(position + 1, 0, n + 1)  # in the padded array
        floor = np.minimum(position.astype(np.int64), n)
        lower.append(floor)
        weight.append((position - floor).astype(np.float32))
    strides = (padded.shape[1] * padded.shape[2], padded.shape[2], 1)
    base = sum(low * stride for low, stride in zip(lower, strides, strict=True))
    flat = padded.ravel()
    found = np.zeros(len(weight[0]), dtype=np.float32)
    for corner in range(8):
        bits = [(corner >> axis) & 1 for axis in range(3)]
        share = np.ones_like(found)
        for bit, part in zip(bits, weight, strict=True):
            share *= part if bit else 1 - part
        offset = sum(bit * stride for bit, stride in zip(bits, strides, strict=True))
        found += share * flat[base + offset]
    return found
