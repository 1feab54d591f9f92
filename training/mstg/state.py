"""The state of a training run, and its checkpoint: written whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from MambaSynthLib.errors import FileError
from MambaSynthLib.methods.mstg.network import MSTG
from training.mstg.recipe import Recipe
from training.mstg.step import MSTGTraining

CHECKPOINT = "last.pt"


@dataclass
class State:
    """Everything that changes while training; random draws are functions of (seed, iteration)."""

    method: MSTGTraining
    averaged: AveragedModel  # exponential moving average, which is exported
    optimizer: torch.optim.Adam
    iteration: int = 0

    @classmethod
    def fresh(cls, recipe: Recipe, device: str | torch.device) -> State:
        torch.manual_seed(recipe.seed)
        rates = recipe.optimization
        network = MSTG(recipe.network).to(device)
        method = MSTGTraining(network, recipe.weights, rates.lr, rates.betas)
        averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(rates.ema))
        return cls(method, averaged, method.optimizers()[method.exported])

    @property
    def network(self) -> nn.Module:
        return self.method.networks[self.method.exported]

    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "averaged": self.averaged, "optimizer": self.optimizer}

    def save(self, path: Path) -> None:
        """Replace the checkpoint at ``path``; a kill at any moment leaves one of the two."""
        checkpoint = {name: part.state_dict() for name, part in self._parts().items()}
        temporary = path.with_suffix(".part")
        with open(temporary, "wb") as file:
            torch.save({**checkpoint, "iteration": self.iteration}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        """Continue from ``path``. Raises FileError when it is no checkpoint of this recipe."""
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in self._parts().items():
                part.load_state_dict(checkpoint[name])
            self.iteration = checkpoint["iteration"]
        except Exception as error:  # torch raises half a dozen kinds for a damaged file
            raise FileError(
                f"{path}: is no checkpoint of this recipe ({type(error).__name__}: "
                f"{str(error).partition(chr(10))[0]}); remove it to start anew."
            ) from error


def trained_network(run: Path, recipe: Recipe) -> MSTG:
    """The averaged network of a run, on the CPU. Raises FileError without a good checkpoint."""
    state = State.fresh(recipe, "cpu")
    state.load(run / CHECKPOINT)
    network = state.averaged.module
    assert isinstance(network, MSTG)
    return network.eval().requires_grad_(False)
