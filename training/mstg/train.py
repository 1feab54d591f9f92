"""Train MSTG or MSTG+: a small loop around ``step.py``.

    python -m training.mstg.train RECIPE.yaml --data FOLDER [FOLDER ...] --out RUN [--device cuda]

Everything random is a function of (seed, iteration), so a killed run that is started again with
the same command goes on as if it had not been interrupted; on a CPU bit for bit. Nothing is read
back from the device between two rows of the log.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MambaSynthLib.backends.torch_backend import choose_device
from MambaSynthLib.errors import MambaSynthError, RequestError
from training.data.heart_cine import HeartCine, read_split, read_subject
from training.mstg.batches import Beats
from training.mstg.recipe import Optimization, Recipe, read_recipe
from training.mstg.record import new_record, read_record, write_record
from training.mstg.state import CHECKPOINT, State

LOG_EVERY = 20
SAVE_EVERY = 100
LOG = "losses.csv"


def learning_rate(rates: Optimization, progress: float) -> float:
    """Constant, or half a cosine from ``lr`` to ``lr_end`` as ``progress`` goes from 0 to 1."""
    if not rates.cosine:
        return rates.lr
    return rates.lr_end + (rates.lr - rates.lr_end) * (1 + math.cos(math.pi * progress)) / 2


def train_one(state: State, recipe: Recipe, beats: Beats) -> dict[str, Tensor]:
    """One iteration; returns its loss terms, still on the device."""
    rng = np.random.default_rng([recipe.seed, state.iteration])
    batch = beats.draw(recipe.batch, recipe.gamma_spread, rng)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    rates = recipe.optimization
    progress = state.iteration / recipe.iterations
    state.optimizer.param_groups[0]["lr"] = learning_rate(rates, progress)
    terms: dict[str, Tensor] = {}
    half = recipe.precision == "bf16"
    with torch.autocast(batch.ed.device.type, dtype=torch.bfloat16, enabled=half):
        for phase in state.method.iteration(batch, generator):
            state.optimizer.zero_grad()
            phase.loss.backward()
            if rates.clip:
                torch.nn.utils.clip_grad_norm_(state.network.parameters(), rates.clip)
            state.optimizer.step()
            terms |= phase.terms
    state.averaged.update_parameters(state.network)
    state.iteration += 1
    return terms


def train(recipe: Recipe, beats: Beats, out: Path, record: dict[str, Any], device: str) -> State:
    """Run the recipe to its end, from ``out/last.pt`` if there is one.

    Writes ``last.pt``, ``losses.csv`` and, with the minutes it took, ``record`` as ``run.json``.

    Raises
    ------
    RequestError: the loss is NaN or infinite; the last checkpoint is from before.
    """
    out.mkdir(parents=True, exist_ok=True)
    state = State.fresh(recipe, device)
    if (out / CHECKPOINT).exists():
        state.load(out / CHECKPOINT)
        record = {**record, "minutes": read_record(out)[0]["minutes"]}
    write_record(out, record)
    _forget_after(out / LOG, state.iteration)
    started = time.monotonic()
    with _progress(recipe, state) as show:
        while state.iteration < recipe.iterations:
            terms = train_one(state, recipe, beats)
            last = state.iteration == recipe.iterations
            if state.iteration % LOG_EVERY == 0 or last:
                values = {name: float(value) for name, value in terms.items()}
                _check_finite(values, state.iteration)
                _log(out / LOG, state.iteration, values)
                show(state.iteration, values["total"])
            if state.iteration % SAVE_EVERY == 0 or last:
                state.save(out / CHECKPOINT)
                minutes = record["minutes"] + (time.monotonic() - started) / 60
                write_record(out, {**record, "minutes": round(minutes, 2)})
    return state


class _progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, recipe: Recipe, state: State) -> None:
        from rich.progress import Progress, TextColumn, TimeRemainingColumn

        columns = (*Progress.get_default_columns()[:3], TimeRemainingColumn(),
                   TextColumn("{task.fields[loss]}"))  # fmt: skip
        self._bar = Progress(*columns, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(
            "training", total=recipe.iterations, completed=state.iteration, loss=""
        )

    def __enter__(self) -> Any:
        self._bar.start()
        return lambda done, loss: self._bar.update(
            self._task, completed=done, loss=f"loss {loss:.3f}"
        )

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _check_finite(values: dict[str, float], iteration: int) -> None:
    if not math.isfinite(values["total"]):
        raise RequestError(
            f"iteration {iteration}: the loss is {values['total']}; lower the learning rate or "
            f"look at the data ({values})."
        )


def _forget_after(log: Path, iteration: int) -> None:
    """Drop the rows that a killed run logged after its last checkpoint; they come again."""
    if log.exists():
        header, *rows = log.read_text().splitlines(keepends=True)
        kept = [row for row in rows if int(row.partition(",")[0]) <= iteration]
        log.write_text("".join([header, *kept]))


def _log(path: Path, iteration: int, values: dict[str, float]) -> None:
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["iteration", *values])
        writer.writerow([iteration, *(f"{value:.6g}" for value in values.values())])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.mstg.train", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="prepared cine data")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="CPU threads")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    try:
        recipe = read_recipe(options.recipe)
        cines = read_training_cines(options.data)
        device = choose_device(options.device)
        beats = Beats(cines, recipe.targets, device)
        record = new_record(recipe, options.recipe, cines, device)
        train(recipe, beats, options.out, record, device)
    except MambaSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def read_training_cines(folders: Sequence[Path]) -> list[HeartCine]:
    """Every training subject of the prepared data sets."""
    return [
        read_subject(folder, name) for folder in folders for name in read_split(folder, "train")
    ]


if __name__ == "__main__":
    sys.exit(main())
