"""On a CPU, bfloat16 is used only where it was seen to give the gradients that float32 gives.

Libraries compute bfloat16 by other instructions on every make of processor, and not all are right:
oneDNN's gradient of a 3-D convolution is NaN on some with ``avx512_bf16``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from MambaSynthTraining.data.batches import Shard
from MambaSynthTraining.engine.distributed import add_up
from MambaSynthTraining.engine.iteration import run_iteration
from MambaSynthTraining.engine.machine import BF16, Machine
from MambaSynthTraining.engine.nonfinite import NotFinite
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.record import REASON

LARGEST_DIFFERENCE = 0.05  # of the norm of float32's gradient
Trials = Sequence[tuple[int, Shard]]  # an iteration of each stage, and a shard of it


@dataclass(frozen=True)
class Precision:
    """What the recipe or the command line asks for, and why it is float32 nevertheless."""

    asked: str
    reason: str = ""  # a sentence, or empty; a run that goes on keeps that of its start

    @property
    def used(self) -> str:
        return "32" if self.reason else self.asked

    def needs_test(self, device: torch.device) -> bool:
        return device.type == "cpu" and self.used == BF16

    def tested(self, new_state: Callable[[], State], trials: Trials) -> Precision:
        """All processes use what the least of them can."""
        fault = fault_of_bf16(new_state, trials)
        failures = torch.tensor([float(bool(fault))])
        add_up([failures])
        if not failures:
            return self
        what = f"on this processor {fault}" if fault else "another process failed its test"
        return replace(self, reason=f"Training in float32, not in {self.asked}: {what}.")

    def after(self, error: NotFinite, device: torch.device, processes: int) -> Precision:
        """Float32 from here on, where bfloat16 failed in a run although it had passed the test:
        some gradients are infinite now and then, and finite when the same batch is repeated.

        Raises ``error`` where bfloat16 on a CPU is not to blame, or where other processes, which
        saw nothing, would stay in bfloat16.
        """
        if not self.needs_test(device) or error.culprit.in_data or processes > 1:
            raise error
        start = f"From iteration {error.iteration} on in float32, not in {self.asked}"
        return replace(self, reason=f"{start}: {error.event}.")

    def record(self) -> dict[str, str]:
        """For ``run.json``."""
        return {"precision": self.used, **({REASON: self.reason} if self.reason else {})}


def fault_of_bf16(new_state: Callable[[], State], trials: Trials) -> str:
    """What is wrong with bfloat16 on this CPU, or nothing where it may be used.

    The trials have the sizes of the run, because libraries choose their code by these. Each goes
    forward and backward in both precisions, at the initial weights of ``new_state``.

    The measure is ||g - g_32|| / ||g_32|| over all the weights that one step moves. Tensor by
    tensor there is no fair one: a bias in front of a normalization has no gradient but rounding.

    Raises NotFinite: float32 is not finite either, so that it is not for bfloat16 to blame.
    """
    for iteration, shard in trials:
        expected = _gradients(new_state(), iteration, shard, "32")
        try:
            found = _gradients(new_state(), iteration, shard, BF16)
        except NotFinite as error:
            return f"{error.culprit.what or 'a gradient'} is not finite in bfloat16"
        for ours, theirs in zip(found, expected, strict=True):
            size, difference = float(theirs.norm()), float((ours - theirs).norm())
            if difference > LARGEST_DIFFERENCE * size:
                share = f"{difference / (size or 1):.0%}"
                return f"gradients in bfloat16 are {share} away from float32's"
    return ""


def _gradients(state: State, iteration: int, shard: Shard, precision: str) -> list[Tensor]:
    """(P,) for each phase of an iteration whose steps have no length."""
    found: list[Tensor] = []

    def keep(gradients: Sequence[Tensor]) -> None:
        found.append(torch.cat([each.flatten() for each in gradients]))

    for optimizer in state.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    machine = Machine(add_up=keep, precision=precision)
    run_iteration(state.method, state.optimizers, [shard], state.recipe, iteration, machine)
    return found
