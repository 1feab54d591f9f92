"""Train rows of the cine table, each with several seeds.

    python -m training.cine.train DATA --out RUNS [--rows ROW ...] [--seeds 5] [--device cuda]
        [--jobs N] [--share 0.1] [--small]

One loop for all methods. Everything random is a function of (seed, iteration), so a killed run
that is started again with the same command goes on where its last checkpoint was. The learning
rates of all methods fall by half a cosine. ``--jobs`` runs go on at once: small networks leave most
of a GPU idle. ``--small`` is the setting for a CPU: bfloat16, random boxes instead of whole volumes
where a network allows it, and for each row as many iterations as a core does in the same time.
Needs torch, numpy, safetensors, and MONAI for the rows cgan and voxelmorph.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from MambaSynthLib.errors import MambaSynthError, RequestError
from training.cine.rows import ROWS, Row, row
from training.cine.run_state import CHECKPOINT, WEIGHTS, RunState, run_folder, write_weights
from training.data.heart_cine import read_split, read_subject, write_json
from training.mstg.batches import Beats

LOG_EVERY = 20
SAVE_EVERY = 200
CLIP = 10.0  # largest norm of a gradient; a single bad slice must not end a run


def train(
    name: str,
    beats: Beats,
    out: Path,
    *,
    seed: int,
    iterations: int,
    device: str = "cpu",
    small: bool = False,
) -> RunState:
    """Run one row to its end, from ``out/last.pt`` if there is one.

    Raises
    ------
    RequestError: an unknown or trivial row, or a loss that is no number.
    FileError: ``out`` holds a checkpoint of something else.
    """
    chosen = row(name)
    if chosen.build is None:
        raise RequestError(f"{name}: has nothing to train; leave it out of --rows.")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    method = chosen.build()
    method.networks.to(device)
    state = RunState(method, method.optimizers())
    state.rates = {key: o.param_groups[0]["lr"] for key, o in state.optimizers.items()}
    if small and chosen.small_lr is not None:
        state.rates = dict.fromkeys(state.rates, chosen.small_lr)
    if (out / CHECKPOINT).exists():
        state.load(out / CHECKPOINT)
    began = time.monotonic() - state.seconds
    cpu_began = time.process_time() - state.cpu_seconds
    while state.iteration < iterations:
        terms = train_one(state, chosen, beats, seed, iterations, small)
        last = state.iteration == iterations
        if state.iteration % LOG_EVERY == 0 or last:
            _log(out / "losses.csv", state.iteration, terms, name)
        if state.iteration % SAVE_EVERY == 0 or last:
            state.seconds = time.monotonic() - began
            state.cpu_seconds = time.process_time() - cpu_began
            state.save(out / CHECKPOINT)
    _record(state, out, name, seed, device)
    write_weights(method, out / WEIGHTS)
    return state


def train_one(
    state: RunState, chosen: Row, beats: Beats, seed: int, iterations: int, small: bool = False
) -> dict[str, torch.Tensor]:
    """One iteration with all its phases; returns its loss terms, still on the device."""
    rng = np.random.default_rng([seed, state.iteration])
    crop = chosen.crop if small else None
    batch = beats.draw(chosen.batch, chosen.gamma_spread, rng, crop)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    falling = (1 + math.cos(math.pi * state.iteration / iterations)) / 2
    terms: dict[str, torch.Tensor] = {}
    with torch.autocast(batch.ed.device.type, torch.bfloat16, enabled=small, cache_enabled=False):
        for phase in state.method.iteration(batch, generator):
            optimizer = state.optimizers[phase.optimizer]
            group = optimizer.param_groups[0]
            group["lr"] = state.rates[phase.optimizer] * falling
            optimizer.zero_grad()
            phase.loss.backward()
            torch.nn.utils.clip_grad_norm_(group["params"], CLIP)
            optimizer.step()
            terms |= phase.terms
    state.iteration += 1
    return terms


def _log(path: Path, iteration: int, terms: dict[str, torch.Tensor], name: str) -> None:
    values = {key: float(value) for key, value in terms.items()}
    if not all(math.isfinite(value) for value in values.values()):
        raise RequestError(
            f"{name}, iteration {iteration}: a loss is no number ({values}); look at the data."
        )
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["iteration", *values])
        writer.writerow([iteration, *(f"{value:.6g}" for value in values.values())])


def _record(state: RunState, out: Path, name: str, seed: int, device: str) -> None:
    network = state.method.networks[state.method.exported]
    cuda = torch.device(device).type == "cuda"
    write_json(
        out / "run.json",
        {
            "row": name,
            "seed": seed,
            "iterations": state.iteration,
            "seconds": round(state.seconds, 1),
            "cpu_seconds": round(state.cpu_seconds, 1),
            "parameters": sum(p.numel() for p in network.parameters()),
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "torch": torch.__version__,
        },
    )


def read_beats(data: Path, targets: str, device: str) -> Beats:
    """The training subjects of a prepared data set."""
    return Beats((read_subject(data, s) for s in read_split(data, "train")), targets, device)


def finished(out: Path, iterations: int) -> bool:
    """Whether the run in ``out`` has its weights, after as many iterations."""
    try:
        record = json.loads((out / "run.json").read_text(encoding="utf-8"))
        return (out / WEIGHTS).exists() and int(record["iterations"]) >= iterations
    except (OSError, ValueError, KeyError):
        return False


def trainable(names: Sequence[str] | None) -> list[str]:
    """The rows named, or all that learn. Raises RequestError for an unknown one."""
    return [name for name in names or ROWS if row(name).build is not None]


def train_all(
    data: Path,
    runs: Path,
    names: Sequence[str],
    seeds: int,
    *,
    device: str = "cpu",
    share: float = 1.0,
    jobs: int = 1,
    small: bool = False,
) -> None:
    """Every row with every seed, as far as it is not done; the seeds of a row one after another.

    Raises
    ------
    RequestError: a row could not be trained; its last words are quoted.
    """
    todo = [
        (name, seed)
        for seed in range(seeds)
        for name in names
        if not finished(run_folder(runs, name, seed), _iterations(name, share, small))
    ]
    if jobs > 1 and len(todo) > 1:
        _side_by_side(data, runs, todo, device, share, jobs, small)
        return
    for name, seed in todo:
        beats = read_beats(data, row(name).targets, device)
        out, iterations = run_folder(runs, name, seed), _iterations(name, share, small)
        state = train(name, beats, out, seed=seed, iterations=iterations, device=device,
                      small=small)  # fmt: skip
        pace = state.seconds / state.iteration
        print(f"{name}, seed {seed}: {state.seconds:.0f} s, {pace:.3f} s per iteration", flush=True)


def _iterations(name: str, share: float, small: bool) -> int:
    chosen = row(name)
    return max(1, round((chosen.small if small else chosen.iterations) * share))


def _side_by_side(
    data: Path,
    runs: Path,
    todo: list[tuple[str, int]],
    device: str,
    share: float,
    jobs: int,
    small: bool,
) -> None:
    """A process per run, ``jobs`` at once, which share the cores."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    waiting, running = list(todo), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            name, seed = waiting.pop(0)
            command = [sys.executable, "-m", "training.cine.train", str(data), "--out", str(runs)]
            command += ["--rows", name, "--only-seed", str(seed), "--device", device]
            command += ["--share", str(share), *(["--small"] if small else [])]
            running[name, seed] = subprocess.Popen(command, env=environment)
        time.sleep(0.2)
        for run, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[run]
            if process.returncode:
                for other in running.values():
                    other.terminate()
                raise RequestError(
                    f"{run[0]}, seed {run[1]}: training ended with code {process.returncode}; "
                    "its message is above, correct that and start the same command again."
                )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.cine.train", description=__doc__)
    parser.add_argument("data", type=Path, help="prepared cine data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="default: all that learn")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only-seed", type=int, help="this seed alone")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--share", type=float, default=1.0, help="of each row's iterations")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--small", action="store_true", help="the setting for a CPU")
    options = parser.parse_args(arguments)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    try:
        names = trainable(options.rows)
        if options.only_seed is not None:
            _train_seed(options, names)
        else:
            train_all(options.data, options.out, names, options.seeds, device=options.device,
                      share=options.share, jobs=options.jobs, small=options.small)  # fmt: skip
    except MambaSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _train_seed(options: argparse.Namespace, names: Sequence[str]) -> None:
    for name in names:
        beats = read_beats(options.data, row(name).targets, options.device)
        out = run_folder(options.out, name, options.only_seed)
        iterations = _iterations(name, options.share, options.small)
        state = train(name, beats, out, seed=options.only_seed, iterations=iterations,
                      device=options.device, small=options.small)  # fmt: skip
        print(
            f"{name}, seed {options.only_seed}: {state.seconds:.0f} s, "
            f"{state.seconds / state.iteration:.3f} s per iteration",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
