"""The mark out of any array, whatever became of it.

    image --residual--> q --sum along an axis--> Q(x, y) --waves of a scale--> F_k
    c(d) = sum over k of Re( F_k / |F_k| * conj(P_k) * exp(2 pi i k d / T) )     for all shifts d
    score = max over axes, scales, turns and d of c / sqrt(M / 2)

| symbol | code        | meaning                                                              |
|--------|-------------|----------------------------------------------------------------------|
| F_k    | ``seen``    | the image's part of the wave k, of which the phase alone counts      |
| P_k    | ``pattern`` | the mark's part, see pattern.py                                      |
| d      | ``shift``   | where the pattern begins, in units                                   |
| M      | -           | number of waves                                                      |

Whatever image is looked at: for a key drawn after it, c is a sum of M independent cosines of random
angles, so that P(score > t) <= exp(-t^2 / 2) for each place that is looked at (E exp(u cos a) <=
exp(u^2 / 4), Chernoff). With all places of a search, below 10^8, a threshold of 7.6 is passed by
chance in less than 1 image in 30,000. The survival table counts it with wrong keys on real slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.watermark.embedding import pixel, slices_of
from MambaSynthLib.watermark.pattern import (
    HIGHEST,
    KEY,
    PERIOD,
    REACH,
    SIGNS,
    Complex,
    Floats,
    Pattern,
    code_in,
    code_of,
    pattern_of,
    waves_at,
    word_of,
)
from MambaSynthLib.watermark.texture import Levels, residual

SURE = 7.6
SURE_IN_PLACE = 6.6  # where only the shift is searched: 9,216 places, 1 in 300,000
SPELLED = 5.0  # the score from which on a known model is taken for spelled, by the same bound
SMALLEST, LARGEST = 0.62, 1.65  # pixels per unit: resampling by 0.7 to 1.5 and a bit
ROUNDING = 1e-6  # of the strongest wave: what is weaker is rounding, and counts for less
NARROWEST = 32  # pixels in the shorter side of a slice
WIDEST = 512  # pixels of a side that are searched
MOST_SLICES = 64  # that are looked at: more would not change an answer
SHIFTS = 3 * PERIOD // 2  # per direction
STEP = 1.6 / np.pi  # phase at the border that a step of the scale costs, in waves
FINER = 8
Turn = tuple[bool, int, int]  # swapped; flips
TURNS: tuple[Turn, ...] = tuple(product((False, True), (1, -1), (1, -1)))


@dataclass(frozen=True)
class Hit:
    """Where the pattern fits best: its score, pixels per unit, turn, and shift in units."""

    score: float
    scale: float = 1.0
    turn: int = 0
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class PixelMark:
    """A mark that was found. ``model``: the known id that it spells; None where none fits."""

    score: float
    code: int
    model: str | None

    def sentence(self) -> str:
        """What it says, without a full stop."""
        return self._said(self.model or f"a model that is not known here (code {self.code:06x})")

    def sentence_without_model(self) -> str:
        """The same where nobody asked which model it spells."""
        return self._said(f"model code {self.code:06x}")

    def _said(self, by: str) -> str:
        return f"SYNTHETIC by MambaSynth, {by}: a mark in the voxels (score {self.score:.1f})"


def find_mark(
    volume: Volume, known: Iterable[str] = (), *, key: str = KEY, thorough: bool = True
) -> PixelMark | None:
    """The mark in a volume, or None. ``known``: ids of models that may have made it.

    Looks as the volume was written first, then (``thorough``) turned and resampled.
    """
    pattern, levels = pattern_of(key), Levels.of(volume.array)
    turn = slices_of(volume)
    side = Projection.of(turn.view(volume.array), levels, pixel(volume, turn))
    hit = side.best((1.0,), pattern, TURNS[:1])
    found = hit.score >= SURE_IN_PLACE
    if not found and thorough:
        for other in _sides(volume, levels):
            candidate = other.best(other.scales(), pattern)
            if candidate.score > hit.score:
                hit, side = candidate, other
        found = hit.score >= SURE
    return side.spelled(side.refined(hit, pattern), pattern, known) if found else None


def find_mark_of_frames(
    frames: Sequence[Volume], known: Iterable[str] = (), *, thorough: bool = True
) -> PixelMark | None:
    """That of the frames of a cine, or of one volume, looked at together."""
    first = frames[0]
    if len(frames) == 1:
        return find_mark(first, known, thorough=thorough)
    across = slices_of(first).order[0]
    array = np.concatenate([frame.array for frame in frames], axis=across)
    return find_mark(Volume(array, first.affine, first.name), known, thorough=thorough)


def _sides(volume: Volume, levels: Levels) -> Iterator[Projection]:
    """Along each axis of the array, but for sides that are too narrow for the waves; of wide ones
    the middle, as the time of a search grows with the third power of the width.
    """
    for axis in range(3):
        stack = np.moveaxis(volume.array, axis, 0)[:, *map(_middle, np.delete(volume.shape, axis))]
        if min(stack.shape[1:]) >= NARROWEST:
            height, width = np.delete(volume.spacing, axis) / np.delete(volume.spacing, axis).max()
            yield Projection.of(stack, levels, (float(height), float(width)))


def _middle(count: int) -> slice:
    start = max(0, count - WIDEST) // 2
    return slice(start, start + WIDEST)


@dataclass(frozen=True)
class Projection:
    """(X,Y) residuals of all slices, summed, and the two edges of a pixel by the longer one."""

    image: Floats
    pixel: tuple[float, float]

    @classmethod
    def of(cls, stack: Floats, levels: Levels, pixel: tuple[float, float]) -> Projection:
        """Of slices (N,X,Y)."""
        total = np.zeros(stack.shape[1:], np.float32)
        for image in stack[:: -(-len(stack) // MOST_SLICES)]:
            total += residual(image - np.float32(levels.center), levels)
        return cls(total, pixel)

    def scales(self) -> Floats:
        """Pixels per unit to try, so close that none between them is missed."""
        pixels = self._extent()
        scales, scale = [], SMALLEST
        while scale <= LARGEST:
            scales.append(scale)
            scale *= 1 + STEP * scale / (HIGHEST * pixels)
        return np.array(scales, np.float32)

    def _extent(self) -> float:
        """The longer side, in the longer edge of a pixel."""
        height, width = self.image.shape
        return float(max(height * self.pixel[0], width * self.pixel[1]))

    def phases(self, scale: float) -> Complex:
        """(2R+1,R+1) F_k / |F_k| at a scale."""
        x, y = (
            np.arange(n) * (edge / scale)
            for n, edge in zip(self.image.shape, self.pixel, strict=True)
        )
        columns, rows = waves_at(x, both=True).conj(), waves_at(y, both=False).conj()
        seen = columns.T @ (self.image @ rows)
        size = np.abs(seen)
        phases: Complex = seen / np.maximum(size, ROUNDING * max(size.max(), 1.0))
        return phases

    def best(self, scales: Iterable[float], pattern: Pattern, turns: Sequence[Turn] = TURNS) -> Hit:
        """The best of all scales, turns and shifts."""
        turned = np.stack([pattern.turned(s, (a, b)).sync for s, a, b in turns]).conj()
        hit = Hit(0.0)
        for scale in scales:
            field = _all_shifts(self.phases(scale) * turned) / np.sqrt(pattern.waves / 2)
            place = int(field.argmax())
            if field.flat[place] > hit.score:
                turn, x, y = np.unravel_index(place, field.shape)
                shift = (x * PERIOD / SHIFTS, y * PERIOD / SHIFTS)
                hit = Hit(float(field.flat[place]), float(scale), int(turn), shift)
        return hit

    def refined(self, hit: Hit, pattern: Pattern) -> Hit:
        """The same place with a finer scale and shift."""
        step = STEP * hit.scale / (HIGHEST * self._extent())
        near = hit.scale * (1 + step * np.arange(-FINER, FINER + 1) / FINER)
        best = self.best((hit.scale, *near), pattern, TURNS[hit.turn : hit.turn + 1])
        agreement = self.phases(best.scale) * pattern.turned(*_turn(hit.turn)).sync.conj()
        fine = np.arange(-4, 5) / 8 * (PERIOD / SHIFTS)
        x, y = (np.float32(start) + fine for start in best.shift)
        once = agreement * _once()
        around = (waves_at(x, both=True) @ once @ waves_at(y, both=False).T).real
        at = np.unravel_index(int(around.argmax()), around.shape)
        score = float(around[at] / np.sqrt(pattern.waves / 2))
        return Hit(score, best.scale, hit.turn, (float(x[at[0]]), float(y[at[1]])))

    def spelled(self, hit: Hit, pattern: Pattern, known: Iterable[str]) -> PixelMark:
        """What the mark at a hit says."""
        turned = pattern.turned(*_turn(hit.turn))
        x = waves_at(np.array(hit.shift[:1]), both=True)[0]
        y = waves_at(np.array(hit.shift[1:]), both=False)[0]
        placed = self.phases(hit.scale) * np.outer(x, y) * turned.spelling.conj()
        once = (turned.sign >= 0) & (_once() > 0)
        soft = np.zeros(SIGNS, np.float32)
        soft[turned.sign[once]] = placed.real[once]
        scores = {name: float(soft @ word_of(code_of(name)) / np.sqrt(SIGNS / 2)) for name in known}
        model = max(scores, key=lambda name: scores[name], default=None)
        if model is not None and scores[model] < SPELLED:
            model = None
        code = code_of(model) if model else code_in(soft)
        return PixelMark(hit.score, code, model)


def _turn(number: int) -> tuple[bool, tuple[int, int]]:
    swapped, *flips = TURNS[number]
    return swapped, (flips[0], flips[1])


@cache
def _once() -> Floats:
    """(2R+1,R+1) 1 for one of each two waves k and -k."""
    once = np.ones((2 * REACH + 1, REACH + 1), np.float32)
    once[: REACH + 1, 0] = 0
    return once


def _all_shifts(waves: Complex) -> Floats:
    """(...,2R+1,R+1) -> (...,SHIFTS,SHIFTS) sums of the waves' real parts, shifted."""
    padded = np.zeros((*waves.shape[:-2], SHIFTS, SHIFTS // 2 + 1), np.complex64)
    padded[..., : REACH + 1, : REACH + 1] = waves[..., REACH:, :]
    padded[..., -REACH:, : REACH + 1] = waves[..., :REACH, :]
    sums: Floats = np.fft.irfft2(padded, (SHIFTS, SHIFTS)).astype(np.float32)
    sums *= np.float32(SHIFTS**2 / 2)
    return sums
