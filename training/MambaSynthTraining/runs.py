"""A training run, opened for scoring and export: its record and the averaged weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.methods import METHODS, trains_back
from MambaSynthTraining.run_folder import LAST, RUN

if TYPE_CHECKING:
    from torch import Tensor

    from MambaSynthTraining.engine.state import State
    from MambaSynthTraining.recipe import Recipe

STATISTICS = ("running_mean", "running_var")  # of batch normalization: no parameters


@dataclass(frozen=True)
class TrainedRun:
    """The folder of a run and its ``run.json``."""

    folder: Path
    record: dict[str, Any]
    back: bool = False  # the network of the other direction, whose contrasts the record then has

    @property
    def name(self) -> str:
        """The recipe's, which is the row's."""
        small = "-small" if self.record["recipe"].get("small") else ""
        return Path(self.record["recipe_file"]).stem + small

    @property
    def method(self) -> str:
        method: str = self.record["recipe"]["method"]
        return method

    @property
    def kind(self) -> str:
        """Of the data that it learned from; see ``MambaSynthTraining/data/kinds.py``."""
        kind: str = self.record.get("kind", "contrast")
        return kind

    @property
    def exportable(self) -> bool:
        return self.method in METHODS and METHODS[self.method].card != ""

    @property
    def contrasts(self) -> tuple[str, str]:
        return self.record["source_contrast"], self.record["target_contrast"]

    def toward(self, source: str, target: str) -> TrainedRun:
        """The run as a model of that direction, which may be the second one that it trained.

        Raises RequestError: it trained no such direction.
        """
        if self.kind != "cine" and (source, target) == self.contrasts:
            return self
        if self.kind != "contrast":
            raise RequestError(f"{self.folder}: {self.method} has one direction; leave it out.")
        one, other = self.contrasts
        if (source, target) != (other, one) or not self._trained_back:
            also = f" and {other} -> {one}" if self._trained_back else " alone"
            raise RequestError(
                f"{self.folder}: trained {one} -> {other}{also}, not {source} -> {target}; name "
                "that direction, or data of it."
            )
        turned = {"source_contrast": source, "target_contrast": target}
        return replace(self, record={**self.record, **turned}, back=not self.back)

    @property
    def _trained_back(self) -> bool:
        """Whether a stage of the recipe trained the network of the other direction."""
        return trains_back(self._state().recipe)

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights of the exported network, by name, on the CPU.

        Raises FileError: there is no readable checkpoint.
        """
        key, content = "averaged_back" if self.back else "averaged", self._checkpoint()
        if key not in content:
            raise FileError(
                f"{self.folder / LAST}: is of a version that did not average its second direction; "
                "train again."
            )
        weights: dict[str, Tensor] = content[key]
        return weights

    @contextmanager
    def trained(self) -> Iterator[Any]:
        """The method with the averaged weights, in eval mode, on the CPU.

        It is a ``ContrastMethod`` or a ``CineMethod``, as ``kind`` says.
        """
        state = self._state()
        try:
            state.load(self._checkpoint())
        except (KeyError, ValueError, RuntimeError) as error:
            raise FileError(
                f"{self.folder}: its checkpoint does not fit its {RUN} "
                f"({str(error).partition(chr(10))[0]}); train again."
            ) from error
        with state.as_exported(self.back) as method:
            yield method

    @property
    def checkpoint_sha256(self) -> str:
        """Of the file that the weights are in."""
        with open(self.folder / LAST, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def about(self) -> dict[str, Any]:
        """For the tables: parameters of the exported network, iterations, minutes, machine; and
        what it began with itself.
        """
        count = sum(
            value.numel()
            for name, value in self.weights().items()
            if value.is_floating_point() and not name.endswith(STATISTICS)
        )
        return {
            "method": self.method,
            "recipe": self.record["recipe_file"],
            "parameters": count,
            "iterations": self.record["iterations"],
            "minutes": self.record["minutes"],
            "machine": self.record["machine"],
            "checkpoint_sha256": self.checkpoint_sha256,
            **({"start": self.record["start"]} if self.record.get("start") else {}),
        }

    def _state(self) -> State:
        from MambaSynthTraining.engine.state import State

        try:
            return State(method_recipe(self.record))
        except (TypeError, ValueError) as error:
            raise FileError(
                f"{self.folder / RUN}: holds no recipe of this version ({error}); train again."
            ) from error

    def _checkpoint(self) -> dict[str, Any]:
        from MambaSynthTraining.engine.checkpoint import read_checkpoint

        content = read_checkpoint(self.folder / LAST)
        if "averaged" not in content:
            raise FileError(f"{self.folder / LAST}: holds no averaged weights; train again.")
        return content


def method_recipe(record: Mapping[str, Any]) -> Recipe:
    """The recipe in a record. Raises ValueError or TypeError for one of another version."""
    from MambaSynthTraining.recipe_file import recipe_of

    return recipe_of(_stated(record["recipe"]))


def _stated(recipe: dict[str, Any]) -> dict[str, Any]:
    """Without keys that hold nothing: an older version may know more of them."""
    return {key: value for key, value in recipe.items() if value is not None}


def open_run(folder: Path, unfinished: bool = False) -> TrainedRun:
    """The run in ``folder``.

    Raises FileError when there is none, or when its last iteration is still to come and it may not
    be ``unfinished``.
    """
    path = folder / RUN
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        run = TrainedRun(folder, record)
        _ = run.method, run.name, record["machine"]
        _ = record["subjects"] if run.kind == "cine" else run.contrasts
        minutes, finished = float(record["minutes"]), record["finished"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path}: is no record of a training run ({type(error).__name__}: {error}); name the "
            "folder that 'mambasynth train' wrote."
        ) from error
    if not finished and not unfinished:
        raise FileError(
            f"{folder}: its training is not finished after {minutes:.1f} minutes; give the same "
            "'mambasynth train' again, it goes on."
        )
    return run
