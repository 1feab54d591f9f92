"""What a scanner adds to a moving heart: inflowing blood, gain, noise, and one scale per frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float32]

BRIGHTEST = 99.8  # percentile of the stack; fat beyond it is clipped
POOL_EDGE_VOXELS = (0.5, 1.0, 1.0)


@dataclass(frozen=True)
class Signal:
    """What is drawn once per subject; all relative to the brightest tissue."""

    inflow: float  # change of the blood's signal at full contraction: fresh or saturated spins
    noise: float  # standard deviation of each channel
    gain: float  # standard deviation of the gain from frame to frame


def draw_signal(rng: np.random.Generator) -> Signal:
    return Signal(
        inflow=rng.uniform(-0.10, 0.06), noise=rng.uniform(0.006, 0.018), gain=rng.uniform(0, 0.01)
    )


def tissue_signal(image: Image, covered: tuple[slice, ...]) -> Image:
    """The stack scaled so that its brightest tissue is 1; (D,H,W)."""
    scaled: Image = np.minimum(image / np.percentile(image[covered], BRIGHTEST), 1)
    return scaled


def acquire(
    tissue: Image,
    pool: NDArray[np.bool_],
    contraction: float,
    signal: Signal,
    rng: np.random.Generator,
) -> Image:
    """One frame: inflow and gain, then |S + n1 + i n2| as in a magnitude image (Gudbjartsson).

    The noise of each call is independent of every other frame's.
    """
    blood = ndimage.gaussian_filter(pool.astype(np.float32), POOL_EDGE_VOXELS)
    seen = tissue * (1 + np.float32(signal.inflow * contraction) * blood)
    seen *= np.float32(1 + signal.gain * rng.standard_normal())
    real, imaginary = signal.noise * rng.standard_normal((2, *seen.shape), dtype=np.float32)
    return np.hypot(seen + real, imaginary, dtype=np.float32)


def min_max(frame: Image, covered: tuple[slice, ...]) -> Image:
    """The frame scaled to [0, 1] by its own extremes where the stack is, 0 around it; (D,H,W)."""
    inside = frame[covered]
    low, high = inside.min(), inside.max()
    scaled = np.zeros_like(frame)
    scaled[covered] = (inside - low) / (high - low)
    return scaled
