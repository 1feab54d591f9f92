"""The answers that need no training: a method is worth something where it beats them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from MambaSynthLib.cine.rivals import Array, Passage, linear_blend, no_motion, tv_l1
from MambaSynthTraining.cine.rivals.fit_alone import FitAlone
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, Image, SyntheticFrames
from MambaSynthTraining.cine.rivals.volumes import Spacing


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
    """A row of the table without training; ``model`` is told the voxels' size."""

    title: str
    model: Callable[[Spacing], FrameModel]


def _untrained(passage: Callable[[Array, Array], Passage], _: Spacing) -> FrameModel:
    return Untrained(passage)


TRIVIAL = {
    "no-motion": Trivial("no motion", partial(_untrained, no_motion)),
    "blend": Trivial("linear blend", partial(_untrained, linear_blend)),
    "tv-l1": Trivial("TV-L1", partial(_untrained, tv_l1)),
    "fit": Trivial("fit to the case, no network", FitAlone),
}
