"""Any training method as a Lightning module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from MambaSynthLib.commands.console import note
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.data.batches import Batches, Shard, TrainingData
from MambaSynthTraining.engine.distributed import add_up, average_statistics
from MambaSynthTraining.engine.iteration import run_iteration
from MambaSynthTraining.engine.machine import Machine
from MambaSynthTraining.engine.nonfinite import NotFinite
from MambaSynthTraining.engine.precision import Precision
from MambaSynthTraining.engine.recomputing import recompute_activations
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.run_folder import LAST


class Training(pl.LightningModule):
    """Manual optimization over the phases of a method, from ``content`` of a checkpoint on."""

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        content: dict[str, Any] | None,
        precision: Precision,
        gradient_checkpointing: bool = False,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.recipe, self.data, self.content, self.start = recipe, data, content, start
        self.precision = precision
        self.gradient_checkpointing = gradient_checkpointing

    def configure_model(self) -> None:
        """Called on each process when its device is known and the others are found."""
        device = self.trainer.strategy.root_device
        if self.precision.needs_test(device):
            trials = [(first, self._batches(first)[0][0]) for first in self.recipe.stage_starts]
            self.precision = self.precision.tested(self._new_state, trials)
        if self.precision.reason and self.trainer.is_global_zero:
            note(self.precision.reason)
        self.state = self._new_state(device)
        if self.content is not None or self.start is not None:
            try:
                if self.content is not None:
                    self.state.load(self.content)
                elif self.start is not None:
                    self.state.begin_with(self.start)
            except (KeyError, ValueError, RuntimeError) as error:
                reason = str(error).partition("\n")[0]
                raise FileError(
                    f"{LAST}: is of another recipe ({reason}); choose another folder."
                ) from error
        self.networks = self.state.method.networks

    def _new_state(self, device: torch.device | str = "cpu") -> State:
        state = State(self.recipe, device)
        if self.gradient_checkpointing and not recompute_activations(state.method.networks):
            raise RequestError(
                f"the method {self.recipe.method} has no blocks that could be computed twice; "
                "leave --gradient-checkpointing out."
            )
        return state

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return list(self.state.optimizers.values())

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self._batches(self.state.iteration), batch_size=None)

    def _batches(self, first: int) -> Batches:
        trainer = self.trainer
        return Batches(self.recipe, self.data, first, trainer.global_rank, trainer.world_size)

    def training_step(self, shards: list[Shard], _: int) -> None:
        self.state.set_rates()
        try:
            try:
                self.terms = self._iterate(shards)
            except NotFinite as error:
                self.precision = self.precision.after(error, self.device, self.trainer.world_size)
                note(self.precision.reason)
                self.terms = self._iterate(shards)
        except torch.OutOfMemoryError as error:
            raise RequestError(
                f"iteration {self.state.iteration}: the memory of the device is not enough for "
                f"{shards[0].batch.extent} at a time; use --precision bf16-mixed, "
                "--gradient-checkpointing or more shards in the recipe."
            ) from error
        average_statistics(self.networks)
        self.state.advance()

    def _iterate(self, shards: list[Shard]) -> dict[str, Tensor]:
        """Repeated, it takes once more the steps of the phases that had ended before."""
        machine = Machine(
            self.manual_backward, add_up, self.trainer.world_size, self.device.type,
            self.precision.used,
        )  # fmt: skip
        state = self.state
        return run_iteration(
            state.method, state.optimizers, shards, self.recipe, state.iteration, machine
        )
