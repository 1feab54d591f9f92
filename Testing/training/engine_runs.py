"""Small training runs for the tests of the engine, each in a process of its own that can be killed.

The processes are forked, so that they need not import PyTorch and Lightning again.
"""

from __future__ import annotations

import csv
import hashlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.batches import Batches
from MambaSynthTraining.data.slices import SlicePairs
from MambaSynthTraining.data.sources import ContrastData
from MambaSynthTraining.engine.checkpoint import read_checkpoint
from MambaSynthTraining.engine.fit import Hardware, fit
from MambaSynthTraining.engine.iteration import run_iteration
from MambaSynthTraining.engine.logs import LOSSES
from MambaSynthTraining.engine.machine import Machine
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.recipe_file import recipe_of
from MambaSynthTraining.run_folder import LAST
from Testing.library.clusters import torchrun

TINY: dict[str, Any] = {
    "method": "cravim",
    "preset": "released-code",
    "seed": 11,
    "options": {"discriminator_width": 2},
    "network": {"ngf": 4, "n_blocks": 1, "n_attentions": 2},
    "weights": {"lambda_paired": 25.0},
    "optimization": {
        "learning_rates": {"generators": 1e-3, "discriminators": 1e-4},
        "decay": "cosine",
        "lr_end": 1e-5,
        "ema": 0.9,
    },
    "augmentation": {"gamma": 0.2},
    "stages": [
        {"iterations": 3, "batch": 2, "crop": [64, 64]},
        {"iterations": 2, "batch": 2, "crop": [68, 64]},
        {
            "iterations": 3,
            "batch": 2,
            "crop": [64, 64],
            "objective": "paired",
            "restart": True,
            "weights": {"lambda_structure": 2.0},
            "augmentation": {"gamma": 0.1, "noise": 0.02},
        },  # fmt: skip
    ],
    "every": {"log": 1, "save": 2, "validate": 4},
}
CPU = Hardware(accelerator="cpu")
FORK = multiprocessing.get_context("fork")


def tiny_recipe(**changes: Any) -> Recipe:
    return recipe_of({**TINY, **changes})


def longer(recipe: Recipe, times: int) -> Recipe:
    stages = tuple(replace(s, iterations=s.iterations * times) for s in recipe.stages)
    return replace(recipe, stages=stages)


def some_slices(count: int = 4, size: tuple[int, int] = (72, 66), seed: int = 0) -> SlicePairs:
    images = np.random.default_rng(seed).uniform(-0.8, 1, (2, count, *size)).astype(np.float32)
    return SlicePairs(list(images[0]), list(images[1]))


def some_data(validation: int = 2) -> ContrastData:
    return ContrastData(
        [some_slices(), some_slices(seed=1)],
        [0.7, 0.3],
        GridSpec("LPS", 1.0, (64, 64)),
        IntensitySpec("percentile", 99.5, (0.0, 1000.0)),
        validation=some_slices(validation, (64, 62), seed=2),
    )


def train(recipe: Recipe, run: Path, hardware: Hardware = CPU, data: Any = None) -> Any:
    return fit(recipe, Path("tiny.yaml"), data or some_data(), run, hardware)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_processes(
    count: int,
    recipe: Recipe,
    run: Path,
    hardware: Hardware = CPU,
    data: Any = None,
    launcher: Callable[[int], Sequence[dict[str, str]]] = torchrun,
) -> list[multiprocessing.Process]:
    """Start the run as ``launcher`` would with so many processes; one alone has none."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    alone = count == 1 and launcher is torchrun
    environments = [{}] if alone else launcher(count)
    found = []
    for environment in environments:
        everything = {**environment, **(meeting if len(environments) > 1 else {})}
        process = FORK.Process(target=_child, args=(everything, recipe, run, hardware, data))
        process.start()
        found.append(process)
    return found


def _child(
    environment: dict[str, str], recipe: Recipe, run: Path, hardware: Hardware, data: Any
) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    train(recipe, run, hardware, data)


def finish(processes: list[multiprocessing.Process], seconds: float = 240) -> None:
    for process in processes:
        process.join(seconds)
        assert process.exitcode == 0, f"exit code {process.exitcode}"


def kill_after(rows: int, delay: float, process: multiprocessing.Process, run: Path) -> None:
    """kill -9, ``delay`` seconds after the log has so many rows."""
    while process.is_alive() and logged(run) < rows:
        time.sleep(0.002)
    time.sleep(delay)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()


def logged(run: Path) -> int:
    return len((run / LOSSES).read_text().splitlines()) - 1 if (run / LOSSES).exists() else 0


def rows(run: Path) -> list[dict[str, str]]:
    with open(run / LOSSES, newline="") as file:
        return list(csv.DictReader(file))


def weights_hash(run: Path) -> str:
    """SHA-256 over every tensor and number of the last checkpoint."""
    digest = hashlib.sha256()

    def walk(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(value.contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for name, inner in value.items():
                digest.update(str(name).encode())
                walk(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                walk(inner)
        else:
            digest.update(repr(value).encode())

    walk(read_checkpoint(run / LAST))
    return digest.hexdigest()


def iterate(state: State, recipe: Recipe, data=None, machine: Machine | None = None) -> dict:
    batches = Batches(recipe, data or some_data(), state.iteration)
    state.set_rates()
    terms = run_iteration(
        state.method, state.optimizers, batches[0], recipe, state.iteration, machine or Machine()
    )
    state.advance()
    return {name: float(value) for name, value in terms.items()}


def weights_of(state: State) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in state.method.networks.named_parameters()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The networks with a changed parameter."""
    return {k.partition(".")[0] for k in before if not torch.equal(before[k], after[k])}
