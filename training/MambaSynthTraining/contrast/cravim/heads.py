"""CRAViM's generator with skip connections, trained on registered pairs of whole heads and brains.

| objective   | learns                                                                         |
|-------------|--------------------------------------------------------------------------------|
| `pairs`     | everything but the interval, from the acquired target                          |
| `frozen`    | the same, with the statistics of the batch normalization as they are: what the |
|             | exported network uses                                                          |
| `adversary` | as `frozen`, and against CRAViM's discriminator: an ablation                   |
| `interval`  | how wrong each estimate may be; no estimate changes any more                   |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from MambaSynthLib.methods.cravim.config import CRAViMConfig
from MambaSynthLib.methods.cravim.skip_network import SkipCRAViM
from MambaSynthLib.model.settings import settings
from MambaSynthTraining.contrast.cravim import head_losses
from MambaSynthTraining.contrast.cravim.discriminator import MultiScaleDiscriminator
from MambaSynthTraining.contrast.cravim.head_losses import HeadWeights
from MambaSynthTraining.contrast.cravim.losses import adversarial_loss, discriminator_loss
from MambaSynthTraining.data.heads import HeadBatch
from MambaSynthTraining.method import Phase, TrainingMethod
from MambaSynthTraining.recipe import Optimization, Recipe, Stage

SOURCES = ("T1w", "T2w")
PLANES = ("one", "all")
RATIOS = (1.05, 2.0)  # of white to gray matter that a head may be brought to


@dataclass(frozen=True)
class Options:
    """Which contrast is given; the other one is synthesized. In which planes heads with thin
    slices are cut: the axial one, or all. The pixels that a target may lie off unpunished, 0 or 1.
    The width of the discriminator's first layer; 0: there is none. How bright white matter is made
    beside gray in each T1w head; 0: heads are taken as they are.
    """

    source: str = "T1w"
    planes: str = "one"
    shift: int = 1
    discriminator: int = 0
    white_over_gray: float = 0.0

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"options.source is {self.source!r}, none of {', '.join(SOURCES)}")
        if self.planes not in PLANES:
            raise ValueError(f"options.planes is {self.planes!r}, none of {', '.join(PLANES)}")
        if self.shift not in (0, 1):
            raise ValueError(f"options.shift is {self.shift}; give 0 or 1 pixels")
        if self.discriminator < 0:
            raise ValueError(f"options.discriminator is {self.discriminator}; give 0 or more")
        if self.white_over_gray:
            self._check_ratio(self.white_over_gray)

    def _check_ratio(self, ratio: float) -> None:
        if self.source != "T1w":
            raise ValueError(
                f"options.white_over_gray is {ratio}, but the source is {self.source}, in which "
                "white matter is not the brightest tissue; give 0"
            )
        if not RATIOS[0] <= ratio <= RATIOS[1]:
            raise ValueError(
                f"options.white_over_gray is {ratio}; give {RATIOS[0]} to {RATIOS[1]}, or 0"
            )


class CRAViMHeads(TrainingMethod):
    """The network ``generator`` and, where a stage asks for it, ``discriminator``."""

    kind = "heads"
    exported = "generator"
    objectives: ClassVar[tuple[str, ...]] = ("pairs", "frozen", "adversary", "interval")
    objective = "pairs"

    def __init__(
        self,
        config: CRAViMConfig,
        options: Options,
        weights: HeadWeights,
        optimization: Optimization,
    ) -> None:
        self.options, self.weights, self.optimization = options, weights, optimization
        self.networks = nn.ModuleDict({"generator": SkipCRAViM(config)})
        if options.discriminator:
            self.networks["discriminator"] = MultiScaleDiscriminator(options.discriminator)

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        config = settings(CRAViMConfig, recipe.network, "network")
        if not config.skips:
            raise ValueError("network.skips is 0; cravim-heads trains the network with skips: 1")
        options = settings(Options, recipe.options, "options")
        asked = {stage.objective for stage in recipe.stages}
        if "interval" in asked and not config.interval:
            raise ValueError("a stage learns the interval, but network.interval is 0; give 1")
        if ("adversary" in asked) != bool(options.discriminator):
            raise ValueError(
                f"options.discriminator is {options.discriminator}; give its width where a stage "
                "has the objective adversary, and 0 where none has"
            )
        weights = settings(HeadWeights, recipe.weights, "weights")
        return cls(config, options, weights, recipe.optimization)

    def begin(self, stage: Stage) -> None:
        super().begin(replace(stage, weights={}))
        for module in self.networks.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(self.objective == "pairs")
        for name, value in self.networks["generator"].named_parameters():
            value.requires_grad_(name.startswith("interval.") == (self.objective == "interval"))

    def optimizers(self) -> dict[str, Optimizer]:
        parts: dict[str, list[nn.Parameter]] = {}
        for name, value in self.networks.named_parameters():
            network, part, *_ = name.split(".")
            parts.setdefault("interval" if part == "interval" else network, []).append(value)
        return {name: self.optimization.adam(name, part) for name, part in parts.items()}

    def iteration(self, batch: HeadBatch, generator: Generator) -> Iterator[Phase]:
        target, weight = (image.flatten(0, 1)[:, None] for image in batch[1:])  # (B(1+2o),1,h,w)
        found = self.networks["generator"](batch.source)  # (B,1 or 2,1+2o,h,w)
        made = found[:, 0].flatten(0, 1)[:, None]
        if self.objective == "interval":
            half_width = found[:, 1].flatten(0, 1)[:, None]
            loss = head_losses.interval_loss(half_width, made, target, weight)
            yield Phase("interval", loss, {"interval": loss.detach()})
            return
        if self.objective == "adversary":
            yield self._judged(made.detach(), target)
        acquired = head_losses.nearest_target(made, target) if self.options.shift else target
        terms = {
            name: getattr(head_losses, f"{name}_loss")(made, acquired, weight)
            for name in ("value", "gradient", "structure", "air", "detail")
        }
        if self.objective == "adversary":
            judge = self.networks["discriminator"].requires_grad_(False)
            terms["adversarial"] = adversarial_loss(judge(made))
            judge.requires_grad_(True)
        loss = torch.stack(
            [getattr(self.weights, f"lambda_{name}") * value for name, value in terms.items()]
        ).sum()
        yield Phase("generator", loss, {name: value.detach() for name, value in terms.items()})

    def _judged(self, made: Tensor, acquired: Tensor) -> Phase:
        """The discriminator's turn."""
        judge = self.networks["discriminator"]
        loss = discriminator_loss(judge(made), judge(acquired))
        return Phase("discriminator", loss, {"discriminator": loss.detach()})
