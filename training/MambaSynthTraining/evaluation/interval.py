"""What intervals are multiplied by so that they hold what they promise, and what they then hold.

    rows of score-heads of people left out --f(90 %)--> one factor a person --largest--> card
    the same rows, the factor of all OTHER people --> share of this person's values within

Split conformal prediction (Lei et al. 2018), with whole people as the unit: the voxels of one say
little about those of another. Of so few people the quantile that holds for nine in ten new ones is
the largest; a mean would be too narrow for half of them. A person is tested with a factor that she
had no part in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from MambaSynthTraining.evaluation.head_measures import LEVELS
from MambaSynthTraining.evaluation.heads import FACTORS

Row = dict[str, Any]
PROMISED = f"factor of {0.9:g}"
USED = {("whole", "head"), ("stripped", "brain")}  # what a factor is found on


def interval_of_scores(rows: Iterable[Row]) -> float:
    """The factor of the card, that of the hardest person; 1 where no row has intervals."""
    by_person: dict[str, list[float]] = {}
    for row in rows:
        if PROMISED in row and (row["input"], row["region"]) in USED:
            by_person.setdefault(row["person"], []).append(np.log(row[PROMISED]))
    return float(np.exp(max((np.mean(found) for found in by_person.values()), default=0.0)))


def coverage(row: Row, rows: Iterable[Row]) -> float | None:
    """The share of the acquired values of ``row`` within intervals by the other people's factor.

    None without intervals, or without other people. Between ``LEVELS`` it is interpolated.
    """
    others = [other for other in rows if other.get("person") != row.get("person")]
    if PROMISED not in row or not any(PROMISED in other for other in others):
        return None
    factors = [row[name] for name in FACTORS]
    return float(np.interp(interval_of_scores(others), [0.0, *factors], [0.0, *LEVELS]))
