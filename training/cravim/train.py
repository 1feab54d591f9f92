"""Train CRAViM: a small loop around ``step.py``.

    python -m training.cravim.train RECIPE.toml --out RUN --pair T1.nii.gz T2.nii.gz \\
        [--pair ...] [--labels FOLDER]

Everything random is a function of (seed, iteration), so a killed run that is started again with
the same command ends with the same weights, bit for bit, as one that was never interrupted.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MambaSynthLib.errors import MambaSynthError, RequestError
from MambaSynthLib.io.files import read_volume
from training.cravim.recipe import Recipe, read_recipe
from training.cravim.record import new_record, read_record, write_record
from training.cravim.state import State
from training.cravim.step import (
    IterationNoise,
    Terms,
    discriminator_pass,
    draw_noise,
    generator_pass,
    paired_pass,
)
from training.data.augmentation import augment
from training.data.phantom_slices import phantom_slices
from training.data.slices import SlicePairs, draw_batch, slices_of

LOG_EVERY = 20
SAVE_EVERY = 100
TERMS = [field.name for field in fields(Terms)]
COLUMNS = ["iteration", "total", "discriminators", *TERMS, "structure_ab"]


def learning_rate(start: float, recipe: Recipe, iteration: int) -> float:
    """A cosine from ``start`` to ``lr_end`` between two restarts, or ``start`` throughout."""
    if not recipe.optimization.cosine:
        return start
    first, last = recipe.phase_of(iteration)
    progress = (iteration - first) / (last - first)
    end = recipe.optimization.lr_end
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def train_one(
    state: State, recipe: Recipe, groups: Sequence[SlicePairs], shares: Sequence[float]
) -> dict[str, float]:
    """One iteration; returns its loss terms.

    Raises
    ------
    RequestError: the loss is NaN or infinite; the weights are left as they were.
    """
    iteration, stage = state.iteration, recipe.stage_at(state.iteration)
    rng = np.random.default_rng([recipe.seed, iteration])
    device = next(state.networks.a_to_b.parameters()).device
    a, b = (x.to(device) for x in draw_batch(groups, shares, stage.batch, stage.crop, rng))
    draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
    a, b = augment(a, b, stage.augmentation, draws)
    noise = draw_noise(a, recipe.schedule, draws)
    rates = recipe.optimization
    for optimizer, start in (
        (state.adam_generators, rates.lr_generators),
        (state.adam_discriminators, rates.lr_discriminators),
    ):
        optimizer.param_groups[0]["lr"] = learning_rate(start, recipe, iteration)
    if stage.objective == "cycle":
        losses = _cycle_step(state, recipe, a, b, noise)
    else:
        from_noise = torch.from_numpy(rng.random(stage.batch) < 0.5).to(device)
        losses = _paired_step(state, recipe, a, b, noise, from_noise)
    state.iteration += 1
    return losses


def _cycle_step(
    state: State, recipe: Recipe, a: Tensor, b: Tensor, noise: IterationNoise
) -> dict[str, float]:
    """Both generators, then both discriminators."""
    networks = state.networks
    terms, ab, ba = generator_pass(networks, a, b, noise, recipe.wiring, recipe.schedule)
    loss = terms.total(recipe.weights)
    _check_finite(loss, state.iteration, terms.values())
    state.adam_generators.zero_grad()
    loss.backward()
    state.adam_generators.step()

    state.adam_discriminators.zero_grad()  # they also collected the generators' gradients
    loss_d = discriminator_pass(networks, a, b, ab, ba)
    loss_d.backward()
    state.adam_discriminators.step()

    state.averaged["a_to_b"].update_parameters(networks.a_to_b)
    state.averaged["b_to_a"].update_parameters(networks.b_to_a)
    return {
        "total": float(loss.detach()),
        "discriminators": float(loss_d.detach()),
        **terms.values(),
    }


def _paired_step(
    state: State, recipe: Recipe, a: Tensor, b: Tensor, noise: IterationNoise, from_noise: Tensor
) -> dict[str, float]:
    """The generator that is exported, A -> B, alone."""
    generator, weights = state.networks.a_to_b, recipe.weights
    paired, structure, transport = paired_pass(generator, a, b, noise, from_noise, recipe.schedule)
    loss = (
        weights.lambda_paired * paired
        + recipe.stage_at(state.iteration).lambda_structure * structure
        + weights.lambda_trans * transport
    )
    values = {
        "paired_ab": float(paired.detach()),
        "structure_ab": float(structure.detach()),
        "trans_forward_a": float(transport.detach()),
    }
    _check_finite(loss, state.iteration, values)
    state.adam_generators.zero_grad()
    loss.backward()
    state.adam_generators.step()
    state.averaged["a_to_b"].update_parameters(generator)
    return {"total": float(loss.detach()), **values}


def _check_finite(loss: Tensor, iteration: int, values: dict[str, float]) -> None:
    if not torch.isfinite(loss):
        raise RequestError(
            f"iteration {iteration}: the loss is {float(loss.detach())}; lower the learning rate "
            f"or look at the data ({values})."
        )


def train(
    recipe: Recipe,
    groups: Sequence[SlicePairs],
    shares: Sequence[float],
    out: Path,
    record: dict[str, Any],
    device: torch.device | str = "cpu",
) -> State:
    """Run the recipe to its end, from ``out/last.pt`` if there is one.

    Writes ``last.pt``, ``losses.csv`` and, with the minutes it took, ``record`` as ``run.json``.
    """
    from rich.progress import Progress, TextColumn, TimeRemainingColumn

    out.mkdir(parents=True, exist_ok=True)
    state = State.fresh(recipe, device)
    checkpoint, log = out / "last.pt", out / "losses.csv"
    if checkpoint.exists():
        state.load(checkpoint)
        record = {**record, "minutes": read_record(out)["minutes"]}
    write_record(out, record)
    _forget_after(log, state.iteration)
    started = time.monotonic()
    columns = (
        *Progress.get_default_columns()[:3],
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(
            "training", total=recipe.iterations, completed=state.iteration, loss=""
        )
        while state.iteration < recipe.iterations:
            losses = train_one(state, recipe, groups, shares)
            progress.update(task, completed=state.iteration, loss=f"loss {losses['total']:.2f}")
            if state.iteration % LOG_EVERY == 0:
                _log(log, state.iteration, losses)
            if state.iteration % SAVE_EVERY == 0 or state.iteration == recipe.iterations:
                state.save(checkpoint)
                minutes = record["minutes"] + (time.monotonic() - started) / 60
                write_record(out, {**record, "minutes": round(minutes, 2)})
    return state


def _forget_after(log: Path, iteration: int) -> None:
    """Drop the rows that a killed run logged after its last checkpoint; they come again."""
    if log.exists():
        header, *rows = log.read_text().splitlines(keepends=True)
        kept = [row for row in rows if int(row.partition(",")[0]) <= iteration]
        log.write_text("".join([header, *kept]))


def _log(path: Path, iteration: int, losses: dict[str, float]) -> None:
    row = {"iteration": iteration, **{name: f"{value:.6g}" for name, value in losses.items()}}
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def read_groups(
    recipe: Recipe, pairs: Sequence[Sequence[Path]], labels: Path | None, cache: Path
) -> tuple[list[SlicePairs], list[float]]:
    """The slices of the acquired subjects and of the phantoms, and the share of each group."""
    acquired = SlicePairs([], [])
    for source, target in pairs:
        acquired += slices_of(
            read_volume(source), read_volume(target), recipe.grid, recipe.intensity
        )
    if labels is None or recipe.phantoms.subjects == 0:
        return [acquired], [1.0]
    phantoms = phantom_slices(labels, recipe.phantoms, recipe.grid, recipe.intensity, cache)
    return [acquired, phantoms], [1 - recipe.phantoms.share, recipe.phantoms.share]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.cravim.train", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument(
        "--pair",
        nargs=2,
        type=Path,
        action="append",
        required=True,
        metavar=("SOURCE", "TARGET"),
        help="registered volumes of one subject",
    )
    parser.add_argument("--labels", type=Path, help="folder of label maps for the phantoms")
    parser.add_argument("--cache", type=Path, help="folder for phantom slices (default: OUT)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu, cuda or mps")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    try:
        recipe = read_recipe(options.recipe)
        cache = options.cache or options.out
        groups, shares = read_groups(recipe, options.pair, options.labels, cache)
        record = new_record(recipe, options.recipe, options.device)
        train(recipe, groups, shares, options.out, record, options.device)
    except MambaSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
