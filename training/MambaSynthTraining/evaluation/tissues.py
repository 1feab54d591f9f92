"""Where a synthetic volume is wrong: tissue by tissue, and whether its contrast is flipped.

| symbol | code       | shape   | meaning                                                     |
|--------|------------|---------|-------------------------------------------------------------|
| M      | ``inside`` | (I,J,K) | foreground of the acquired volume                           |
| y, r   | ``y``, ``r`` | (m,)  | both volumes in M, with mean 0 and standard deviation 1     |
| e      | ``error``  | (m,)    | abs(y - r), so that a gain and an offset cost nothing       |

r of the table is Pearson's correlation, mean(y r). A synthetic image whose contrast is not flipped
has a negative one, however well its lines are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from MambaSynthLib.image.metrics import foreground, z_score
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.label_map import LabelMap

FEWEST = 20  # voxels of a tissue whose error is told


@dataclass(frozen=True)
class TissueRow:
    """One synthetic volume."""

    subject: str
    seed: int
    correlation: float
    errors: Mapping[str, float]  # tissue -> mean e; those with too few voxels are absent


def tissue_row(
    subject: str, seed: int, synthetic: Volume, acquired: Volume, labels: LabelMap | None
) -> TissueRow:
    """All three on one grid. A constant volume correlates with nothing."""
    inside = foreground(acquired.array)
    y, r = (volume.array[inside].astype(np.float64) for volume in (synthetic, acquired))
    if np.ptp(y) == 0 or np.ptp(r) == 0:
        return TissueRow(subject, seed, 0.0, {})
    y, r = z_score(y), z_score(r)
    errors: dict[str, float] = {}
    error = np.abs(y - r)
    if labels is not None:
        numbers = labels.volume.array[inside]
        for name in dict.fromkeys(labels.names.values()):
            own = np.isin(numbers, [n for n, other in labels.names.items() if other == name])
            if own.sum() >= FEWEST:
                errors[name] = float(error[own].mean())
    return TissueRow(subject, seed, float((y * r).mean()), errors)


def tissue_means(rows: Sequence[TissueRow]) -> dict[str, float]:
    """Tissue -> mean over the subjects that have it, each the mean over its seeds; and the
    correlation as ``r``.
    """
    return {
        "r": _mean_over_subjects([(row.subject, row.correlation) for row in rows]),
        **{
            name: _mean_over_subjects(
                [(row.subject, row.errors[name]) for row in rows if name in row.errors]
            )
            for name in dict.fromkeys(name for row in rows for name in row.errors)
        },
    }


def _mean_over_subjects(values: Sequence[tuple[str, float]]) -> float:
    subjects = dict.fromkeys(subject for subject, _ in values)
    means = [np.mean([v for other, v in values if other == subject]) for subject in subjects]
    return float(np.mean(means))
