"""The answers that need no training: a method is worth something where it beats them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from MambaSynthLib.cine.rivals import Array, Passage, linear_blend, no_motion
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, Image, SyntheticFrames


@dataclass(frozen=True)
class Untrained(FrameModel):
    """A way from ED to ES of the library's referee, as a row of the table."""

    passage: Callable[[Array, Array], Passage]

    def synthesize(self, ed: Image, es: Image, fractions: Sequence[float]) -> SyntheticFrames:
        way = self.passage(ed, es)
        fields = [field for each in fractions if (field := way.field(each)) is not None]
        images = np.stack([way.frame(each) for each in fractions])
        return SyntheticFrames(images, np.stack(fields) if fields else None, 0)


@dataclass(frozen=True)
class Trivial:
    """A row of the table without training."""

    title: str
    model: FrameModel


TRIVIAL = {
    "no-motion": Trivial("no motion", Untrained(no_motion)),
    "blend": Trivial("linear blend", Untrained(linear_blend)),
}
