"""Any training method as a Lightning module, and what happens around its iterations."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.data.batches import Batches, Shard, TrainingData
from MambaSynthTraining.engine.checkpoint import write_checkpoint
from MambaSynthTraining.engine.distributed import add_up, average_statistics
from MambaSynthTraining.engine.iteration import Machine, run_iteration
from MambaSynthTraining.engine.logs import Logs
from MambaSynthTraining.engine.memory import recompute_activations
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.record import write_record
from MambaSynthTraining.run_folder import BEST, LAST


class Training(pl.LightningModule):
    """Manual optimization over the phases of a method, from ``content`` of a checkpoint on."""

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        content: dict[str, Any] | None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.recipe, self.data, self.content = recipe, data, content
        self.gradient_checkpointing = gradient_checkpointing

    def configure_model(self) -> None:
        """Called on each process when its device is known."""
        self.state = State(self.recipe, self.trainer.strategy.root_device)
        if self.content is not None:
            try:
                self.state.load(self.content)
            except (KeyError, ValueError, RuntimeError) as error:
                reason = str(error).partition("\n")[0]
                raise FileError(
                    f"{LAST}: is of another recipe ({reason}); choose another folder."
                ) from error
        self.networks = self.state.method.networks
        if self.gradient_checkpointing and not recompute_activations(self.networks):
            raise RequestError(
                f"the method {self.recipe.method} has no blocks that could be computed twice; "
                "leave --gradient-checkpointing out."
            )

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return list(self.state.optimizers.values())

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        batches = Batches(
            self.recipe, self.data, self.state.iteration, trainer.global_rank, trainer.world_size
        )
        return DataLoader(batches, batch_size=None)

    def training_step(self, shards: list[Shard], _: int) -> None:
        state, machine = self.state, Machine(self.manual_backward, add_up, self.trainer.world_size)
        state.set_rates()
        try:
            self.terms = run_iteration(
                state.method, state.optimizers, shards, self.recipe, state.iteration, machine
            )
        except torch.OutOfMemoryError as error:
            raise RequestError(
                f"iteration {state.iteration}: the memory of the device is not enough for "
                f"{shards[0].batch.extent} at a time; use --precision bf16-mixed, "
                "--gradient-checkpointing or more shards in the recipe."
            ) from error
        average_statistics(self.networks)
        state.advance()


class Bookkeeping(pl.Callback):
    """Log, validate and save at the intervals of the recipe; the first process alone writes."""

    def __init__(self, run: Path, record: dict[str, Any], training: Training) -> None:
        self.run, self.record, self.training = run, record, training
        self.logs: Logs | None = None

    def on_train_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        self.started, self.cpu_started = time.monotonic(), time.process_time()
        if trainer.is_global_zero:
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
        if found.error < state.best:
            state.best = found.error
            content = state.content()
            kept = ("iteration", "best", "exported", "averaged")
            write_checkpoint(self.run / BEST, {name: content[name] for name in kept})

    def _save(self, state: State, ended: bool) -> None:
        write_checkpoint(self.run / LAST, state.content())
        minutes = self.record["minutes"] + (time.monotonic() - self.started) / 60
        cpu_minutes = self.record["cpu_minutes"] + (time.process_time() - self.cpu_started) / 60
        changed = {
            "minutes": round(minutes, 2),
            "cpu_minutes": round(cpu_minutes, 2),
            "iterations": state.iteration,
            "finished": ended,
        }
        if state.best != float("inf"):
            changed["best_validation_error"] = state.best
        write_record(self.run, {**self.record, **changed})


def _stacked(terms: dict[str, Tensor]) -> Tensor:
    """The terms as one tensor on their device, as the exchange between processes needs it."""
    return torch.stack([value.detach().float() for value in terms.values()])
