"""What all baselines share: optimizers of groups of networks, phases of weighted losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor
from torch.optim import Optimizer

from MambaSynthTraining.method import ContrastMethod, Phase
from MambaSynthTraining.recipe import Optimization


class Baseline(ContrastMethod):
    """A method whose ``networks`` fall into ``groups``, one Adam each."""

    groups: Mapping[str, tuple[str, ...]]  # optimizer -> keys of its networks
    exported: str = "source_to_target"
    optimization: Optimization

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
