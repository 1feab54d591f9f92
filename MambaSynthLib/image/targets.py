"""What comes back from the network, put together to volumes: images and how wrong they may be.

| symbol | shape         | meaning                                                                |
|--------|---------------|------------------------------------------------------------------------|
| y_0    | (n,D,T,H,W)   | D draws of T targets in n slices; their mean becomes the image, their  |
|        |               | standard deviation the spread                                          |
| y_0, h | (n,1,2T,H,W)  | of a model with intervals: the half-widths h are the spread            |
"""

from __future__ import annotations

import numpy as np

from MambaSynthLib.image.intensity import Scaling
from MambaSynthLib.image.preparation import Floats, Indices, Preparation
from MambaSynthLib.image.volume import Volume

Z = 1.645  # standard deviations on either side that hold 90 % of normal values


class Targets:
    """The target volumes and, of several draws or intervals, their spreads, a batch at a time."""

    def __init__(
        self,
        preparation: Preparation,
        contrasts: tuple[str, ...],
        target_range: tuple[float, float],
        spread: bool,
    ) -> None:
        self._preparation, self._contrasts = preparation, contrasts
        self._scaling = Scaling.of_range(*target_range)
        half = self._scaling.half_width
        self._unit = Scaling(half, half)  # -1, the background, -> 0
        self._means = [preparation.blank(self._scaling) for _ in contrasts]
        self._spreads = [preparation.blank(self._unit) for _ in contrasts if spread]

    def write(self, chosen: Indices, draws: Floats) -> None:
        """Put the draws of the n chosen slices to their places."""
        many = len(self._contrasts)
        for number, mean in enumerate(self._means):
            drawn, half_widths = draws[:, :, number], draws[:, :, many + number :]
            self._preparation.write(mean, chosen, drawn.mean(axis=1), self._scaling)
            if self._spreads:
                spread = half_widths[:, 0, 0] if half_widths.size else drawn.std(axis=1)
                self._preparation.write(self._spreads[number], chosen, spread - 1, self._unit)

    def add(self, other: Targets, number: int, weight: Floats | float = 1.0) -> None:
        """Take in what another plane says of the same voxels, the ``number``-th from 2 on.

        The n images x become their mean, in which the first counts 1 and the others ``weight``
        (I,J,K); the half-widths h of their intervals, of which there are as many, grow by what the
        images lie apart: h^2 = mean h_i^2 + Z^2 variance x_i.
        """
        share = np.asarray(weight / (1 + (number - 1) * weight), np.float32)  # of the further plane
        for which, (mean, further) in enumerate(zip(self._means, other._means, strict=True)):
            apart = further - mean
            mean += apart * share
            if self._spreads:
                spread, its = self._spreads[which], other._spreads[which]
                between = (Z * apart) ** 2 * (1 - share)  # Welford
                np.sqrt((1 - share) * spread**2 + share * (its**2 + between), out=spread)

    @property
    def images(self) -> tuple[Floats, ...]:
        """(I,J,K) of each contrast, to be changed in place before they become volumes."""
        return tuple(self._means)

    def volumes(self) -> dict[str, Volume]:
        """By contrast, on the source's grid."""
        return self._named(self._means, "")

    def spreads(self) -> dict[str, Volume]:
        """By contrast, standard deviation or half-width; {} where there is neither."""
        return self._named(self._spreads, " spread")

    def _named(self, arrays: list[Floats], suffix: str) -> dict[str, Volume]:
        source = self._preparation.volume
        return {
            target: source.with_array(array, f"{source.name} synthetic {target}{suffix}")
            for target, array in zip(self._contrasts, arrays, strict=False)
        }
