"""MSTG's algorithm seen from outside: the motion once, then one frame after the other.

NumPy only; the network (``inference.py``) computes on whatever device it likes.

| array       | shape     | meaning                                                        |
|-------------|-----------|----------------------------------------------------------------|
| ``ed, es``  | (D,H,W)   | images at end-diastole and end-systole in [0,1], D = slice axis |
| ``image``   | (D,H,W)   | a frame in [0,1]                                               |
| ``field``   | (3,D,H,W) | where each voxel of the frame lies in ED: offset in voxels      |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.methods.mstg.config import MSTGConfig

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """One frame. The field is None where the method has none."""

    image: Array
    field: Array | None


@dataclass(frozen=True)
class Frames:
    """All frames: images (F,D,H,W), fields (F,3,D,H,W) or None."""

    images: Array
    fields: Array | None


class Network(Protocol):
    """What a backend provides. Sizes are multiples of ``config.size_multiple``."""

    config: MSTGConfig

    def motion(self, ed: Array, es: Array) -> Any:
        """Everything that all frames share; only the network looks inside."""

    def frame(self, motion: Any, fraction: float) -> Frame:
        """The frame at a fraction of the time from ED (0) to ES (1)."""


def synthesize(network: Network, ed: Array, es: Array, fractions: Sequence[float]) -> Frames:
    """The frames at ``fractions`` in [0,1] of the time from ED to ES, in that order.

    Raises
    ------
    RequestError: no fraction, one outside [0,1], or two different or unsuitable arrays.
    """
    frames = list(iterate_frames(network, ed, es, fractions))
    fields = [frame.field for frame in frames if frame.field is not None]
    return Frames(np.stack([frame.image for frame in frames]), np.stack(fields) if fields else None)


def iterate_frames(
    network: Network, ed: Array, es: Array, fractions: Sequence[float]
) -> Iterator[Frame]:
    """As ``synthesize``, a frame at a time, for many frames in little memory."""
    _check(ed, es, fractions)
    exact = network.config.exact_ends
    if exact and np.array_equal(ed, es):  # nothing moves, and the fields would say so
        still = np.zeros((3, *ed.shape), np.float32)
        yield from (Frame(ed.copy(), still) for _ in fractions)
        return
    margins = [(0, -n % network.config.size_multiple) for n in ed.shape]
    motion = network.motion(*(np.pad(image, margins, mode="edge") for image in (ed, es)))
    acquired = {0.0: ed, 1.0: es} if exact else {}
    for fraction in fractions:
        frame = _cropped(network.frame(motion, float(fraction)), ed.shape)
        image = acquired.get(float(fraction))
        if image is None:
            image = np.clip(frame.image, 0, 1)
        yield Frame(image.copy(), frame.field)


def _check(ed: Array, es: Array, fractions: Sequence[float]) -> None:
    if ed.ndim != 3 or ed.shape != es.shape:
        raise RequestError(
            f"the images have the shapes {ed.shape} and {es.shape}; give two (D,H,W) of one grid."
        )
    if not len(fractions) or not all(0 <= fraction <= 1 for fraction in fractions):
        raise RequestError(
            f"the fractions are {list(fractions)[:5]}; give at least one, all between 0 and 1."
        )


def _cropped(frame: Frame, shape: tuple[int, ...]) -> Frame:
    inside = tuple(slice(n) for n in shape)
    field = None if frame.field is None else frame.field[:, *inside]
    return Frame(frame.image[inside], field)
