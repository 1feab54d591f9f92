"""A recipe from its YAML file, checked by the method and the kind of data that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from MambaSynthLib.errors import MambaSynthError, RequestError
from MambaSynthLib.model.settings import refuse_unknown, settings
from MambaSynthTraining.data.kinds import kind_of, module_of
from MambaSynthTraining.methods import method_class
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.recipe_changes import with_changes
from MambaSynthTraining.yaml_file import read_yaml

SMALL, FROM = "small", "from"
MOST_SHOWN = 500  # characters of an error, which may quote a value of any length


def read_recipe(
    path: Path, changes: Sequence[str] = (), iterations: int = 0, small: bool = False
) -> Recipe:
    """The recipe in a YAML file, with changes to it and another length, see ``of_length``.

    ``small`` lays the file's block of that name, what fits a CPU, over the rest of it.

    Raises
    ------
    FileError: the file, or the one that it is derived from, is missing or no YAML.
    RequestError: a key is missing or unknown, or a value does not fit; there is no such block.
    """
    data = read_layers(path)
    try:
        recipe = recipe_of(with_changes(_of_size(data, small), changes))
        recipe = recipe.of_length(iterations) if iterations else recipe
        module_of(kind_of(recipe)).check(recipe)
        with torch.device("meta"):  # the method checks its part; nothing is allocated
            method = method_class(recipe.method).build(recipe)
            refuse_unknown(
                recipe.optimization.learning_rates, method.optimizers(),
                "optimization.learning_rates",
            )  # fmt: skip
            for stage in recipe.stages:
                method.begin(stage)
        return recipe
    except (TypeError, ValueError, RuntimeError, MambaSynthError) as error:  # PyTorch's, too
        problem = " ".join(str(error).split())[:MOST_SHOWN]
        raise RequestError(f"{path}: {problem}; compare the files in training/recipes.") from error


def read_layers(path: Path, derived: tuple[Path, ...] = ()) -> Any:
    """What the file holds, over the file that its ``from: FOLDER/NAME`` names in the folder above.

    Raises FileError: one of the files is missing or no YAML. RequestError: they go in a circle.
    """
    if path in derived:
        raise RequestError(f"{path}: is derived from itself; name another file in its from.")
    data = read_yaml(path)
    if not isinstance(data, Mapping) or FROM not in data:
        return data
    below = path.parent.parent / f"{data[FROM]}.yaml"
    own = {key: value for key, value in data.items() if key != FROM}
    return _over(read_layers(below, (*derived, path)), own)


def has_small(path: Path) -> bool:
    """Whether the recipe has a small form. Raises as ``read_layers``."""
    data = read_layers(path)
    return isinstance(data, Mapping) and bool(data.get(SMALL))


def _of_size(data: Any, small: bool) -> Any:
    """The full recipe, or its small form. Raises ValueError where there is none."""
    if not isinstance(data, Mapping):
        return data
    full = {key: value for key, value in data.items() if key != SMALL}
    if not small:
        return full
    if not data.get(SMALL):
        raise ValueError("it has no block small; leave --small out")
    if not isinstance(data[SMALL], Mapping):
        raise ValueError(f"small is {data[SMALL]!r}, not a mapping")
    return {**_over(full, data[SMALL]), SMALL: True}


def resolve(recipe: Recipe) -> dict[str, Any]:
    """Every value of a recipe, preset and defaults included."""
    values = asdict(recipe)
    for stage in values["stages"]:
        stage["objective"] = stage["objective"] or method_class(recipe.method).objectives[0]
    return values


def recipe_of(data: Any) -> Recipe:
    """The recipe of a mapping, over the values of its preset. Raises ValueError."""
    if not isinstance(data, Mapping) or "method" not in data:
        raise ValueError("the recipe lacks method")
    presets = method_class(data["method"]).presets
    name = data.get("preset", "")
    if name and name not in presets:
        raise ValueError(f"the preset {name!r} is none of {', '.join(presets) or '(none)'}")
    return settings(Recipe, _over(presets.get(name, {}), data))


def _over(preset: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` over ``preset``, mapping by mapping."""
    merged = dict(preset)
    for key, value in data.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _over(merged[key], value) if both else value
    return merged
