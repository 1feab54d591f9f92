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


def read_recipe(path: Path, changes: Sequence[str] = (), iterations: int = 0) -> Recipe:
    """The recipe in a YAML file, with changes to it and another length, see ``of_length``.

    Raises
    ------
    FileError: the file is missing or no YAML.
    RequestError: a key is missing or unknown, or a value does not fit.
    """
    data = read_yaml(path)
    try:
        recipe = recipe_of(with_changes(data, changes))
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
    except (TypeError, ValueError, MambaSynthError) as error:
        raise RequestError(f"{path}: {error}; compare the files in training/recipes.") from error


def resolved(recipe: Recipe) -> dict[str, Any]:
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
