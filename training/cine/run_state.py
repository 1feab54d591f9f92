"""The state of a run and its files: a checkpoint written whole or not at all, and the weights.

RUNS/ROW/seed-S/last.pt              everything that changes while training; to go on from
                weights.safetensors  the exported network in half precision, when finished
                run.json             iterations, seconds, device, parameters
                losses.csv
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from MambaSynthLib.errors import FileError

if TYPE_CHECKING:
    from training.cine.rows import CineTraining

CHECKPOINT = "last.pt"
WEIGHTS = "weights.safetensors"


def run_folder(runs: Path, name: str, seed: int) -> Path:
    return runs / name / f"seed-{seed}"


def cpu_minutes(run: Path) -> float:
    """What the training took; NaN where nothing was trained, or not on a CPU."""
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except OSError:
        return math.nan
    return float(record["cpu_seconds"]) / 60 if record["device"] == "cpu" else math.nan


@dataclass
class RunState:
    """Random draws are functions of (seed, iteration), so that no generator has to be kept."""

    method: CineTraining
    optimizers: dict[str, torch.optim.Optimizer]
    iteration: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    rates: dict[str, float] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Replace the checkpoint; a kill at any moment leaves one of the two."""
        checkpoint: dict[str, Any] = {
            "networks": self.method.networks.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "iteration": self.iteration,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }
        temporary = path.with_suffix(".part")
        with open(temporary, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        """Continue from ``path``. Raises FileError when it is no checkpoint of this row."""
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            self.method.networks.load_state_dict(checkpoint["networks"])
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(checkpoint["optimizers"][name])
            self.iteration = int(checkpoint["iteration"])
            self.seconds = float(checkpoint["seconds"])
            self.cpu_seconds = float(checkpoint.get("cpu_seconds", 0.0))
        except Exception as error:  # torch raises half a dozen kinds for a damaged file
            raise FileError(
                f"{path}: is no checkpoint of this row ({type(error).__name__}: "
                f"{str(error).partition(chr(10))[0]}); remove it to start anew."
            ) from error


def write_weights(method: CineTraining, path: Path) -> None:
    """The exported network in half precision; a kill leaves none or all of it."""
    from safetensors.torch import save_file

    tensors = method.networks[method.exported].state_dict()
    half = {
        name: value.half().cpu().contiguous() if value.is_floating_point() else value.cpu()
        for name, value in tensors.items()
    }
    temporary = path.with_suffix(".part")
    save_file(half, temporary)
    os.replace(temporary, path)


def read_weights(method: CineTraining, path: Path) -> None:
    """Fill the exported network. Raises FileError where the file does not fit."""
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        network = method.networks[method.exported]
        wanted = network.state_dict()
        cast = {name: value.to(wanted[name].dtype) for name, value in tensors.items()}
        network.load_state_dict(cast)
    except Exception as error:  # safetensors, KeyError, RuntimeError
        raise FileError(
            f"{path}: are no weights of this row ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}); train it again."
        ) from error
    network.requires_grad_(False)
    network.eval()
