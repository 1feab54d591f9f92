"""The rows of a table: the recipes of a folder, in their order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.data.kinds import kind_of
from MambaSynthTraining.recipe import FOR_PEOPLE, Recipe, Stage
from MambaSynthTraining.recipe_file import has_small, read_recipe, resolve

SMALL = "-small"  # the ending of a small row's name


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    path: Path
    recipe: Recipe

    @property
    def title(self) -> str:
        """``expected.row`` of the recipe, or its file's name."""
        return str(self.recipe.expected.get("row", self.path.stem))

    @property
    def name(self) -> str:
        """Of its file, and whether it is the small form."""
        return self.path.stem + SMALL * self.recipe.small

    @property
    def key(self) -> str:
        """Equal for rows that are one training."""
        values = {k: v for k, v in resolve(self.recipe).items() if k not in FOR_PEOPLE}
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        return f"{self.recipe.method}-{digest[:8]}"

    @property
    def minutes(self) -> float:
        """What the recipe expects of its training, for the time left."""
        return max(0.1, float(self.recipe.expected.get("minutes", 0.0)))


def find_rows(
    table: Path, small: bool, iterations: int = 0, names: Sequence[str] = ()
) -> list[Row]:
    """The recipes in the folder of a table, in the order of ``expected.order``.

    ``small`` takes the small forms of those that have one; ``iterations`` cuts each stage to so
    many, to try whether everything runs; ``names`` are the files wanted, without .yaml, or none for
    all.

    Raises FileError or RequestError: there are none, or one cannot be read.
    """
    paths = [p for p in sorted(table.glob("*.yaml")) if not small or has_small(p)]
    if not paths:
        kind = "recipe with a small: block" if small else "recipe"
        raise FileError(f"{table}: holds no {kind} (*.yaml); name a folder of recipes.")
    known = [path.stem for path in paths]
    if unknown := [name for name in names if name not in known]:
        raise RequestError(f"{unknown[0]!r} is no row; choose among {', '.join(known)}.")
    rows = [
        Row(path, _cut(read_recipe(path, small=small), iterations))
        for path in paths
        if not names or path.stem in names
    ]
    return sorted(rows, key=lambda row: (row.recipe.expected.get("order", 99), row.path.name))


def matched(rows: Sequence[Row]) -> list[Row]:
    """The rows, each as long as it sees as many slices, or beats, as the first one."""
    wanted = _seen(rows[0].recipe)
    return [
        replace(row, recipe=_of_length(row.recipe, round(row.recipe.iterations * share)))
        for row in rows
        for share in [wanted / _seen(row.recipe)]
    ]


def shortened(rows: Sequence[Row], share: float) -> list[Row]:
    """The rows, each trained for a ``share`` of its iterations. Raises RequestError."""
    if not 0 < share <= 1:
        raise RequestError(f"--share is {share:g}; give more than 0, at most 1.")
    return [
        replace(row, recipe=_of_length(row.recipe, round(row.recipe.iterations * share)))
        for row in rows
    ]


def _seen(recipe: Recipe) -> int:
    return recipe.slices_before(recipe.iterations)


def _of_length(recipe: Recipe, iterations: int) -> Recipe:
    iterations = max(iterations, len(recipe.stages))
    return recipe if iterations == recipe.iterations else recipe.of_length(iterations)


def common_kind(rows: Sequence[Row]) -> str:
    """The kind of data that all of the rows learn from. Raises RequestError for several."""
    first, *others = rows
    kind = kind_of(first.recipe)
    for row in others:
        if kind_of(row.recipe) != kind:
            raise RequestError(
                f"{row.path}: learns from {kind_of(row.recipe)} data, but {first.path.name} from "
                f"{kind} data; make their tables by a command each."
            )
    return kind


def _cut(recipe: Recipe, iterations: int) -> Recipe:
    if not iterations:
        return recipe
    stages: tuple[Stage, ...] = tuple(
        replace(stage, iterations=min(stage.iterations, iterations)) for stage in recipe.stages
    )
    return replace(recipe, stages=stages)
