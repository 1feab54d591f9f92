"""Runs of the first CRAViM trainer: ``last.pt``, and a ``run.json`` without method and contrasts.

They can be scored and exported like others, not continued.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from MambaSynthLib.errors import FileError
from training.runs import TrainedRun

PREFIX = "a_to_b.module."  # of the averaged generator, among the keys of the averaged networks


@dataclass(frozen=True)
class FormerRun(TrainedRun):
    """A finished run of ``training.cravim.train``."""

    checkpoint: ClassVar[str] = "last.pt"

    def _checkpoint(self) -> dict[str, Any]:
        import torch

        path = self.folder / self.checkpoint
        try:
            averaged = torch.load(path, map_location="cpu", weights_only=True)["averaged"]
        except Exception as error:  # torch raises half a dozen kinds for a damaged file
            raise FileError(
                f"{path}: is no readable checkpoint ({type(error).__name__}: "
                f"{str(error).partition(chr(10))[0]}); train again."
            ) from error
        return {
            "averaged": {
                name.removeprefix(PREFIX): value
                for name, value in averaged.items()
                if name.startswith(PREFIX)
            }
        }


def former_record(record: dict[str, Any]) -> dict[str, Any]:
    """The record with what later ones state."""
    recipe = record["recipe"]
    iterations = sum(stage["iterations"] for stage in recipe["stages"])
    added = {"iterations": iterations, "finished": True,
             "source_contrast": "T1w", "target_contrast": "T2w"}  # fmt: skip
    return {**added, **record, "recipe": {"method": "cravim", **recipe}}


def is_former(folder: Path) -> bool:
    return (folder / FormerRun.checkpoint).is_file()
