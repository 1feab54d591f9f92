"""The files of one scored candidate, read back."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.evaluation.measures import CANVAS, MEASURES


@dataclass(frozen=True)
class Result:
    """A folder written by ``evaluate-set``."""

    folder: Path
    record: dict[str, Any]
    rows: list[dict[str, Any]]  # of per_subject.csv: subject, seed, n_slices, measures

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def subjects(self) -> list[str]:
        return [one["subject"] for one in self.record["data"]["subjects"]]

    @property
    def data_key(self) -> str:
        """Equal for results that may stand in one table: the same slices of the same people."""
        data = self.record["data"]
        return json.dumps([data["split"], data.get("contrasts"), data["subjects"]])

    def of_subjects(self, measure: str) -> dict[str, float]:
        """Subject -> mean over its seeds; subjects without that measure are absent."""
        return self._means_by("subject", measure)

    def of_seeds(self, measure: str) -> dict[Any, float]:
        """Seed -> mean over the subjects."""
        return self._means_by("seed", measure)

    def _means_by(self, column: str, measure: str) -> dict[Any, float]:
        found: dict[Any, list[float]] = {}
        for row in self.rows:
            if row.get(measure) is not None:
                found.setdefault(row[column], []).append(row[measure])
        return {key: float(np.mean(values)) for key, values in found.items()}

    def examples(self) -> dict[str, Any]:
        """Name -> (3,H,W) source, synthetic, acquired."""
        with np.load(self.folder / "examples.npz") as arrays:
            return {name: arrays[name] for name in arrays}


def read_result(folder: Path) -> Result:
    """The result in a folder. Raises FileError when it is none or not complete."""
    try:
        record = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        with open(folder / "per_subject.csv", newline="", encoding="utf-8") as file:
            rows = [_numbers(row) for row in csv.DictReader(file)]
        _ = record["name"], record["data"]["subjects"], record["seeds"], record["about"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{folder}: holds no complete scores ({error}); run 'mambasynth evaluate-set' again."
        ) from error
    return Result(folder, record, rows)


def frame_of(results: Sequence[Result]) -> str:
    """What the names of the first table's measures begin with: the paper's frame, where there are
    scores of it.
    """
    return CANVAS if any(result.of_subjects(f"{CANVAS}ssim") for result in results) else ""


def one_row(results: Sequence[Result]) -> Result:
    """The result of several trainings of one recipe: its seeds are pairs of training and sampling,
    its minutes the mean.
    """
    first = results[0]
    if len(results) == 1:
        return first
    records = [result.record for result in results]
    rows = [{**row, "seed": (n, row["seed"])} for n, one in enumerate(results) for row in one.rows]
    means = {
        key: _means([record[key] for record in records])
        for key in ("mean_over_slices", "mean_over_subjects", "tissues")
    }
    minutes = [record["about"].get("minutes", 0.0) for record in records]
    about = {**first.record["about"], "minutes": float(np.mean(minutes))}
    distribution = [one for record in records for one in record["distribution"]]
    more = {"about": about, "distribution": distribution, "trainings": len(results), **means}
    return Result(first.folder, {**first.record, **more}, rows)


def _means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = [name for name in found[0] if all(name in one for one in found)]
    return {name: float(np.mean([one[name] for one in found])) for name in names}


def _numbers(row: Mapping[str, str]) -> dict[str, Any]:
    measures = {m.name: float(row[m.name]) if row.get(m.name) else None for m in MEASURES}
    head = {"subject": row["subject"], "seed": int(row["seed"]), "n_slices": int(row["n_slices"])}
    return {**head, **measures}


def results_in(folders: Sequence[Path]) -> list[Result]:
    """Every result in the folders, of whatever subjects; a folder of folders counts as all results
    below it. Those of trivial answers come first, in their order.
    """
    results = [read_result(path) for folder in folders for path in _result_folders(folder)]
    last = len(results)
    return sorted(results, key=lambda result: result.record["about"].get("trivial", last))


def read_results(folders: Sequence[Path]) -> list[Result]:
    """Results that may be compared, those of trivial answers last.

    Raises
    ------
    RequestError: there are none, or they are of different subjects, or two have one name.
    """
    results = results_in(folders)
    if not results:
        raise RequestError("no folder holds scores; run 'mambasynth evaluate-set' first.")
    for other in results[1:]:
        if other.data_key != results[0].data_key:
            raise RequestError(
                f"{other.folder}: was scored on other subjects or another direction than "
                f"{results[0].folder}, so the two cannot stand in one table; score them alike."
            )
    names = [result.name for result in results]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise RequestError(f"{twice}: names two results; give one of them another --name.")
    return sorted(results, key=lambda result: result.record["about"].get("trivial", -1))


def _result_folders(folder: Path) -> list[Path]:
    if (folder / "scores.json").exists():
        return [folder]
    return sorted(path.parent for path in folder.glob("**/scores.json"))
