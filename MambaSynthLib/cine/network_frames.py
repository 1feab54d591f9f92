"""Frames as the network alone makes them: ED moved by its field, and what it changed beyond that.

| symbol | code          | meaning                                                                 |
|--------|---------------|-------------------------------------------------------------------------|
| gamma  | ``gamma``     | phase between ED (0) and ES (1)                                         |
| u      | ``field``     | pull field of a frame to ED, in canvas voxels, see preparation.py       |
| y      | ``image``     | the method's frame on its own canvas, in [0,1]                          |

A frame is  V_ED pulled by u,  plus what the method changed beyond motion,  y - y_ED pulled by u.
Motion is applied to the acquired voxels on their own grid, so that frames stay as sharp as ED.
Beyond the network's field of view, frames pass from ED to ES linearly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.cine.preparation import CinePreparation, prepare_cine
from MambaSynthLib.errors import Cancelled
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.card import CineGridSpec

NO_CHANGE = 1e-4  # of the intensity range; smaller differences are rounding

Array = NDArray[np.float32]


@dataclass(frozen=True)
class NetworkMotion:
    """The frames of a method's network between ED and ES. ``synthesis``: the method's module."""

    synthesis: Any
    network: Any
    pair: _Pair

    @classmethod
    def of(
        cls,
        synthesis: Any,
        network: Any,
        ed: Volume,
        es: Volume,
        grid: CineGridSpec,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> NetworkMotion:
        pair = _Pair.of(ed, es, prepare_cine(ed, es, grid))
        return cls(synthesis, _Cancellable(network, cancelled), pair)

    def frames(self, gammas: Sequence[float]) -> Iterator[tuple[Array, Array | None]]:
        """(I,J,K) each frame, and (3,I,J,K) its field in the source's voxels, or None."""
        pair = self.pair
        found = self.synthesis.iterate_frames(
            self.network, pair.canvas_ed, pair.canvas_es, list(gammas)
        )
        for gamma, made in zip(gammas, found, strict=True):
            field = None
            if made.field is not None:
                field = pair.preparation.field_of_source(made.field if gamma else 0 * made.field)
            yield pair.frame(made, gamma), field

    def whole_field(self) -> Array | None:
        """(3,I,J,K) the field from ED to ES, to begin a refinement with."""
        _, field = next(self.frames([1.0]))
        return field


@dataclass(frozen=True)
class _Pair:
    """ED and ES as acquired and as the network sees them."""

    ed: Volume
    es: Volume
    preparation: CinePreparation
    canvas_ed: Array
    canvas_es: Array

    @classmethod
    def of(cls, ed: Volume, es: Volume, preparation: CinePreparation) -> _Pair:
        canvases = preparation.to_network(ed), preparation.to_network(es)
        return cls(ed, es, preparation, *canvases)

    def frame(self, made: Any, gamma: float) -> Array:
        """(I,J,K) what the method made (image and field), in the units of ED and ES."""
        if gamma in (0, 1) or made is None:
            return self.es.array if gamma == 1 else self.ed.array
        blend = self.ed.array + np.float32(gamma) * (self.es.array - self.ed.array)
        prepared = self.preparation
        seen = prepared.from_network(np.ones(prepared.canvas_size, np.float32))
        if made.field is None:
            painted = prepared.from_network(made.image) * prepared.intensity_range
            return painted + seen * np.float32(prepared.low) + (1 - seen) * blend
        moved = prepared.moved(self.ed, made.field)
        change = _beyond_motion(made.image, self.canvas_ed, made.field)
        if change is not None:
            moved += prepared.from_network(change) * prepared.intensity_range
        frame: Array = np.where(seen == 1, moved, seen * moved + (1 - seen) * blend)
        return frame


def _beyond_motion(image: Array, ed: Array, field: Array) -> Array | None:
    """(D,H,W) the part of ``image`` that moving ``ed`` does not explain; None where there is none.

    Where the field points out of the canvas it is not known what was moved: there it is that of
    the nearest voxel where it is, so that no edge shows.
    """
    from scipy.ndimage import distance_transform_edt, map_coordinates

    places = field + np.stack(np.meshgrid(*map(np.arange, ed.shape), indexing="ij"))
    last = np.array(ed.shape).reshape(3, 1, 1, 1) - 1
    inside = np.all((places >= 0) & (places <= last), axis=0)
    if not inside.any():
        return None
    change = image - map_coordinates(ed, places, order=1, mode="nearest")
    if not inside.all():
        nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
        change = change[tuple(nearest)]
    return change.astype(np.float32) if np.abs(change).max() > NO_CHANGE else None


class _Cancellable:
    """A method's network that asks between computations whether to go on."""

    def __init__(self, network: Any, cancelled: Callable[[], bool]) -> None:
        self._network, self._cancelled = network, cancelled

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._network, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            if self._cancelled():
                raise Cancelled
            return found(*arguments)

        return call
