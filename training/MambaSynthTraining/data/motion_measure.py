"""How far and by which course a heart moves, acquired or made: one measure for both.

    cine --velocity that carries ED to ES--> displacement, and the share of it done in every frame

| column    | what it is                                                                          |
|-----------|-------------------------------------------------------------------------------------|
| ES ms     | when ES is: the frame before mid-cycle that differs most from ED, or the known one  |
| px        | displacement from ED to ES in pixels of 1.5 mm where the image changes, percentiles |
| explained | share of the squared difference between ED and ES that the motion explains          |
| at .2 ... | share of the motion done at that part of the time from ED to ES                     |

The velocity is the engine's refinement without a network (``MambaSynthLib/cine/motion.py``), slice
by slice; the share done in a frame is the one whose moved ED is nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.frame_stacks import Stacks
from MambaSynthLib.cine.motion import PairMotion, fit_pair
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.heart_cine import LEFT_POOL, HeartCine

PIXEL_MM = 1.5
PERCENTILES = (50, 90, 99)
TIMES = (0.2, 0.4, 0.6, 0.8)
SHARES = np.linspace(0, 1, 21)
SLICE_PLANES = 3  # of the grid, that make a slice of a made heart
FEWEST_PLANES = 6  # along the long axis


@dataclass(frozen=True)
class MeasuredMotion:
    """One cine: ``pixels`` at PERCENTILES, ``course`` at TIMES."""

    name: str
    es_ms: float
    pixels: tuple[float, ...]
    explained: float
    course: tuple[float, ...]

    def cells(self) -> list[str]:
        return [
            self.name,
            f"{self.es_ms:.0f}",
            *(f"{value:.1f}" for value in self.pixels),
            f"{100 * self.explained:.0f}",
            *(f"{share:.2f}" for share in self.course),
        ]


HEADER = ["cine", "ES ms", *(f"px {p} %" for p in PERCENTILES), "explained %",
          *(f"at {t:g}" for t in TIMES)]  # fmt: skip


def measure(cine: Cine, es: int | None = None) -> MeasuredMotion:
    """``es``: index from 0. Raises RequestError where ED and ES are equal or next to each other."""
    es = _different(cine) if es is None else es
    if not 2 <= es < len(cine.frames):
        raise RequestError(
            f"{cine.name}: ES is frame {es + 1}, so no frame lies between it and ED, frame 1; name "
            "another one."
        )
    pair = cine.frames[0], cine.frames[es]
    motion = fit_pair(*pair, Stacks.of(pair), settings=CineOptions().fit_settings())
    region = motion.region()
    if not region.any():
        raise RequestError(f"{cine.name}: ED and ES are equal; there is no motion to measure.")
    field = motion.fit.field(1.0)  # (3,N,r,c) voxels
    mm = np.array(motion.stacks.spacing).reshape(3, 1, 1, 1)
    length = np.sqrt(((field * mm)[1:] ** 2).sum(axis=0))[region] / PIXEL_MM
    times = np.array(cine.times_ms[: es + 1]) - cine.times_ms[0]
    shares = [_share_done(motion, frame, region) for frame in cine.frames[1:es]]
    course = np.interp(TIMES, times / times[-1], [0, *shares, 1])
    return MeasuredMotion(
        cine.name,
        float(times[-1]),
        tuple(float(value) for value in np.percentile(length, PERCENTILES)),
        1 - motion.unexplained(),
        tuple(float(value) for value in course),
    )


def mean_of(name: str, measured: Sequence[MeasuredMotion]) -> MeasuredMotion:
    """A row that is the mean of others."""
    return MeasuredMotion(
        name,
        float(np.mean([one.es_ms for one in measured])),
        tuple(np.mean([one.pixels for one in measured], axis=0)),
        float(np.mean([one.explained for one in measured])),
        tuple(np.mean([one.course for one in measured], axis=0)),
    )


def _different(cine: Cine) -> int:
    half = max(2, round(0.6 * len(cine.frames)))
    first = cine.frames[0].array
    return int(np.argmax([float(np.mean((f.array - first) ** 2)) for f in cine.frames[:half]]))


def _share_done(motion: PairMotion, frame: Volume, region: NDArray[np.bool_]) -> float:
    first = motion.stacks.cut(motion.first)
    seen = motion.stacks.cut(motion.stacks.stack(frame))
    errors = [float(np.mean((motion.fit.pulled(first, s) - seen)[region] ** 2)) for s in SHARES]
    return float(SHARES[int(np.argmin(errors))])


def views(heart: HeartCine) -> list[Cine]:
    """A made heart as it is acquired in patients: short-axis slices, and where it has planes enough
    a long-axis plane through the left ventricle, of square pixels.
    """
    order = [heart.ed, *heart.between, heart.es]
    times = [heart.times_ms[n] for n in order]
    d, h, w = heart.spacing_mm
    frames = heart.frames[order][(slice(None), *heart.box)]  # (F,D,H,W)
    cuts = frames[:, SLICE_PLANES // 2 :: SLICE_PLANES]
    found = [_cine(f"{heart.name}, short axis", cuts, (d * SLICE_PLANES, h, w), times)]
    if frames.shape[1] >= FEWEST_PLANES:
        pool = np.argwhere(heart.labels[heart.labeled.index(heart.ed)][heart.box] == LEFT_POOL)
        plane = frames[:, :, round(float(pool[:, 1].mean()))]  # (F,D,W)
        heights = np.arange(0, frames.shape[1] - 1 + 1e-6, w / d)
        below = np.minimum(heights.astype(int), frames.shape[1] - 2)
        part = (heights - below).astype(np.float32)[:, None]
        square = plane[:, below] * (1 - part) + plane[:, below + 1] * part
        found.append(_cine(f"{heart.name}, long axis", square[:, None], (8.0, w, w), times))
    return found


def _cine(
    name: str, frames: NDArray[np.float32], spacing: tuple[float, ...], times: Sequence[float]
) -> Cine:
    """(F,N,R,C) -> columns, rows and slices of a volume."""
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    volumes = [Volume(frame.transpose(2, 1, 0), affine, name) for frame in frames]
    return Cine(tuple(volumes), tuple(times), name)
