"""How strong a mark a pixel can bear, and what is left of a slice without its anatomy.

| symbol | code            | shape | meaning                                                      |
|--------|-----------------|-------|--------------------------------------------------------------|
| v      | ``image``       | (H,W) | a slice, float32, less the image's median                    |
| s_w(v) | ``deviation``   | (H,W) | standard deviation of v in windows of w x w pixels           |
| a      | ``strength``    | (H,W) | amplitude of the mark, units of v; 0 in air and flat regions |
| e      | ``rest``        | (H,W) | v above its local mean, by its local size s                  |
| q      | ``residual``    | (H,W) | e a / s: the best guess of the pattern from each pixel alone |

Slice by slice, as a slice fits into a processor's cache and a volume does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIZE = 0.055  # of the texture in WIDE windows,
NEAR = 0.3  # at most this much of the least texture in NARROW windows around, which is 0 in air,
MOST_SIZE = 0.006  # and of the image's span
NARROW, WIDE = 3, 7  # pixels
FLAT = 0.004  # of the image's span: smoother windows are flat
MOST = 3.0  # of the rest, in local sizes
SAMPLED = 100_000  # voxels that tell median and span


@dataclass(frozen=True)
class Levels:
    """Of a whole image: its median, and the span from its 0.1 to its 99.9 percentile."""

    center: float
    span: float

    @classmethod
    def of(cls, array: Floats) -> Levels:
        step = max(1, int((array.size / SAMPLED) ** (1 / array.ndim)))
        some = array[tuple(slice((n - 1) % step // 2, None, step) for n in array.shape)]
        low, center, high = np.percentile(some, [0.1, 50, 99.9])
        return cls(float(center), float(max(high - low, np.finfo(np.float32).tiny)))


def strength(image: Floats, levels: Levels) -> Floats:
    """Amplitude of the mark by the texture around each pixel."""
    amplitude = SIZE * (deviation(image, WIDE) - np.float32(FLAT * levels.span))
    near = NEAR * least_around(deviation(image, NARROW))
    np.minimum(amplitude, near, out=amplitude)
    return np.clip(amplitude, 0, MOST_SIZE * levels.span, out=amplitude)


def residual(image: Floats, levels: Levels) -> Floats:
    """What is left of a slice: noise, details, and the mark."""
    rest = image - means(image, NARROW)
    size = np.sqrt(means(rest * rest, NARROW))
    size += np.float32(FLAT * levels.span)
    rest /= size
    np.clip(rest, -MOST, MOST, out=rest)
    mark = SIZE * (deviation(image, WIDE) - np.float32(FLAT * levels.span))
    rest *= np.clip(mark, 0, MOST_SIZE * levels.span, out=mark)
    rest /= size
    return rest


def deviation(image: Floats, width: int) -> Floats:
    mean = means(image, width)
    variance = means(image * image, width) - mean * mean
    return np.sqrt(np.maximum(variance, 0, out=variance), out=variance)


def means(image: Floats, width: int) -> Floats:
    """Means over ``width`` x ``width`` pixels; those at the border repeat."""
    height, breadth = image.shape
    padded = np.pad(image, width // 2, mode="edge")
    rows = padded[:height].copy()
    for step in range(1, width):
        rows += padded[step : step + height]
    total = rows[:, :breadth].copy()
    for step in range(1, width):
        total += rows[:, step : step + breadth]
    total /= np.float32(width * width)
    return total


def least_around(image: Floats) -> Floats:
    """The least of each pixel and its four neighbors."""
    least = image.copy()
    for whole, part in ((least, image), (least.T, image.T)):
        np.minimum(whole[1:], part[:-1], out=whole[1:])
        np.minimum(whole[:-1], part[1:], out=whole[:-1])
    return least
