"""One image of cubes -> the probability of brain and of head in each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.methods.maskunet.config import FOLD, OUTPUTS

Floats = NDArray[np.float32]
STEEPEST = 30.0  # logits beyond this are certain


def probabilities(network: Callable[[Floats], Floats], image: Floats) -> Floats:
    """(D,H,W), sizes of the network's multiple -> (2,D,H,W) from 0 to 1: brain, head."""
    logits = unfold(network(fold(image)[None])[0])
    odds = np.exp(np.clip(logits, -STEEPEST, STEEPEST), dtype=np.float32)
    found: Floats = odds / (1 + odds)
    return found


def fold(image: Floats) -> Floats:
    """(D,H,W) -> (8,D/2,H/2,W/2)."""
    d, h, w = (n // FOLD for n in image.shape)
    parts = image.reshape(d, FOLD, h, FOLD, w, FOLD).transpose(1, 3, 5, 0, 2, 4)
    return np.ascontiguousarray(parts.reshape(FOLD**3, d, h, w))


def unfold(folded: Floats) -> Floats:
    """(2 x 8,D/2,H/2,W/2) -> (2,D,H,W), undoing ``fold`` for each output."""
    d, h, w = folded.shape[1:]
    parts = folded.reshape(len(OUTPUTS), FOLD, FOLD, FOLD, d, h, w)
    return parts.transpose(0, 4, 1, 5, 2, 6, 3).reshape(len(OUTPUTS), FOLD * d, FOLD * h, FOLD * w)
