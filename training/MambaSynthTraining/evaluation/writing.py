"""What the tables of slices, cines and heads write alike: a column of numbers, a p value."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MambaSynthLib.io.atomic import write_whole


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Numbers with 8 digits; what is missing or no number is empty. The file appears whole or not
    at all.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _written(value) for name, value in row.items()})
    write_whole(path, text.getvalue().encode("utf-8"))


def _written(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.8g}"


def p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
