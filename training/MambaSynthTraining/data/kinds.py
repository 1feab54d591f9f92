"""The kinds of data that methods learn from: name -> module, imported when it is asked for.

Such a module has ``check(recipe)``, which raises ValueError where a recipe of that kind is wrong,
``holds_data(folder)``, which says whether a folder holds such data, and ``prepared_data(folder,
recipe)``, which opens them.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    from MambaSynthTraining.data.batches import TrainingData
    from MambaSynthTraining.recipe import Recipe

KINDS = {
    "contrast": "MambaSynthTraining.data.sources",
    "cine": "MambaSynthTraining.data.cines",
    "heads": "MambaSynthTraining.data.heads",
}
MADE_BY = {
    "contrast": "mambasynth dataset",
    "cine": "mambasynth beating-heart' or 'dataset acdc",
    "heads": "mambasynth heads",
}


def kind_of(recipe: Recipe) -> str:
    """The kind of data that the recipe's method learns from."""
    from MambaSynthTraining.methods import method_class

    return method_class(recipe.method).kind


def module_of(kind: str) -> ModuleType:
    return importlib.import_module(KINDS[kind])


def open_data(
    recipe: Recipe, folder: Path, direction: tuple[str, str] | None = None
) -> TrainingData:
    """The data set in a folder, of the recipe's kind; contrasts in their own or another direction.

    Raises
    ------
    RequestError: it is of another kind. FileError: it is none at all, or damaged.
    """
    wanted = kind_of(recipe)
    for kind in KINDS:
        if kind != wanted and module_of(kind).holds_data(folder):
            raise RequestError(
                f"{folder}: is a {kind} data set, but the method {recipe.method} learns from "
                f"{wanted} data; name data of '{MADE_BY[wanted]}'."
            )
    turned = (direction,) if direction else ()
    data: TrainingData = module_of(wanted).prepared_data(folder, recipe, *turned)
    return data
