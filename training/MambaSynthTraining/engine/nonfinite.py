"""A loss or a gradient that is not finite: the iteration is repeated with an eye on every layer.

Watching costs a look at every value, so it is done when something has gone wrong and not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.batches import Shard
from MambaSynthTraining.engine.machine import BF16, Machine
from MambaSynthTraining.method import TrainingMethod
from MambaSynthTraining.recipe import Recipe


class Culprit(NamedTuple):
    """What was not finite first, and the subjects it was seen on."""

    what: str  # empty: all was finite when it was repeated
    names: tuple[str, ...]
    in_data: bool = False


class NotFinite(RequestError):
    """A NaN or an infinite value; the step was not made.

    It reaches the process that started the training, so it can be made anew of ``args`` alone.
    """

    def __init__(self, event: str, iteration: int, culprit: Culprit, remedy: str) -> None:
        super().__init__(event, iteration, culprit, remedy)
        self.event, self.iteration, self.culprit, self.remedy = event, iteration, culprit, remedy

    def __str__(self) -> str:
        what, names = self.culprit.what, "; ".join(self.culprit.names)
        first = f"not finite first: {what}" if what else "repeated, all was finite"
        return f"iteration {self.iteration}: {self.event}; {first} ({names}); {self.remedy}."


def remedy_for(culprit: Culprit, iteration: int, machine: Machine) -> str:
    if culprit.in_data:
        return "look at these data"
    if machine.precision == BF16:
        return "use --precision 32"
    if not culprit.what:
        return "give the same command again, and look at the other processes and the machine"
    if iteration == 0:
        return "no step was made yet, so look at the recipe's network and weights"
    return "lower the learning rate"


def find_culprit(
    method: TrainingMethod, shards: Sequence[Shard], recipe: Recipe, iteration: int, phase: int,
    machine: Machine,
) -> Culprit:  # fmt: skip
    """Repeat the iteration up to ``phase`` (0, 1, ...), shard by shard, and watch.

    The phases before it were stepped already, so their losses are not quite the same ones again.
    """
    for shard in shards:
        for name, values in shard.batch._asdict().items():
            if _is_bad(values):
                return Culprit(f"the data ({name})", shard.names, in_data=True)
        with watch(method.networks) as seen:
            phases = shard.phases(method, recipe, recipe.stage_at(iteration))
            for _ in range(phase + 1):
                with machine.autocast():
                    loss = next(phases).loss
            if not seen and _is_bad(loss):
                seen.append("the loss itself")
            machine.backward(loss)
        if seen:
            return Culprit(seen[0], shard.names)
    return Culprit("", tuple(name for shard in shards for name in shard.names))


@contextmanager
def watch(networks: nn.Module) -> Iterator[list[str]]:
    """Names of what is not finite: outputs of layers, then gradients, in the order of time.

    A gradient arrives at a layer's output before the layer passes it on, and at its weights.
    """
    seen: list[str] = []

    def look(name: str, values: Tensor) -> None:
        if _is_bad(values):
            seen.append(name)

    def look_at_output(layer: str, module: nn.Module, _: Any, output: Any) -> None:
        for values in output if isinstance(output, tuple | list) else (output,):
            if isinstance(values, Tensor):
                look(f"the output of {layer} ({type(module).__name__})", values)
                if values.requires_grad:
                    values.register_hook(partial(look, f"the gradient at the output of {layer}"))

    handles = [
        module.register_forward_hook(partial(look_at_output, name))
        for name, module in networks.named_modules()
    ]
    handles += [
        parameter.register_hook(partial(look, f"the gradient of {name}"))
        for name, parameter in networks.named_parameters()
        if parameter.requires_grad
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _is_bad(values: Any) -> bool:
    floating = isinstance(values, Tensor) and values.is_floating_point()
    return floating and not bool(torch.isfinite(values).all())
