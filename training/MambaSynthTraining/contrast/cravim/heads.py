"""CRAViM's generator with skip connections, trained on registered pairs of whole heads and brains.

Two objectives: ``pairs`` learns everything; ``frozen`` keeps the statistics of the batch
normalization as they are, for the end of a training: they are what the exported network uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Generator, nn
from torch.optim import Optimizer

from MambaSynthLib.methods.cravim.config import CRAViMConfig
from MambaSynthLib.methods.cravim.skip_network import SkipCRAViM
from MambaSynthLib.model.settings import settings
from MambaSynthTraining.contrast.cravim import head_losses
from MambaSynthTraining.contrast.cravim.head_losses import HeadWeights
from MambaSynthTraining.data.heads import HeadBatch
from MambaSynthTraining.method import Phase, TrainingMethod
from MambaSynthTraining.recipe import Optimization, Recipe, Stage

SOURCES = ("T1w", "T2w")


@dataclass(frozen=True)
class Options:
    """Which contrast is given; the other one is synthesized."""

    source: str = "T1w"

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"options.source is {self.source!r}, none of {', '.join(SOURCES)}")


class CRAViMHeads(TrainingMethod):
    """One network, ``generator``."""

    kind = "heads"
    exported = "generator"
    objectives: ClassVar[tuple[str, ...]] = ("pairs", "frozen")
    objective = "pairs"

    def __init__(
        self, config: CRAViMConfig, weights: HeadWeights, optimization: Optimization
    ) -> None:
        self.weights, self.optimization = weights, optimization
        self.networks = nn.ModuleDict({"generator": SkipCRAViM(config)})

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        config = settings(CRAViMConfig, recipe.network, "network")
        if not config.skips:
            raise ValueError("network.skips is 0; cravim-heads trains the network with skips: 1")
        settings(Options, recipe.options, "options")
        return cls(config, settings(HeadWeights, recipe.weights, "weights"), recipe.optimization)

    def begin(self, stage: Stage) -> None:
        super().begin(replace(stage, weights={}))
        for module in self.networks.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(self.objective == "pairs")

    def optimizers(self) -> dict[str, Optimizer]:
        return {"generator": self.optimization.adam("generator", self.networks.parameters())}

    def iteration(self, batch: HeadBatch, generator: Generator) -> Iterator[Phase]:
        made = self.networks["generator"](batch.source).flatten(0, 1)[:, None]  # (B(1+2o),1,h,w)
        target, weight = (image.flatten(0, 1)[:, None] for image in batch[1:])
        acquired = head_losses.nearest_target(made, target)
        terms = {
            name: getattr(head_losses, f"{name}_loss")(made, acquired, weight)
            for name in ("value", "gradient", "structure", "air")
        }
        loss = torch.stack(
            [getattr(self.weights, f"lambda_{name}") * value for name, value in terms.items()]
        ).sum()
        yield Phase("generator", loss, {name: value.detach() for name, value in terms.items()})
