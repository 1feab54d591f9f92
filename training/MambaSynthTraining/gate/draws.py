"""One more form of an example: moved, cut, unevenly lit, turned, stretched, inverted.

    coarse --inverted, cut, thicker slices--> --affine: small | turned | stretched--> look
        --bias, gamma, noise--> one to learn from

Voxels are never interpolated but by the gate's own look: geometry changes the affine alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.gate.look import MOST, Coarse, look_at
from MambaSynthLib.gate.questions import DIRECTIONS, OPPOSITE, ORIENTATIONS, QUESTIONS, UPRIGHT
from MambaSynthLib.image.head import block_means
from MambaSynthLib.image.volume import axis_codes
from MambaSynthTraining.gate.examples import Example

NOT_ASKED = -1
TURNED, STRETCHED, INVERTED, NECK = 0.33, 0.15, 0.05, 0.04  # how often
MISTAKEN, MISTAKES = 0.3, ("SP", "SP", "IA", "IP")  # of the turns: those of confused labels
DEGREES, SCALING, SHEARING = 14.0, 0.1, 0.05
LEAST_STRETCH, MOST_STRETCH = 1.6, 3.2
UPPER_HEAD = 0.55  # of a head's height: below lie face and neck

Affine = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Draw:
    """A look (40,46,40), and the number of the right answer to each question, or NOT_ASKED."""

    image: Floats
    answers: tuple[int, ...]


def draw(example: Example, rng: np.random.Generator) -> Draw:
    """A random form of ``example``. Raises VolumeError where nothing is left to see."""
    truth = dict(example.truth)
    array, affine = np.array(example.coarse.array), np.array(example.coarse.affine)
    if truth["kind"] == "MR" and rng.random() < INVERTED:
        truth = {"kind": "inverted"}
        array = _inverted(array, rng)
    if truth.get("anatomy") == "head" and rng.random() < NECK:
        truth = {"kind": "MR", "anatomy": "other"}
        array, affine = _cut(array, affine, "S", UPPER_HEAD + 0.1 * rng.random())
    elif "anatomy" in truth:
        array, affine = _cut_somewhere(array, affine, rng)
    array = _windowed(array, rng) if truth["kind"] == "CT" else _thicker(array, rng)
    affine = _moved(affine, rng)
    if truth.get("anatomy") in ("head", "brain"):
        truth |= {"orientation": UPRIGHT, "proportions": "natural"}
        chance = rng.random()
        if chance < TURNED:
            among = MISTAKES if rng.random() < MISTAKEN else ORIENTATIONS
            truth["orientation"] = str(rng.choice(among))
            affine = turned(affine, truth["orientation"])
        elif chance < TURNED + STRETCHED:
            truth["proportions"] = "stretched"
            affine = stretched(affine, int(rng.integers(3)), _stretch(rng))
    image = _lit(look_at(Coarse(array, affine)).image, rng)
    return Draw(image, tuple(
        answers.index(truth[question]) if question in truth else NOT_ASKED
        for question, answers in QUESTIONS.items()
    ))  # fmt: skip


def turned(affine: Affine, orientation: str) -> Affine:
    """The affine under which the top of an upright head points to the first letter of
    ``orientation``, its face to the second, and its right side to one of those left.
    """
    top, face = orientation[0], orientation[1]
    side = next(d for d in DIRECTIONS if d not in (top, face, OPPOSITE[top], OPPOSITE[face]))
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for axis, letter in enumerate((side, face, top)):  # where right, front and top come to lie
        row = next(n for n, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        turn[row, axis] = 1 if letter in "RAS" else -1
    return turn @ affine


def stretched(affine: Affine, axis: int, factor: float) -> Affine:
    """Voxels that are ``factor`` times too long along one patient axis."""
    scaled = np.eye(4)
    scaled[axis, axis] = factor
    return scaled @ affine


def _stretch(rng: np.random.Generator) -> float:
    factor = float(np.exp(rng.uniform(np.log(LEAST_STRETCH), np.log(MOST_STRETCH))))
    return factor if rng.random() < 0.5 else 1 / factor


def _moved(affine: Affine, rng: np.random.Generator) -> Affine:
    """Turned and scaled a little, sheared less, mirrored in half of the draws."""
    a, b, c = np.deg2rad(rng.uniform(-DEGREES, DEGREES, 3))
    about = [
        np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]),
        np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]),
        np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]),
    ]
    scales = np.exp(rng.uniform(-SCALING, SCALING) + rng.uniform(-SHEARING, SHEARING, 3))
    move = np.eye(4)
    move[:3, :3] = about[0] @ about[1] @ about[2] @ np.diag(scales * [rng.choice([-1, 1]), 1, 1])
    return move @ affine


def _inverted(array: Floats, rng: np.random.Generator) -> Floats:
    """Dark and bright exchanged, the air among them or left dark."""
    low, high = np.percentile(array, [1, rng.uniform(97, 99.9)])
    inverse = np.maximum(high - array, 0)
    if rng.random() < 0.5:
        inverse[array < low + 0.1 * (high - low)] = 0
    return inverse


def _cut_somewhere(
    array: Floats, affine: Affine, rng: np.random.Generator
) -> tuple[Floats, Affine]:
    """A smaller field of view: the lower part missing, now and then a little of other sides."""
    if rng.random() < 0.3:
        array, affine = _cut(array, affine, "I", 0.35 * rng.random())
    if rng.random() < 0.15:
        array, affine = _cut(array, affine, "S", 0.2 * rng.random())
    if rng.random() < 0.1:
        array, affine = _cut(array, affine, str(rng.choice(list("RLAP"))), 0.12 * rng.random())
    return array, affine


def _cut(array: Floats, affine: Affine, side: str, share: float) -> tuple[Floats, Affine]:
    """Without ``share`` of what lies towards ``side``."""
    codes = axis_codes(affine)
    axis = next(n for n, code in enumerate(codes) if side in (code, OPPOSITE[code]))
    gone = min(int(share * array.shape[axis]), array.shape[axis] - 1)
    if not gone:
        return array, affine
    at_end = codes[axis] == side
    kept = slice(0, -gone) if at_end else slice(gone, None)
    first = np.eye(4)
    first[axis, 3] = 0 if at_end else gone
    return array[tuple(kept if n == axis else slice(None) for n in range(3))], affine @ first


def _thicker(array: Floats, rng: np.random.Generator) -> Floats:
    """Now and then the means over two slices, as thick slices are; the grid stays."""
    if rng.random() < 0.7:
        return array
    axis = int(rng.integers(3))
    factors = [2 if n == axis else 1 for n in range(3)]
    means = block_means(array, factors).repeat(2, axis=axis)
    return means[tuple(map(slice, array.shape))]


def _lit(image: Floats, rng: np.random.Generator) -> Floats:
    """A look with an uneven coil, another curve of brightness, and noise."""
    y = image.copy()
    for axis, n in enumerate(y.shape):
        place = np.linspace(-1, 1, n, dtype=np.float32)
        bias = np.exp(rng.normal(0, 0.1) * place + rng.normal(0, 0.1) * place**2)
        y *= bias.reshape([-1 if a == axis else 1 for a in range(3)])
    y **= np.exp(rng.normal(0, 0.12))
    sigma = rng.choice([0.0, rng.uniform(0, 0.08)])
    real, imaginary = sigma * rng.standard_normal((2, *y.shape), np.float32)
    return np.clip(np.hypot(y + real, imaginary), 0, MOST).astype(np.float32)


def _windowed(array: Floats, rng: np.random.Generator) -> Floats:
    """Hounsfield units as they are, or through one of the windows that viewers have."""
    center, width = rng.choice([(40, 80), (40, 400), (300, 1500), (100, 250), (0, 2000)])
    if rng.random() < 0.2:
        return array
    return np.clip(array, center - width / 2, center + width / 2).astype(np.float32)
