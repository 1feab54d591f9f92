"""The waves of the mark.

    p(x, y) = sum over k of cos(2 pi (k_x x + k_y y) / T + phi_k)

| symbol | code         | shape     | meaning                                                     |
|--------|--------------|-----------|-------------------------------------------------------------|
| T      | ``PERIOD``   | -         | the pattern repeats after so many units, so that any part   |
|        |              |           | of it will do; a unit is the longer edge of a pixel         |
| k      | -            | (2,)      | whole numbers: waves in T units along x and y               |
| phi_k  | -            | -         | fixed by the key; pi more where the model's word has a -1    |
| R      | ``REACH``    | -         | the largest k                                               |
| P_k    | ``sync``,    | 2R+1,R+1  | exp(i phi_k) for k_x = -R..R, k_y = 0..R, of the waves that |
|        | ``spelling`` |           | say "here", and of those that spell the model               |

Phases come from SHA-256 of the key and the wave, not from a generator whose stream may change. As
they are as good as random, the chance of a false alarm can be bounded whatever the image shows, see
``detection``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

KEY = "MambaSynth synthetic 1"  # public; another number is another mark
PERIOD = 64
LOWEST, HIGHEST = 0.20, 0.35  # waves per unit: above anatomy, below what resampling takes away
REACH = int(PERIOD * HIGHEST)
LETTERS, LETTER = 3, 7  # how many letters a code has, and the bits of one
BITS = LETTERS * LETTER
SIGNS = LETTERS * 2 ** (LETTER - 1)  # that spell a code, each by a wave

Floats = NDArray[np.float32]
Complex = NDArray[np.complex64]
Places = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class Pattern:
    """The waves of one key, on the grid of k (the file's table)."""

    sync: Complex
    spelling: Complex
    sign: NDArray[np.int16]  # number of the sign that a wave spells; -1: none

    @property
    def waves(self) -> int:
        """How many different waves say "here"."""
        return int(np.count_nonzero(self.sync[:, 1:]) + np.count_nonzero(self.sync[:, 0]) // 2)

    def turned(self, swapped: bool, flips: tuple[int, int]) -> Pattern:
        """That of an image whose axes were swapped and then reversed where a flip is -1."""
        kx, ky = np.meshgrid(np.arange(-REACH, REACH + 1), np.arange(REACH + 1), indexing="ij")
        x, y = kx * flips[0], ky * flips[1]
        if swapped:
            x, y = y, x
        mirrored = y < 0  # P(-k) is the conjugate of P(k)
        x, y = np.where(mirrored, -x, x) + REACH, np.where(mirrored, -y, y)

        def pick(waves: Complex) -> Complex:
            return np.where(mirrored, waves[x, y].conj(), waves[x, y])

        return Pattern(pick(self.sync), pick(self.spelling), self.sign[x, y])


@cache
def pattern_of(key: str = KEY) -> Pattern:
    """The pattern that a key fixes."""
    shape = (2 * REACH + 1, REACH + 1)
    sync, spelling = np.zeros(shape, np.complex64), np.zeros(shape, np.complex64)
    sign = np.full(shape, -1, np.int16)
    order = sorted((_digest(f"{key}, order: {kx} {ky}"), kx, ky) for kx, ky in _half_plane())
    for rank, (_, kx, ky) in enumerate(order):
        phase = 2 * np.pi * int.from_bytes(_digest(f"{key}: {kx} {ky}")[:4]) / 2**32
        group = spelling if rank < SIGNS else sync
        places = [(kx, ky, 1), (-kx, -ky, -1)] if ky == 0 else [(kx, ky, 1)]
        for x, y, way in places:
            group[x + REACH, y] = np.exp(1j * way * phase)
            sign[x + REACH, y] = rank if rank < SIGNS else -1
    return Pattern(sync, spelling, sign)


def _half_plane() -> Iterator[tuple[int, int]]:
    """One of each two waves k and -k, which are the same wave."""
    for kx in range(-REACH, REACH + 1):
        for ky in range(REACH + 1):
            if (ky > 0 or kx > 0) and LOWEST * PERIOD <= np.hypot(kx, ky) <= HIGHEST * PERIOD:
                yield kx, ky


def code_of(model_id: str) -> int:
    """The number that the mark spells: the first 21 bits of SHA-256 of the model's id."""
    return int.from_bytes(_digest(model_id)[:4]) >> (32 - BITS)


def word_of(code: int) -> NDArray[np.int8]:
    """(192,) the signs that spell a code: for every 7 bits of it one of the 64 Walsh functions or
    its negative, which is the first-order Reed-Muller code; any two differ in half of their signs.
    """
    letters = [code >> LETTER * place & (2**LETTER - 1) for place in reversed(range(LETTERS))]
    return np.concatenate([walsh()[letter >> 1] * (1 - 2 * (letter & 1)) for letter in letters])


def code_in(soft: NDArray[np.float32]) -> int:
    """The code whose word agrees best with (192,) numbers, letter by letter."""
    code = 0
    for part in soft.reshape(LETTERS, -1):
        agreement = walsh() @ part
        row = int(np.abs(agreement).argmax())
        code = code << LETTER | row << 1 | int(agreement[row] < 0)
    return code


@cache
def walsh() -> NDArray[np.int8]:
    """(64,64) rows of +1 and -1, any two of which agree in half of their places."""
    rows = np.ones((1, 1), np.int8)
    while len(rows) < 2 ** (LETTER - 1):
        rows = np.block([[rows, rows], [rows, -rows]])
    return rows


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()


def drawn(pattern: Pattern, code: int, x: Places, y: Places) -> Floats:
    """(X,Y) the pattern that spells ``code``, of standard deviation 1.

    x, y: (X,), (Y,) places in units.
    """
    signs = np.append(word_of(code), 0)[pattern.sign]
    waves = pattern.sync + pattern.spelling * signs
    waves[:, 0] /= 2  # both k and -k are there
    columns, rows = waves_at(x, both=True), waves_at(y, both=False)
    image = (columns @ waves @ rows.T).real
    count = np.count_nonzero(waves[:, 1:]) + np.count_nonzero(waves[:, 0]) / 2
    pattern_there: Floats = (image / np.sqrt(count / 2)).astype(np.float32)
    return pattern_there


def waves_at(places: Places, both: bool) -> Complex:
    """(X,R+1) or, of both directions, (X,2R+1): exp(2 pi i k x / T) at places in units."""
    k = np.arange(-REACH if both else 0, REACH + 1)
    waves: Complex = np.exp(2j * np.pi / PERIOD * np.outer(places, k)).astype(np.complex64)
    return waves
