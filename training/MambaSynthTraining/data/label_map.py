"""Which tissue each voxel of a subject shows, for scores tissue by tissue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from MambaSynthLib.image.volume import Volume

LABELS = "labels"  # in the place of a contrast in the name of its file


@dataclass(frozen=True)
class LabelMap:
    """Whole numbers on a subject's grid; those without a name count for nothing."""

    volume: Volume
    names: Mapping[int, str]  # several numbers may have one name
