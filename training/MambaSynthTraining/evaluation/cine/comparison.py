"""From the scores of runs to the rows of a table: means per subject, then a paired test.

Subjects are the samples. The frames of a subject are averaged first, then its seeds, because
neither is independent of the other. Each row is compared with the reference row by a paired
t-test over subjects, and the p values are adjusted after Holm for the number of rows compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthTraining.evaluation.cine.score import METRICS, read_scores
from MambaSynthTraining.evaluation.statistics import holm, paired_t_test
from MambaSynthTraining.record import read_record
from MambaSynthTraining.run_folder import RUN

Array = NDArray[np.float64]
FRAME_COLUMNS = (*METRICS, *(f"{metric}_unpadded" for metric in METRICS))
SUBJECT_COLUMNS = ("dice", "folding", "passes", "seconds")
TESTED = ("psnr", "ssim")


@dataclass(frozen=True)
class RowScores:
    """``values[column]`` is (seeds, subjects); NaN where a method has none.

    ``cpu_minutes`` are the mean of the trainings; NaN without one, or on a GPU. ``checkpoints``
    are the hashes of what was scored.
    """

    name: str
    title: str
    subjects: tuple[str, ...]
    values: Mapping[str, Array]
    cpu_minutes: float = math.nan
    checkpoints: tuple[str, ...] = ()

    def mean(self, column: str) -> float:
        return float(self.values[column].mean())

    def of_subjects(self, column: str) -> dict[str, float]:
        """Subject -> mean over its seeds."""
        return dict(zip(self.subjects, self.values[column].mean(axis=0).tolist(), strict=True))

    def over_subjects(self, column: str) -> float:
        """Sample standard deviation of the subjects' means over seeds."""
        return _spread(self.values[column].mean(axis=0))

    def over_seeds(self, column: str) -> float:
        """Sample standard deviation of the seeds' means over subjects; NaN for one seed."""
        return _spread(self.values[column].mean(axis=1))


def _spread(values: Array) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def row_scores(name: str, title: str, runs: Sequence[Path]) -> RowScores:
    """A row of as many scored runs as there are seeds. Raises FileError where one is not scored."""
    records = [read_scores(run) for run in runs]
    subjects = tuple(records[0]["subjects"])
    values = {
        column: np.array(
            [[_of(one["subjects"][subject], column) for subject in subjects] for one in records]
        )
        for column in (*FRAME_COLUMNS, *SUBJECT_COLUMNS)
    }
    checkpoints = tuple(record.get("checkpoint_sha256") or "" for record in records)
    return RowScores(name, title, subjects, values, _cpu_minutes(runs), checkpoints)


def _cpu_minutes(runs: Sequence[Path]) -> float:
    found = [read_record(run) for run in runs if (run / RUN).exists()]
    minutes = [one["cpu_minutes"] for one in found if one.get("device") == "cpu"]
    return float(np.mean(minutes)) if minutes else math.nan


def _of(record: dict[str, Any], column: str) -> float:
    if column in FRAME_COLUMNS:
        return float(np.mean([frame[column] for frame in record["frames"]]))
    value = record[column]
    return math.nan if value is None else float(value)


def p_values(rows: Sequence[RowScores], reference: str, column: str) -> dict[str, float]:
    """Row -> two-sided p of the paired t-test against the reference row, adjusted after Holm.

    Rows for which no test is possible are absent.
    """
    means = {one.name: one.of_subjects(column) for one in rows}
    ours = means.pop(reference)
    raw = {name: paired_t_test(ours, theirs).p for name, theirs in means.items()}
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    return {name: p for name, p in adjusted.items() if p is not None}
