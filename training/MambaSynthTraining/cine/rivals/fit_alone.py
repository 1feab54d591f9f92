"""Optimization on the case alone: the engine's refinement, from rest instead of from a network.

What a network is worth shows beside this row: its start must make the refinement better or faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MambaSynthLib.cine.drawing import iterate_frames
from MambaSynthLib.cine.frame_stacks import Stacks
from MambaSynthLib.cine.motion import fit_pair
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.cine.timing import cardiac
from MambaSynthLib.image.cine import USUAL_INTERVAL_MS
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, Image, SyntheticFrames
from MambaSynthTraining.cine.rivals.volumes import Spacing, as_field, as_image, as_volume


class FitAlone(FrameModel):
    """With the engine's settings and its course of time."""

    def __init__(self, spacing_mm: Spacing) -> None:
        self._spacing = spacing_mm

    def synthesize(self, ed: Image, es: Image, fractions: Sequence[float]) -> SyntheticFrames:
        first, last = (as_volume(image, self._spacing) for image in (ed, es))
        motion = fit_pair(
            first, last, Stacks.of([first, last]), settings=CineOptions().fit_settings()
        )
        course = cardiac(USUAL_INTERVAL_MS)
        frames, fields = [], []
        for frame, field in iterate_frames(motion, first, last, fractions, course, True):
            frames.append(as_image(frame))
            if field is not None:
                fields.append(as_field(field))
        return SyntheticFrames(np.stack(frames), np.stack(fields), 0)
