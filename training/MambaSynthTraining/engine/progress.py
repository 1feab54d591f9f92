"""How far a run is, for the log files of clusters and of whoever redirects stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl

from MambaSynthLib.commands.console import note
from MambaSynthTraining.engine.module import Training


class Lines(pl.Callback):
    """The first process notes a line every so many seconds, at the end of an iteration."""

    def __init__(
        self, training: Training, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.training, self.seconds, self.clock = training, seconds, clock

    def on_train_start(self, *_: Any) -> None:
        self.first = self.training.state.iteration
        self.started = self.last = self.clock()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        now = self.clock()
        if trainer.is_global_zero and now - self.last >= self.seconds:
            self.last = now
            note(self._line(now - self.started, trainer.world_size))

    def _line(self, seconds: float, processes: int) -> str:
        """The losses are those of this process's share of the batch."""
        state = self.training.state
        total = self.training.recipe.iterations
        each = seconds / (state.iteration - self.first)
        losses = {k: float(share) * processes for k, share in self.training.terms.items()}
        rates = {k: o.param_groups[0]["lr"] for k, o in state.optimizers.items()}
        left = span((total - state.iteration) * each)
        return (
            f"iteration {state.iteration} of {total}: {_listed(losses)}; learning rate "
            f"{_listed(rates)}; {each:.2g} s an iteration, {left} left"
        )


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def span(seconds: float) -> str:
    """A stretch of time in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
