"""How far the heart has come on its way from ED to ES, as a function of time.

| symbol | code        | meaning                                                              |
|--------|-------------|----------------------------------------------------------------------|
| tau    | ``tau``     | time between the two acquired frames, 0 to 1                         |
| s      | ``share``   | share of the motion done by then, monotone from 0 to 1               |
| T, t_R | ``length_ms``, ``start_ms`` | from ED to ES; trigger time of ED, after the R wave  |

Between ED and ES alone nobody has seen the course. ``cardiac`` is a prior: for the isovolumic
contraction after the R wave, ``DELAY_MS``, the wall hardly moves; then
s = I_x(a, b), the regularized incomplete beta function of the rest of the time x, rises like an
ejection curve. ``linear`` is s = tau. A table in a file gives any other course. Between the frames
of a coarse cine the neighbors tell the course, see ``pace.py``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MambaSynthLib.errors import FileError

LINEAR, CARDIAC = "linear", "cardiac"
DELAY_MS = 30.0  # how these three were fitted: training/MambaSynthTraining/cine/README.md
BETA = (1.4, 1.7)
LONGEST_DELAY = 0.4  # of the time from ED to ES

Course = Callable[[float], float]


@dataclass(frozen=True)
class Timing:
    """``name`` for the record, and the course of an interval of ``length_ms`` that begins
    ``start_ms`` after the R wave.
    """

    name: str
    points: tuple[tuple[float, float], ...] = ()  # (tau, s) of a file

    def course(self, length_ms: float, start_ms: float = 0.0) -> Course:
        if self.name == LINEAR:
            return lambda tau: tau
        if self.name == CARDIAC:
            return cardiac(length_ms, start_ms)
        times, shares = zip(*self.points, strict=True)
        return lambda tau: float(np.interp(tau, times, shares))


def cardiac(length_ms: float, start_ms: float = 0.0) -> Course:
    """The prior from ED to ES."""
    from scipy.special import betainc

    delay = min(max(0.0, DELAY_MS - max(0.0, start_ms)) / length_ms, LONGEST_DELAY)

    def course(tau: float) -> float:
        return float(betainc(*BETA, min(max((tau - delay) / (1 - delay), 0.0), 1.0)))

    return course


def read_timing(value: str) -> Timing:
    """``linear``, ``cardiac``, or a table of two columns, time and share of the motion.

    The first row is (0, 0) or the table's own start, and both columns are scaled to end at 1, so
    that milliseconds and milliliters do as well as fractions. Raises FileError where the file is
    no such table, or a column does not grow.
    """
    if value in (LINEAR, CARDIAC):
        return Timing(value)
    path = Path(value)
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{value}: is neither linear nor cardiac nor a readable table of time and share of the "
            "motion; give one of these."
        ) from error
    return Timing(path.name, _points(text, path.name))


def _points(text: str, name: str) -> tuple[tuple[float, float], ...]:
    delimiter = "\t" if "\t" in text else ","
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    try:
        table = [(float(row[0]), float(row[1])) for row in rows if not _is_header(row)]
    except (ValueError, IndexError) as error:
        raise FileError(
            f"{name}: a row is not two numbers, time and share of the motion; correct the table."
        ) from error
    if len(table) < 2:
        raise FileError(f"{name}: has {len(table)} rows; a course of time needs two or more.")
    times, shares = np.array(table).T
    if not (np.all(np.isfinite(table)) and np.all(np.diff(times) > 0)):
        raise FileError(f"{name}: its times do not grow from row to row; sort them.")
    if np.any(np.diff(shares) < 0) or not shares[-1] > shares[0]:
        raise FileError(f"{name}: its shares of the motion fall; they must grow from ED to ES.")
    return tuple(zip(_scaled(times), _scaled(shares), strict=True))


def _is_header(row: Sequence[str]) -> bool:
    return row[0].strip()[:1].isalpha()


def _scaled(column: np.ndarray) -> list[float]:
    """From 0 to 1."""
    return [float(value) for value in (column - column[0]) / (column[-1] - column[0])]
