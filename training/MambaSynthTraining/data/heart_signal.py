"""What a scanner adds to a moving heart: inflowing blood, gain, noise, and a scale."""

from __future__ import annotations

from collections.abc import Sequence
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


def scaled_by(frames: Image, ends: Sequence[int], valid: Sequence[tuple[int, int]]) -> Image:
    """(F,D,H,W) in [0,1]: the extremes of the frames ``ends`` together become 0 and 1, as in use.

    Clipped, because a frame between may be brighter. 0 around the box ``valid`` that was acquired.
    """
    covered = (slice(None), *(slice(*sides) for sides in valid))
    inside = frames[covered]
    low, high = inside[ends].min(), inside[ends].max()
    scaled = np.zeros_like(frames)
    scaled[covered] = np.clip((inside - low) / (high - low), 0, 1)
    return scaled
