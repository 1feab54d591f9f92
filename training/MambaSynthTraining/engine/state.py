"""Everything that changes while training; randomness is a function of (seed, iteration, shard)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from MambaSynthTraining.engine.rates import learning_rate
from MambaSynthTraining.method import TrainingMethod
from MambaSynthTraining.methods import method_class
from MambaSynthTraining.recipe import Recipe


class State:
    """The method's networks and optimizers, the averaged exported network, and the iteration."""

    def __init__(self, recipe: Recipe, device: torch.device | str = "cpu") -> None:
        """The start of a run; the same initial weights on every device."""
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.method: TrainingMethod = method_class(recipe.method).build(recipe)
        self.method.networks.to(device)
        self.optimizers: dict[str, Optimizer] = self.method.optimizers()
        self.starts = {
            name: [group["lr"] for group in optimizer.param_groups]
            for name, optimizer in self.optimizers.items()
        }
        average = get_ema_multi_avg_fn(recipe.optimization.ema)
        self.averaged = AveragedModel(self.exported, multi_avg_fn=average, use_buffers=True)
        self.averaged_back: AveragedModel | None = None
        if self.method.exported_back:
            back = self.method.networks[self.method.exported_back]
            self.averaged_back = AveragedModel(back, multi_avg_fn=average, use_buffers=True)
        self.iteration = 0
        self.best = float("inf")  # smallest validation error so far

    @property
    def exported(self) -> nn.Module:
        return self.method.networks[self.method.exported]

    def set_rates(self) -> None:
        """The learning rates of the iteration that comes next."""
        for name, optimizer in self.optimizers.items():
            for group, start in zip(optimizer.param_groups, self.starts[name], strict=True):
                group["lr"] = learning_rate(start, self.recipe, self.iteration)

    def advance(self) -> None:
        """An iteration was made."""
        self.averaged.update_parameters(self.exported)
        if self.averaged_back is not None:
            self.averaged_back.update_parameters(self.method.networks[self.method.exported_back])
        self.iteration += 1

    def content(self) -> dict[str, Any]:
        """What a checkpoint holds: tensors and numbers only. ``averaged`` is what is exported,
        ``averaged_back`` the same of the other direction, where there is one.
        """
        back = self.averaged_back
        return {
            "iteration": self.iteration,
            "best": self.best,
            "exported": self.method.exported,
            "networks": self.method.networks.state_dict(),
            "optimizers": {name: each.state_dict() for name, each in self.optimizers.items()},
            "averaged": self.averaged.module.state_dict(),
            "n_averaged": self.averaged.n_averaged,
            **({} if back is None else {"averaged_back": back.module.state_dict()}),
        }

    def load(self, content: Mapping[str, Any]) -> None:
        """Continue from a checkpoint. Raises KeyError, ValueError or RuntimeError for another's."""
        self.method.networks.load_state_dict(content["networks"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
        self.averaged.module.load_state_dict(content["averaged"])
        self.averaged.n_averaged.copy_(content["n_averaged"])
        if self.averaged_back is not None:
            raw = self.method.networks[self.method.exported_back].state_dict()  # of older versions
            self.averaged_back.module.load_state_dict(content.get("averaged_back", raw))
            self.averaged_back.n_averaged.copy_(content["n_averaged"])
        self.iteration, self.best = content["iteration"], content["best"]

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """The exported network's first weights. Parts of it that the other one has not at all keep
        their own beginning. Raises RuntimeError for weights of another network.
        """
        parts = {name.partition(".")[0] for name in weights}
        for network in (self.exported, self.averaged.module):
            own = network.state_dict()
            new = {name: own[name] for name in own if name.partition(".")[0] not in parts}
            network.load_state_dict({**new, **weights})

    @contextmanager
    def as_exported(self, back: bool = False) -> Iterator[TrainingMethod]:
        """The method with the averaged weights, in eval mode; then everything is as before.

        With ``back`` it synthesizes in the other direction.
        """
        forward = self.method.exported
        key, averaged = forward, self.averaged
        if back and self.averaged_back is not None:
            key, averaged = self.method.exported_back, self.averaged_back
        network = self.method.networks[key]
        raw = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(averaged.module.state_dict())
        self.method.networks.eval()
        self.method.exported = key
        try:
            with torch.no_grad():
                yield self.method
        finally:
            self.method.exported = forward
            network.load_state_dict(raw)
            self.method.networks.train()
