"""What happens around the iterations: log, validate and save, at the intervals of the recipe."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from MambaSynthLib.commands.console import note
from MambaSynthTraining.data.batches import Correlation
from MambaSynthTraining.engine.checkpoint import write_checkpoint
from MambaSynthTraining.engine.distributed import add_up
from MambaSynthTraining.engine.logs import Logs
from MambaSynthTraining.engine.module import Training
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.record import reached, write_record
from MambaSynthTraining.run_folder import BEST, LAST

WARNS_FROM = 0.5  # of the run


class Bookkeeping(pl.Callback):
    """The first process alone writes."""

    def __init__(self, run: Path, record: dict[str, Any], training: Training) -> None:
        self.run, self.record, self.training = run, record, training
        self.logs: Logs | None = None
        self.warned = False

    def on_train_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        self.started, self.cpu_started = time.monotonic(), time.process_time()
        self.record |= self.training.precision.record()
        if trainer.is_global_zero:
            write_record(self.run, self.record)
            self.logs = Logs(self.run, self.training.state.iteration)

    def on_train_batch_end(self, *_: Any) -> None:
        state, recipe = self.training.state, self.training.recipe
        ended = state.iteration == recipe.iterations
        if state.iteration % recipe.every.log == 0 or ended:
            self._log(state.iteration, self.training.terms)
        if self.logs is None:
            return
        if state.iteration % recipe.every.validate == 0 or ended:
            self._validate(state, self.logs)
        if state.iteration % recipe.every.save == 0 or ended:
            self._save(state, ended)

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if self.logs is not None:
            self.logs.close()

    def _log(self, iteration: int, shares: dict[str, Tensor]) -> None:
        values = _stacked(shares)
        add_up([values])
        if self.logs is not None:
            self.logs.losses(iteration, dict(zip(shares, values.tolist(), strict=True)))

    def _validate(self, state: State, logs: Logs) -> None:
        with state.as_exported() as method:
            found = self.training.data.validate(method)
        if found is None:
            return
        logs.validation(state.iteration, found)
        if found.correlation is not None:
            self._tell(state.iteration, found.correlation)
        if found.error < state.best:
            state.best = found.error
            content = state.content()
            kept = ("iteration", "best", "exported", "averaged")
            write_checkpoint(self.run / BEST, {name: content[name] for name in kept})

    def _tell(self, iteration: int, found: Correlation) -> None:
        """Into the record; and once a warning, where half of the run has not helped."""
        self.record["validation_correlation"] = round(found.synthetic, 4)
        late = iteration >= WARNS_FROM * self.training.recipe.iterations
        if late and found.is_poor and not self.warned:
            self.warned = True
            note(
                f"iteration {iteration}: inside the tissue the synthetic validation slices "
                f"correlate with the acquired ones by {found.synthetic:+.2f}, less than the mean "
                f"training slice of the target does ({found.mean_target:+.2f}); the contrast has "
                "not become the target's, and more iterations alone seldom change that: see "
                "'A contrast that does not turn' in training/README.md."
            )

    def _save(self, state: State, ended: bool) -> None:
        write_checkpoint(self.run / LAST, state.content())
        minutes = self.record["minutes"] + (time.monotonic() - self.started) / 60
        cpu_minutes = self.record["cpu_minutes"] + (time.process_time() - self.cpu_started) / 60
        spent = {"minutes": round(minutes, 2), "cpu_minutes": round(cpu_minutes, 2)}
        self.record |= self.training.precision.record()  # it may have fallen back to float32
        record = {**self.record, **spent, **reached(state.iteration, state.best, ended)}
        write_record(self.run, record)


def _stacked(terms: dict[str, Tensor]) -> Tensor:
    """The terms as one tensor on their device, as the exchange between processes needs it."""
    return torch.stack([value.detach().float() for value in terms.values()])
