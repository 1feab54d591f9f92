"""``losses.csv``, ``validation.csv`` and TensorBoard's files; none keeps what a killed run wrote
too much.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from MambaSynthTraining.data.batches import Validation

LOSSES, VALIDATION, TENSORBOARD = "losses.csv", "validation.csv", "tensorboard"


class Logs:
    """The logs of one run from ``iteration`` on; rows after it are forgotten, they come again."""

    def __init__(self, run: Path, iteration: int) -> None:
        self.path, self.validated = run / LOSSES, run / VALIDATION
        for path in (self.path, self.validated):
            forget_after(path, iteration)
        self.writer = SummaryWriter(run / TENSORBOARD, purge_step=iteration + 1)

    def losses(self, iteration: int, terms: Mapping[str, float]) -> None:
        """One row; a term that the file has no column for yet adds one."""
        _append(self.path, iteration, terms)
        for name, value in terms.items():
            self.writer.add_scalar(f"losses/{name}", value, iteration)

    def validation(self, iteration: int, found: Validation) -> None:
        """The validation error, the correlation where there is one, and the picture."""
        measures = {"mean absolute error": found.error}
        if found.correlation is not None:
            measures["r inside the tissue"] = found.correlation.synthetic
            measures["r of the mean target"] = found.correlation.mean_target
        _append(self.validated, iteration, measures)
        for name, value in measures.items():
            self.writer.add_scalar(f"validation/{name}", value, iteration)
        self.writer.add_image(f"validation/{found.shown}", found.picture, iteration)

    def close(self) -> None:
        self.writer.close()


def _append(path: Path, iteration: int, values: Mapping[str, float]) -> None:
    row = {"iteration": str(iteration), **{k: f"{v:.6g}" for k, v in values.items()}}
    columns, rows = _read(path)
    if set(row) <= set(columns):
        with open(path, "a", newline="") as file:
            csv.DictWriter(file, columns, restval="").writerow(row)
    else:
        columns += [name for name in row if name not in columns]
        _write(path, columns, [*rows, row])


def forget_after(path: Path, iteration: int) -> None:
    """Drop the rows that a killed run logged after its last checkpoint, and half a row."""
    columns, rows = _read(path)
    if columns:
        _write(path, columns, [row for row in rows if int(row["iteration"]) <= iteration])


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    if not path.exists():
        return [], []
    with open(path, newline="") as file:
        reader = csv.DictReader(file, restval="")
        rows = [row for row in reader if row["iteration"].isdigit()]
        return list(reader.fieldnames or []), rows


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    temporary = path.with_suffix(".part")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)
