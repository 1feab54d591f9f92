"""A training run, opened for scoring and export: its record and the averaged weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import FileError
from training.record import read_record

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.state import State
    from training.method import TrainingMethod

EXPORTABLE = ("cravim",)  # methods whose exported network the library can run


@dataclass(frozen=True)
class TrainedRun:
    """The folder of a run and its ``run.json``."""

    folder: Path
    record: dict[str, Any]

    @property
    def name(self) -> str:
        """The recipe's, which is the row's."""
        return Path(self.record["recipe_file"]).stem

    @property
    def method(self) -> str:
        method: str = self.record["recipe"]["method"]
        return method

    @property
    def exportable(self) -> bool:
        return self.method in EXPORTABLE

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights of the exported network, by name.

        Raises FileError: there is no readable checkpoint.
        """
        from training.engine.checkpoint import LAST, read_checkpoint

        weights: dict[str, Tensor] = self._of(read_checkpoint(self.folder / LAST), "averaged")
        return weights

    @contextmanager
    def trained(self) -> Iterator[TrainingMethod]:
        """The method with the averaged weights, in eval mode, on the CPU."""
        from training.engine.checkpoint import LAST, read_checkpoint

        state = self._state()
        content = read_checkpoint(self.folder / LAST)
        try:
            state.load(content)
        except (KeyError, ValueError, RuntimeError) as error:
            raise FileError(
                f"{self.folder / LAST}: is no checkpoint of its own run.json "
                f"({str(error).partition(chr(10))[0]}); train again."
            ) from error
        with state.as_exported() as method:
            yield method

    def network(self) -> dict[str, int]:
        """The sizes of CRAViM's network, defaults included."""
        from MambaSynthLib.methods.cravim.network import CRAViMConfig
        from training.recipe import settings

        return asdict(settings(CRAViMConfig, self.record["recipe"]["network"], "network"))

    def about(self) -> dict[str, Any]:
        """For the tables: parameters of the exported network, iterations, minutes, machine."""
        count = sum(value.numel() for value in self.weights().values() if value.is_floating_point())
        return {
            "method": self.method,
            "recipe": self.record["recipe_file"],
            "parameters": count,
            "iterations": self.record.get("iterations", 0),
            "minutes": self.record["minutes"],
            "machine": self.record["machine"],
            "finished": self.record.get("finished", True),
        }

    def _state(self) -> State:
        from training.engine.state import State
        from training.recipe import recipe_of

        try:
            return State(recipe_of(self.record["recipe"]))
        except (TypeError, ValueError) as error:
            raise FileError(
                f"{self.folder}: run.json holds no recipe of this version ({error}); train again."
            ) from error

    def _of(self, content: dict[str, Any], key: str) -> Any:
        if key not in content:
            raise FileError(f"{self.folder}: its checkpoint lacks {key!r}; train again.")
        return content[key]


def open_run(folder: Path) -> TrainedRun:
    """The run in ``folder``. Raises FileError when it is none."""
    record = read_record(folder)
    try:
        _ = record["recipe"]["method"], record["recipe_file"], record["machine"]
    except (KeyError, TypeError) as error:
        raise FileError(
            f"{folder}: its run.json lacks {error}; train again with this version."
        ) from error
    return TrainedRun(folder, record)
