"""What a scanner adds to a moving heart: blood that flows, gain, noise, and a scale.

Balanced SSFP shows blood by its flow: fresh spins flow in bright or are not yet steady, jets
through the outflow tract and the mitral valve lose signal, and what pulsates appears once more,
faintly, elsewhere along the phase-encoding axis. All of this is signal; nothing of it is motion of
tissue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float32]

BRIGHTEST = 99.8  # percentile of the stack; fat beyond it is clipped
POOL_EDGE_PIXELS = 1.0
JET_FALLS_MM = 12.0  # below the base, until a jet is at half its strength


@dataclass(frozen=True)
class Signal:
    """What is drawn once per subject; all relative to the brightest tissue."""

    inflow: float  # change of the blood's signal at full contraction: fresh or saturated spins
    jet: float  # change of the signal in a jet where blood is fastest
    jet_mm: float  # its radius
    jet_place: tuple[float, float]  # from the center of the pool, in radii of the pool
    ghost: float  # share of the pulsating blood that appears elsewhere
    ghost_shift: float  # where, in heights of the image
    noise: float  # standard deviation of each channel
    gain: float  # standard deviation of the gain from frame to frame


@dataclass(frozen=True)
class Blood:
    """The left pool in a frame: where it is (N,H,W), how fast blood flows (1: fastest), and how
    far each slice lies below the base, mm (N,).
    """

    pool: NDArray[np.bool_]
    flow: float
    below_base_mm: NDArray[np.float64]


def draw_signal(rng: np.random.Generator) -> Signal:
    angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6)
    return Signal(
        inflow=rng.uniform(-0.10, 0.06),
        jet=rng.uniform(-0.5, 0.15),
        jet_mm=rng.uniform(3, 7),
        jet_place=(away * np.sin(angle), away * np.cos(angle)),
        ghost=rng.uniform(0, 0.03),
        ghost_shift=rng.uniform(0.3, 0.7),
        noise=rng.uniform(0.006, 0.018),
        gain=rng.uniform(0, 0.01),
    )


def tissue_signal(image: Image, covered: tuple[slice, ...]) -> Image:
    """The stack scaled so that its brightest tissue is 1; (D,H,W)."""
    scaled: Image = np.minimum(image / np.percentile(image[covered], BRIGHTEST), 1)
    return scaled


def acquire(
    tissue: Image,
    blood: Blood,
    contraction: NDArray[np.float64],
    pixel_mm: tuple[float, float],
    signal: Signal,
    rng: np.random.Generator,
) -> Image:
    """One frame (N,H,W) at the ``contraction`` (N,) of its slices: flow and gain, then
    |S + n1 + i n2| as in a magnitude image (Gudbjartsson).

    The noise of each call is independent of every other frame's.
    """
    edge = (0, POOL_EDGE_PIXELS, POOL_EDGE_PIXELS)
    pool = ndimage.gaussian_filter(blood.pool.astype(np.float32), edge)
    change = signal.inflow * contraction[:, None, None] + signal.jet * jet(blood, pixel_mm, signal)
    seen = tissue * (1 + change.astype(np.float32) * pool)
    shift = round(signal.ghost_shift * tissue.shape[1])
    ghost = np.roll(pool * tissue, shift, axis=1) * np.float32(signal.ghost * blood.flow)
    seen = (seen + ghost) * np.float32(1 + signal.gain * rng.standard_normal())
    real, imaginary = signal.noise * rng.standard_normal((2, *seen.shape), dtype=np.float32)
    return np.hypot(seen + real, imaginary, dtype=np.float32)


def jet(blood: Blood, pixel_mm: tuple[float, float], signal: Signal) -> NDArray[np.float64]:
    """(N,H,W) 0 to 1: a tube beside the middle of each slice's pool that ends below the base."""
    rows, columns = np.indices(blood.pool.shape[1:])
    strength = blood.flow / (1 + (np.maximum(blood.below_base_mm, 0) / JET_FALLS_MM) ** 2)
    tubes = np.zeros(blood.pool.shape)
    for tube, pool, factor in zip(tubes, blood.pool, strength, strict=True):
        if not pool.any():
            continue
        radius = np.sqrt(pool.sum() / np.pi)  # pixels
        center = np.argwhere(pool).mean(axis=0) + radius * np.array(signal.jet_place)
        away = ((rows - center[0]) * pixel_mm[0]) ** 2 + ((columns - center[1]) * pixel_mm[1]) ** 2
        tube[:] = factor * np.exp(-away / (2 * signal.jet_mm**2))
    return tubes


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
