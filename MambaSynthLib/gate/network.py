"""The gate's network, in NumPy: four convolutions and two matrices, 0.1 million values.

    look (40,46,40) --4 x [3x3x3, stride 2, ReLU]--> (c,3,3,3) --matrix, ReLU, matrix--> logits

It is trained and written by ``mambasynth gate``; ``gate.json`` beside it says on whose images,
under which license, where its thresholds lie, and the sha256 of its weights, which is checked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from MambaSynthLib.errors import ModelError
from MambaSynthLib.gate.questions import QUESTIONS
from MambaSynthLib.io.payload import shown

CARD, WEIGHTS = "gate.json", "gate.safetensors"
CONVOLUTIONS = 4

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Threshold:
    """Of the probability that a volume fits, by one question: below ``doubtful`` it is doubtful,
    below ``refused`` it is refused.
    """

    doubtful: float
    refused: float


@dataclass(frozen=True)
class Gate:
    """The network and its thresholds by question.

    weights: conv0..conv3 (out,in,3,3,3), hidden, logits (out,in), each with its ``.bias`` (out,).
    """

    weights: dict[str, Floats]
    thresholds: dict[str, Threshold]

    def answers(self, image: Floats) -> dict[str, dict[str, float]]:
        """Question -> answer -> probability, for a look (40,46,40)."""
        logits = self._logits(image)
        found: dict[str, dict[str, float]] = {}
        for question, answers in QUESTIONS.items():
            own, logits = logits[: len(answers)], logits[len(answers) :]
            share = np.exp(own - own.max())
            share /= share.sum()
            found[question] = dict(zip(answers, share.tolist(), strict=True))
        return found

    def _logits(self, image: Floats) -> Floats:
        x = image[None]
        for n in range(CONVOLUTIONS):
            x = np.maximum(_convolved(x, *self._layer(f"conv{n}")), 0)
        for name in ("hidden", "logits"):
            kernel, bias = self._layer(name)
            x = kernel @ np.maximum(x.ravel(), 0) + bias
        return x

    def _layer(self, name: str) -> tuple[Floats, Floats]:
        return self.weights[name], self.weights[f"{name}.bias"]


def _convolved(x: Floats, kernel: Floats, bias: Floats) -> Floats:
    """(c,I,J,K) -> (o,ceil(I/2),...): 3 x 3 x 3, zero-padded by one, every second place."""
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (1, 1)])
    windows = sliding_window_view(padded, (3, 3, 3), axis=(1, 2, 3))[:, ::2, ::2, ::2]
    found: Floats = np.tensordot(kernel, windows, ((1, 2, 3, 4), (0, 4, 5, 6)))
    return found + bias[:, None, None, None]


@cache
def shipped_gate() -> Gate:
    """The gate that comes with the library. Raises ModelError where a file of it is damaged."""
    return read_gate(Path(__file__).parent)


def read_gate(folder: Path) -> Gate:
    """The gate in a folder, from bytes whose sha256 is the one in its card.

    Raises ModelError: a file is missing, or not what the card says.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
        data = (folder / WEIGHTS).read_bytes()
        sha256, limits = card["sha256"], card["thresholds"]
        thresholds = {question: Threshold(**limits[question]) for question in QUESTIONS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{shown(folder)}: the files {CARD} and {WEIGHTS} of the input gate are missing or "
            "damaged; install MambaSynth again."
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{shown(folder / WEIGHTS)}: its sha256 is {found[:12]}..., but {CARD} says "
            f"{str(sha256)[:12]}...; install MambaSynth again."
        )
    try:
        weights = {name: array.astype(np.float32) for name, array in load(data).items()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(
            f"{WEIGHTS} of the input gate: is no valid safetensors file ({error}); install "
            "MambaSynth again."
        ) from error
    return Gate(weights, thresholds)


def write_gate(folder: Path, weights: dict[str, Floats], card: dict[str, Any]) -> None:
    """Write both files, in half precision; ``card`` is all but the hash.

    Raises FileError where the folder cannot be written.
    """
    from safetensors.numpy import save

    from MambaSynthLib.io.atomic import write_json, write_whole

    data = save({name: np.ascontiguousarray(a, np.float16) for name, a in weights.items()})
    write_whole(folder / WEIGHTS, data)
    write_json(folder / CARD, {**card, "sha256": hashlib.sha256(data).hexdigest()})
