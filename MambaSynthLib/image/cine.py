"""A cine is an ordered set of volumes on one grid, each with its trigger time.

| symbol | code              | shape      | meaning                                                |
|--------|-------------------|------------|--------------------------------------------------------|
| V_f    | ``frames[f]``     | (I,J,K)    | the heart at one moment of its cycle                   |
| t_f    | ``times_ms[f]``   | -          | milliseconds after the R wave, growing                 |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.volume import Volume, check_same_grid

FEWEST = 2  # frames; one has no motion
USUAL_INTERVAL_MS = 300.0  # from ED to ES at rest, assumed where no time is known
USUAL_CYCLE_MS = 1000.0


@dataclass(frozen=True)
class Cine:
    """Frames of one beating heart, in the order of their trigger times.

    Parameters
    ----------
    frames: two or more volumes on one grid.
    times_ms: as many trigger times, strictly growing.
    name: what to call it in messages.
    notes: named warnings collected while reading.
    phases: frame indices (ED, ES), from 0, and how they are known, where a file beside the images
        says so.

    Raises
    ------
    VolumeError: fewer than two frames, another number of times, times that do not grow, or frames
        on different grids; the sentence names the first that is wrong.
    """

    frames: tuple[Volume, ...]
    times_ms: tuple[float, ...]
    name: str = "cine"
    notes: tuple[str, ...] = ()
    phases: tuple[int, int, str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))
        object.__setattr__(self, "times_ms", tuple(float(time) for time in self.times_ms))
        if len(self.frames) < FEWEST:
            raise VolumeError(
                f"{self.name}: has {len(self.frames)} frame{'s' * (len(self.frames) != 1)}, but a "
                "cine needs two or more; give a cine, or an ED and an ES volume."
            )
        if len(self.times_ms) != len(self.frames):
            raise VolumeError(
                f"{self.name}: has {len(self.frames)} frames but {len(self.times_ms)} trigger "
                "times; give one time for each frame."
            )
        check_times(self.times_ms, self.name)
        for number, frame in enumerate(self.frames[1:], start=2):
            who = f"{self.name}: frame {number}"
            check_same_grid(frame, self.frames[0], who, "frame 1")

    @property
    def period_ms(self) -> float:
        """The length of the cycle if the frames cover it evenly: the last frame ends like others
        do.
        """
        span = self.times_ms[-1] - self.times_ms[0]
        return span + span / (len(self.times_ms) - 1)


def check_times(times_ms: Sequence[float], name: str) -> None:
    """Raise VolumeError where trigger times are not finite or do not grow."""
    if not np.all(np.isfinite(times_ms)):
        raise VolumeError(f"{name}: a trigger time is no finite number; correct the times.")
    for number, (before, after) in enumerate(zip(times_ms, times_ms[1:], strict=False), start=2):
        if not after > before:
            raise VolumeError(
                f"{name}: frame {number} is at {after:g} ms, not after frame {number - 1} at "
                f"{before:g} ms; sort the frames by time."
            )


def of_frames(
    frames: Sequence[Volume], times_ms: Sequence[float] | None = None, name: str = ""
) -> Cine:
    """The cine of volumes in the order of time; two are ED and ES. Raises VolumeError as Cine.

    Without times, two are taken as 300 ms apart and more as one cycle of 1000 ms, with a note.
    """
    notes = tuple(dict.fromkeys(note for frame in frames for note in frame.notes))
    if times_ms is None:
        step = USUAL_INTERVAL_MS if len(frames) == 2 else USUAL_CYCLE_MS / max(len(frames), 1)
        notes += (f"times assumed: {step:.4g} ms from frame to frame",)
        times_ms = [step * number for number in range(len(frames))]
    names = dict.fromkeys(frame.name for frame in frames)
    phases = (0, 1, "the order in which they were given") if len(frames) == 2 else None
    name = name or " + ".join(list(names)[:2]) or "cine"
    return Cine(tuple(frames), tuple(times_ms), name, notes, phases)
