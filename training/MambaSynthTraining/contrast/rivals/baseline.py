"""What all baselines share: optimizers of groups of networks, phases of weighted losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor
from torch.optim import Optimizer

from MambaSynthLib.model.settings import settings
from MambaSynthTraining.method import ContrastMethod, Phase
from MambaSynthTraining.recipe import Optimization, Recipe


class Baseline(ContrastMethod):
    """A method whose ``networks`` fall into ``groups``, one Adam each."""

    groups: Mapping[str, tuple[str, ...]]  # optimizer -> keys of its networks
    parts: ClassVar[tuple[type, type, type]]  # dataclasses: a recipe's network, weights, options
    exported: str = "source_to_target"
    optimization: Optimization

    def __init__(self, sizes: Any, weights: Any, options: Any, optimization: Optimization) -> None:
        """Of ``parts`` as the recipe fills them in."""

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        sizes, weights, options = cls.parts
        return cls(
            settings(sizes, recipe.network, "network"),
            settings(weights, recipe.weights, "weights"),
            settings(options, recipe.options, "options"),
            recipe.optimization,
        )

    def optimizers(self) -> dict[str, Optimizer]:
        return {
            name: self.optimization.adam(
                name, [p for key in keys for p in self.networks[key].parameters()]
            )
            for name, keys in self.groups.items()
        }

    def synthesize(self, source: Tensor, generator: Generator) -> Tensor:
        """(B,1,H,W) -> (B,1,H,W) by one pass; these methods draw no noise."""
        target: Tensor = self.networks[self.exported](source)
        return target


GENERATORS_AND_DISCRIMINATORS: Mapping[str, tuple[str, ...]] = {
    "generators": ("source_to_target", "target_to_source"),
    "discriminators": ("of_source", "of_target"),
}


def weighted_phase(optimizer: str, **terms: tuple[float, Tensor]) -> Phase:
    """The phase whose loss is the sum of weight times term; the log gets the bare terms."""
    loss = torch.stack([weight * term for weight, term in terms.values()]).sum()
    return Phase(optimizer, loss, {name: term.detach() for name, (_, term) in terms.items()})
