"""The toy's training: the mean absolute difference, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

import torch
from torch import Generator, nn
from torch.nn.functional import l1_loss
from torch.optim import Optimizer

from MambaSynthLib.model.settings import settings
from MambaSynthTraining.method import Phase, TrainingMethod
from MambaSynthTraining.recipe import Recipe
from Testing.toy_paper.config import ToyConfig
from Testing.toy_paper.network import build
from Testing.toy_paper.training.images import ToyBatch


class ToyTraining(TrainingMethod):
    """One network, one loss."""

    kind: ClassVar[str] = "toy"
    exported = "network"

    def __init__(self, recipe: Recipe) -> None:
        settings(ToyConfig, recipe.network, "network")
        self.optimization = recipe.optimization
        self.networks = nn.ModuleDict({"network": build(recipe.network)})

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        return cls(recipe)

    def optimizers(self) -> dict[str, Optimizer]:
        return {"network": self.optimization.adam("network", self.networks.parameters())}

    def iteration(self, batch: ToyBatch, generator: Generator) -> Iterator[Phase]:
        loss: torch.Tensor = l1_loss(self.networks["network"](batch.sources), batch.targets)
        yield Phase("network", loss, {"l1": loss.detach()})
