"""Which slices of a volume are computed in one plane, and for which results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.neighbors import Indices, offsets
from MambaSynthLib.image.preparation import Preparation


@dataclass(frozen=True)
class Plan:
    """The slices (n,) that become results, and those that the network is called for."""

    preparation: Preparation
    wanted: Indices
    computed: Indices

    @classmethod
    def of(cls, preparation: Preparation, slices: tuple[int, int] | None, overlap: int) -> Plan:
        """All slices with tissue, or those of a range (first, one past last).

        Raises RequestError for a range outside the volume.
        """
        tissue = preparation.tissue_slices()
        wanted = _wanted(tissue, slices, preparation.volume.name)
        return cls(preparation, wanted, _speaking_of(wanted, overlap, tissue))

    def batches(self, size: int) -> Iterator[Indices]:
        """The computed slices, so many at a time."""
        for start in range(0, len(self.computed), size):
            yield self.computed[start : start + size]


def _wanted(tissue: NDArray[np.bool_], slices: tuple[int, int] | None, name: str) -> Indices:
    """The indices of the results. Raises RequestError for a range outside the volume."""
    first, last = slices if slices is not None else (0, len(tissue))
    if not 0 <= first < last <= len(tissue):
        raise RequestError(
            f"slices {first}:{last} are not in {name}, which has {len(tissue)} slices along the "
            f"model's axis; give A:B with 0 <= A < B <= {len(tissue)}."
        )
    wanted = np.flatnonzero(tissue)
    return wanted[(wanted >= first) & (wanted < last)]


def _speaking_of(wanted: Indices, o: int, tissue: NDArray[np.bool_]) -> Indices:
    """The slices with tissue whose estimates reach a wanted one: a range changes no result."""
    reached = np.unique(wanted[:, None] + offsets(o)).astype(np.intp)
    reached = reached[(reached >= 0) & (reached < len(tissue))]
    return reached[tissue[reached]]
