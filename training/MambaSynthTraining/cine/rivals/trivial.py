"""The answers that need no training: a method is worth something where it beats them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from MambaSynthTraining.cine.rivals.frame_model import FrameModel, Image, SyntheticFrames


class NoMotion(FrameModel):
    """Every frame is the nearer of the two acquired ones."""

    def synthesize(self, ed: Image, es: Image, fractions: Sequence[float]) -> SyntheticFrames:
        images = np.stack([ed if fraction <= 0.5 else es for fraction in fractions])
        return SyntheticFrames(images, np.zeros((len(images), 3, *ed.shape), np.float32), 0)


class LinearBlend(FrameModel):
    """(1 - gamma) ED + gamma ES: the walls are seen twice, and a pixel-wise score likes it."""

    def synthesize(self, ed: Image, es: Image, fractions: Sequence[float]) -> SyntheticFrames:
        images = [ed + np.float32(fraction) * (es - ed) for fraction in fractions]
        return SyntheticFrames(np.stack(images), None, 0)


@dataclass(frozen=True)
class Trivial:
    """A row of the table without training."""

    title: str
    model: Callable[[], FrameModel]


TRIVIAL = {
    "no-motion": Trivial("no motion", NoMotion),
    "blend": Trivial("linear blend", LinearBlend),
}
