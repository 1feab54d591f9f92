"""What the papers print (``recipes/papers.yaml``), and the numbers beside a row of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from MambaSynthTraining.evaluation.rows import SMALL
from MambaSynthTraining.recipe_folder import recipes_folder
from MambaSynthTraining.yaml_file import read_yaml

FILE = "papers.yaml"
MISSING = "missing"  # printed in the paper, but not at hand
UNKNOWN = "-"

Numbers = Mapping[str, float | str]  # column -> number, or MISSING


@cache
def papers() -> dict[str, Any]:
    """The file. Raises FileError where it is missing or no YAML."""
    found: dict[str, Any] = read_yaml(recipes_folder() / FILE)
    return found


def printed(recipe: str, data: str, direction: str) -> Numbers | None:
    """What a paper prints for a recipe's row on a data set; None where it prints nothing.

    ``recipe`` is the name of its file or row, ``data`` the name of a prepared data set,
    ``direction`` such as 'T1w -> T2w'. A row that stands in two tables has the numbers of the
    larger one.
    """
    stem = recipe.removesuffix(".yaml").removesuffix(SMALL)
    found = [
        row[data][direction]
        for paper in papers().values()
        for table in paper["tables"].values()
        for row in table["rows"]
        if stem in row["recipes"] and direction in row.get(data, {})
    ]
    return max(found, key=len) if found else None


def cell(numbers: Numbers | None, columns: Sequence[str]) -> str:
    """'78.59 / 1.228 / 0.124 / 0.165'; a column that is missing is a dash, and so is no row."""
    if numbers is None:
        return UNKNOWN
    values = [numbers.get(column, MISSING) for column in columns]
    return " / ".join(UNKNOWN if value == MISSING else _digits(value) for value in values)


def _digits(value: float | str) -> str:
    """As printed: percents and decibels with two digits, the others as they are in the file."""
    return f"{value:.2f}" if isinstance(value, float) and value > 2 else str(value)
