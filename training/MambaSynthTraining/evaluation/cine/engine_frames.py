"""The frames that a user gets, to be scored: a run's package through ``CineEngine``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from MambaSynthLib.cine.engine import CineEngine
from MambaSynthLib.cine.options import CineOptions
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, Image, SyntheticFrames
from MambaSynthTraining.cine.rivals.volumes import Spacing, as_field, as_image, as_volume
from MambaSynthTraining.export import draft
from MambaSynthTraining.runs import TrainedRun


class EngineFrames(FrameModel):
    """An engine without refinement, which gives the network's own frames, or ``refined``, as it is
    set when nothing is chosen. Without the mark in the voxels, which the rivals do not have either.
    """

    def __init__(self, engine: CineEngine, spacing_mm: Spacing, refined: bool) -> None:
        self._engine, self._spacing = engine, spacing_mm
        self._options = CineOptions(refine=refined, pixel_mark=False)

    def synthesize(self, ed: Image, es: Image, fractions: Sequence[float]) -> SyntheticFrames:
        first, last = (as_volume(image, self._spacing) for image in (ed, es))
        made = self._engine.synthesize(
            first, last, fractions, options=self._options, with_fields=True
        )
        images = np.stack([as_image(frame) for frame in made.frames])
        fields = None if made.fields is None else np.stack([as_field(f) for f in made.fields])
        return SyntheticFrames(images, fields, self._passes(len(fractions)))

    def _passes(self, frames: int) -> int:
        network = self._engine.card.network
        if self._options.refine:
            frames = 1
        both = 2 if network.get("bidirectional") else 1
        return both if network.get("velocity") else both * frames


@contextmanager
def engine_of(run: TrainedRun, device: str) -> Iterator[CineEngine]:
    """The engine of a run's package, which is written for the time being."""
    with tempfile.TemporaryDirectory() as place:
        yield CineEngine(draft(run, Path(place) / "draft"), device)
