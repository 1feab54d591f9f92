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
from MambaSynthLib.methods.cravim.network import CRAViM
from training.cravim.discriminator import MultiScaleDiscriminator
from training.cravim.recipe import Recipe
from training.cravim.step import Networks


@dataclass
class State:
    """Everything that changes while training; random draws are functions of (seed, iteration)."""

    networks: Networks
    averaged: nn.ModuleDict  # exponential moving averages of the two generators
    adam_generators: torch.optim.Adam
    adam_discriminators: torch.optim.Adam
    iteration: int = 0

    @classmethod
    def fresh(cls, recipe: Recipe, device: torch.device | str = "cpu") -> State:
        """The start of a run; the same initial weights on every device."""
        torch.manual_seed(recipe.seed)
        networks = Networks(
            a_to_b=CRAViM(recipe.network),
            b_to_a=CRAViM(recipe.network),
            of_a=MultiScaleDiscriminator(recipe.discriminator_width),
            of_b=MultiScaleDiscriminator(recipe.discriminator_width),
        ).to(device)
        average = get_ema_multi_avg_fn(recipe.optimization.ema)
        averaged = nn.ModuleDict(
            {
                "a_to_b": AveragedModel(networks.a_to_b, multi_avg_fn=average, use_buffers=True),
                "b_to_a": AveragedModel(networks.b_to_a, multi_avg_fn=average, use_buffers=True),
            }
        )
        betas = recipe.optimization.betas
        return cls(
            networks,
            averaged,
            torch.optim.Adam(
                networks.generator_parameters(), recipe.optimization.lr_generators, betas
            ),
            torch.optim.Adam(
                networks.discriminator_parameters(), recipe.optimization.lr_discriminators, betas
            ),
        )

    def _parts(self) -> dict[str, Any]:
        return {**vars(self.networks), "averaged": self.averaged,
                "adam_generators": self.adam_generators,
                "adam_discriminators": self.adam_discriminators}  # fmt: skip

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
