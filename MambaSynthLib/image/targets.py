"""What comes back from the network, put together to volumes: the mean of the draws, its spread."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from MambaSynthLib.image.intensity import Scaling
from MambaSynthLib.image.neighbors import OverlapMean
from MambaSynthLib.image.preparation import Floats, Indices, IntensitySpec, Preparation
from MambaSynthLib.image.volume import Volume


class Targets:
    """The target volumes and, of several draws, their spreads, filled a batch at a time.

    ``contrasts``: contrast -> what averages the estimates of its slices, in the order in which the
    network gives them. Only the ``wanted`` slices are written.
    """

    def __init__(
        self,
        preparation: Preparation,
        contrasts: Mapping[str, OverlapMean],
        wanted: Indices,
        intensity: IntensitySpec,
        spread: bool,
    ) -> None:
        self._preparation, self._contrasts, self._wanted = preparation, contrasts, wanted
        self._scaling = Scaling.of_range(*intensity.target_range)
        half = self._scaling.half_width
        self._unit = Scaling(half, half)  # -1, the background, -> 0
        self._means = [preparation.blank(self._scaling) for _ in contrasts]
        self._spreads = [preparation.blank(self._unit) for _ in contrasts if spread]

    def write(self, chosen: Indices, draws: list[Floats]) -> None:
        """Put the draws (n,T,1+2o,H,W) of the n chosen slices to their places."""
        for number, overlapping in enumerate(self._contrasts.values()):
            drawn = [draw[:, number] for draw in draws]
            finished, means = overlapping.add(chosen, np.mean(drawn, axis=0))
            asked = np.isin(finished, self._wanted)
            self._preparation.write(
                self._means[number], finished[asked], means[asked], self._scaling
            )
            if self._spreads:
                deviation = np.std(drawn, axis=0)[:, 0] - 1
                self._preparation.write(self._spreads[number], chosen, deviation, self._unit)

    def volumes(self) -> dict[str, Volume]:
        """By contrast, on the source's grid."""
        return self._named(self._means, "")

    def spreads(self) -> dict[str, Volume]:
        """By contrast, the standard deviation over the draws; {} where none was asked for."""
        return self._named(self._spreads, " spread")

    def _named(self, arrays: list[Floats], suffix: str) -> dict[str, Volume]:
        source = self._preparation.volume
        return {
            target: source.with_array(array, f"{source.name} synthetic {target}{suffix}")
            for target, array in zip(self._contrasts, arrays, strict=False)
        }
