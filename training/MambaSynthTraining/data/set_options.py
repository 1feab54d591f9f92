"""What a whole data set is made by: its split, its steps, who is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from MambaSynthTraining.data.subject_making import Steps


@dataclass(frozen=True)
class SetOptions:
    """What was asked for, besides the layout."""

    name: str
    contrasts: tuple[str, ...]
    steps: Steps
    register: str  # 'all', 'needed', 'evaluation' (validation and test only) or 'none'
    split: str  # 'first40', 'random', one of SPLITS, or the name of a JSON file
    seed: int
    by_site: bool
    limit: int  # how many of the subjects to use; 0 for all
    strict: bool
    options: dict[str, Any]  # for dataset.json
    shares: Mapping[str, float] = field(default_factory=dict)  # of the layout's groups in training
