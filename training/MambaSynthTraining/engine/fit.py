"""Run a recipe to its end, from the last checkpoint in the folder if there is one."""

from __future__ import annotations

import logging
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.io.atomic import telling
from MambaSynthTraining.data.batches import TrainingData, shard_count
from MambaSynthTraining.data.dataset_files import DATASET
from MambaSynthTraining.engine.bookkeeping import Bookkeeping
from MambaSynthTraining.engine.checkpoint import latest_checkpoint
from MambaSynthTraining.engine.distributed import is_first_process, launcher_size, plugins, strategy
from MambaSynthTraining.engine.lock import lock
from MambaSynthTraining.engine.module import Training
from MambaSynthTraining.engine.precision import Precision
from MambaSynthTraining.engine.progress import Lines
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.recipe import FOR_PEOPLE, Recipe
from MambaSynthTraining.record import REASON, SPENT, new_record, reached, read_record, write_record
from MambaSynthTraining.run_folder import RUN
from MambaSynthTraining.start import Start, check_same_start

TERMINATED = 128 + 15  # exit code of a process that SIGTERM ended


@dataclass(frozen=True)
class Hardware:
    """Where a run happens; none of it changes what the recipe means."""

    accelerator: str = "auto"
    devices: int = 0  # processes on each node; 0: as torchrun or SLURM started them, else one
    nodes: int = 0
    precision: str = ""  # empty: the recipe's
    gradient_checkpointing: bool = False
    progress: bool = False  # a bar
    line_every: float = 0.0  # seconds between two lines in the place of the bar; 0: none


def fit(
    recipe: Recipe,
    recipe_file: Path,
    data: TrainingData,
    run: Path,
    hardware: Hardware,
    start: Start | None = None,
) -> State:
    """Train, and leave checkpoints, logs and ``run.json`` in the folder ``run``.

    A new run begins with the weights of ``start``, if there is one.

    Raises
    ------
    FileError: the folder holds a run of another recipe, other data or another start, damaged
        checkpoints, or cannot be written.
    RequestError: another process trains there; a loss is not finite; the memory is not enough, or
        the accelerator is not here.
    """
    local, nodes = launcher_size()
    devices, nodes = hardware.devices or local, hardware.nodes or nodes
    shard_count(recipe, devices * nodes)
    with telling(run):
        run.mkdir(parents=True, exist_ok=True)
    with lock(run) if is_first_process() else nullcontext():
        content = latest_checkpoint(run)
        trainer = _trainer(recipe, run, hardware, devices, nodes)
        machine = {"processes": devices * nodes, "nodes": nodes}
        record = new_record(recipe, recipe_file, data, trainer.strategy.root_device, machine)
        if content is not None:
            record = continue_record(run, record)
            check_same_start(run, record, start)
            if content["iteration"] == recipe.iterations:
                return _finished(recipe, content, run)
        elif start is not None:
            record["start"] = start.about()
        first = start.weights() if start is not None and content is None else None
        precision = Precision(hardware.precision or recipe.precision, record.pop(REASON, ""))
        module = Training(recipe, data, content, precision, hardware.gradient_checkpointing, first)
        trainer.callbacks.append(Bookkeeping(run, record, module))  # type: ignore[attr-defined]
        if hardware.line_every and not hardware.progress:
            trainer.callbacks.append(Lines(module, hardware.line_every))  # type: ignore[attr-defined]
        _fit(trainer, module)
        return module.state


def _finished(recipe: Recipe, content: dict[str, Any], run: Path) -> State:
    """A run killed between its last checkpoint and its record gets the record now."""
    state = State(recipe)
    state.load(content)
    record = read_record(run)
    if not record.get("finished") and is_first_process():
        write_record(run, {**record, **reached(state.iteration, state.best, ended=True)})
    return state


def continue_record(run: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The record of a run that goes on: what it has spent is kept, and why it is in float32.

    Raises FileError when the folder's run has another recipe or learned from other subjects; the
    sentence names what differs.
    """
    former = read_record(run)
    recipes = former["recipe"], record["recipe"]
    keys = sorted({*recipes[0], *recipes[1]}.difference(FOR_PEOPLE))
    different = [key for key in keys if recipes[0].get(key) != recipes[1].get(key)]
    if different:
        raise FileError(
            f"{run / RUN}: the run in this folder has another {' and '.join(different)}; choose "
            "another folder for this recipe."
        )
    begun, now = (each.get("sha256", {}) for each in (former, record))
    subjects = (begun.keys() & now.keys()) - {DATASET}  # who is learned from, not how it was made
    changed = sorted(name for name in subjects if begun[name] != now[name])
    if changed:
        raise FileError(
            f"{run / RUN}: the run in this folder learned from other data (their {changed[0]} was "
            "another one); choose another folder for these."
        )
    kept = [name for name in (*SPENT, REASON, "start") if name in former]
    return {**record, **{name: former[name] for name in kept}}


def _trainer(recipe: Recipe, run: Path, hardware: Hardware, devices: int, nodes: int) -> pl.Trainer:
    """Raises RequestError: this computer has no such accelerator, or not so many."""
    _quiet()
    try:
        return pl.Trainer(
            accelerator=hardware.accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy(devices * nodes),
            plugins=plugins(),
            max_epochs=1,  # an epoch is the whole run; an iteration says which slices it needs
            deterministic=None if hardware.accelerator == "cpu" else "warn",
            callbacks=[RichProgressBar()] if hardware.progress else [],
            enable_progress_bar=hardware.progress,
            enable_checkpointing=False,  # Bookkeeping writes ours, atomically
            enable_model_summary=False,
            logger=False,
            use_distributed_sampler=False,
            default_root_dir=run,
        )
    except MisconfigurationException as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RequestError(
            f"the accelerator {hardware.accelerator} cannot be had here with {devices} device(s) "
            f"({reason}); name another, such as cpu, or fewer."
        ) from error


def _fit(trainer: pl.Trainer, module: Training) -> None:
    try:
        trainer.fit(module)
    except SIGTERMException:
        raise SystemExit(TERMINATED) from None
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from None
    if trainer.interrupted:
        raise KeyboardInterrupt


def _quiet() -> None:
    """Lightning's remarks on hardware and workers are for other programs than this one."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
