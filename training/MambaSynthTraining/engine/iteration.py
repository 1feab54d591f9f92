"""One iteration of any method: shards in lockstep through the phases, one step for each phase.

The gradient of a phase is the mean over all shards of all processes, so one process that works off
two shards and two processes with one each take the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.batches import Shard
from MambaSynthTraining.method import Phase, TrainingMethod
from MambaSynthTraining.recipe import Recipe


@dataclass(frozen=True)
class Machine:
    """What an iteration needs of the processes around it."""

    backward: Callable[[Tensor], None] = Tensor.backward
    add_up: Callable[[Sequence[Tensor]], None] = lambda tensors: None  # in place, over processes
    processes: int = 1


def run_iteration(
    method: TrainingMethod,
    optimizers: Mapping[str, Optimizer],
    shards: Sequence[Shard],
    recipe: Recipe,
    iteration: int,
    machine: Machine,
) -> dict[str, Tensor]:
    """Step every optimizer once for each phase; returns the terms, this process's share of them.

    Raises
    ------
    RequestError: a loss or a gradient is NaN or infinite; the step of that phase is not made.
    """
    stage = recipe.stage_at(iteration)
    method.begin(stage)
    running = []
    for shard in shards:
        generator = torch.Generator().manual_seed(shard.seed)
        batch = shard.batch.augmented(recipe, stage, generator)
        running.append(method.iteration(batch, generator))
    share = 1 / (len(shards) * machine.processes)
    terms: dict[str, Tensor] = {}
    while True:
        phase: Phase | None = None
        for n, (phases, shard) in enumerate(zip(running, shards, strict=True)):
            phase = next(phases, None)
            if phase is None:
                return terms
            if n == 0:
                optimizers[phase.optimizer].zero_grad()  # other phases left gradients there
            _check_loss(phase, iteration, shard)
            machine.backward(phase.loss * share)
            for name, value in {phase.optimizer: phase.loss.detach(), **phase.terms}.items():
                terms[name] = terms.get(name, 0) + value * share
        if phase is not None:
            _step(optimizers[phase.optimizer], recipe.optimization.clip, machine, iteration, shards)


def _step(
    optimizer: Optimizer, clip: float, machine: Machine, iteration: int, shards: Sequence[Shard]
) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    machine.add_up(gradients)
    norm = clip_grad_norm_(parameters, clip or float("inf"))
    if not torch.isfinite(norm):
        names = "; ".join(name for shard in shards for name in shard.names)
        raise RequestError(
            f"iteration {iteration}: the norm of the gradient is {float(norm)} ({names}); lower "
            "the learning rate or clip the gradient."
        )
    optimizer.step()


def _check_loss(phase: Phase, iteration: int, shard: Shard) -> None:
    if not torch.isfinite(phase.loss):
        terms = ", ".join(f"{name} {float(value):.4g}" for name, value in phase.terms.items())
        raise RequestError(
            f"iteration {iteration}: the loss of the {phase.optimizer} is "
            f"{float(phase.loss.detach())} ({terms}; {'; '.join(shard.names)}); lower the "
            "learning rate or look at these data."
        )
