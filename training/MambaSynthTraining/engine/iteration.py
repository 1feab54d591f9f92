"""One iteration of any method: shards in lockstep through the phases, one step for each phase.

The gradient of a phase is the mean over all shards of all processes, so one process that works off
two shards and two processes with one each take the same step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from MambaSynthTraining.data.batches import Shard
from MambaSynthTraining.engine.machine import Machine
from MambaSynthTraining.engine.nonfinite import NotFinite, find_culprit, remedy_for
from MambaSynthTraining.method import Phase, TrainingMethod
from MambaSynthTraining.recipe import Recipe


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
    NotFinite: a loss or a gradient is NaN or infinite; the step of that phase is not made.
    """
    stage = recipe.stage_at(iteration)
    method.begin(stage)
    running = [shard.phases(method, recipe, stage) for shard in shards]
    share = 1 / (len(shards) * machine.processes)
    terms: dict[str, Tensor] = {}
    number = 0

    def not_finite(event: str) -> NotFinite:
        culprit = find_culprit(method, shards, recipe, iteration, number, machine)
        return NotFinite(event, iteration, culprit, remedy_for(culprit, iteration, machine))

    while True:
        phase: Phase | None = None
        for n, phases in enumerate(running):
            with machine.autocast():
                phase = next(phases, None)
            if phase is None:
                return terms
            if n == 0:
                optimizers[phase.optimizer].zero_grad()
            if not torch.isfinite(phase.loss):
                raise not_finite(f"the loss of the {phase.optimizer} is {_values(phase)}")
            machine.backward(phase.loss * share, inputs=_parameters(optimizers[phase.optimizer]))
            for name, value in {phase.optimizer: phase.loss.detach(), **phase.terms}.items():
                terms[name] = terms.get(name, 0) + value * share
        if phase is not None:
            _step(optimizers[phase.optimizer], recipe.optimization.clip, machine, phase, not_finite)
        number += 1


def _step(
    optimizer: Optimizer,
    clip: float,
    machine: Machine,
    phase: Phase,
    not_finite: Callable[[str], NotFinite],
) -> None:
    parameters = _parameters(optimizer)
    machine.add_up([p.grad for p in parameters if p.grad is not None])
    norm = float(clip_grad_norm_(parameters, clip or float("inf")))
    if not math.isfinite(norm):
        raise not_finite(
            f"the norm of the gradient of the {phase.optimizer} is {norm}, while the loss is "
            f"{_values(phase)}"
        )
    optimizer.step()


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    """What it steps: a phase has no use for other gradients, a discriminator's among them."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def _values(phase: Phase) -> str:
    """The loss and its terms."""
    terms = ", ".join(f"{name} {float(value):.4g}" for name, value in phase.terms.items())
    return f"{float(phase.loss.detach()):.4g} ({terms})"
