"""Killed, resumed and spread over processes, a run ends with the same weights."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from engine_runs import (
    finish,
    in_processes,
    kill_after,
    logged,
    longer,
    rows,
    tiny_recipe,
    train,
    weights_hash,
)
from tiny_data import write_tiny_data

from MambaSynthTraining.engine import bookkeeping
from MambaSynthTraining.engine.checkpoint import read_checkpoint
from MambaSynthTraining.record import read_record
from MambaSynthTraining.run_folder import LAST


def killed_run(recipe, run: Path, kills: int, seed: int) -> int:
    """Kill the run at random moments until it has been killed so often; returns how often."""
    draw, done = random.Random(seed), 0
    for _ in range(kills):
        (process,) = in_processes(1, recipe, run)
        kill_after(logged(run) + draw.randint(0, 2), draw.uniform(0, 0.4), process, run)
        done += process.exitcode == -signal.SIGKILL
    finish(in_processes(1, recipe, run))
    return done


def test_a_run_killed_twice_at_random_moments_ends_bit_equal_to_an_uninterrupted_one(tmp_path):
    recipe = tiny_recipe()
    train(recipe, tmp_path / "whole")
    assert killed_run(recipe, tmp_path / "killed", kills=2, seed=5) == 2
    assert weights_hash(tmp_path / "killed") == weights_hash(tmp_path / "whole")
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert [int(row["iteration"]) for row in rows(tmp_path / "whole")] == list(range(1, 9))
    assert read_record(tmp_path / "killed")["finished"]


def test_a_run_killed_between_its_last_checkpoint_and_its_record_gets_the_record(
    tmp_path, monkeypatch
):
    recipe, written = tiny_recipe(), bookkeeping.write_record

    def killed_at_the_end(run, record):
        if record["finished"]:
            raise KeyError("killed")
        written(run, record)

    train(recipe, tmp_path / "whole")
    monkeypatch.setattr(bookkeeping, "write_record", killed_at_the_end)
    with pytest.raises(KeyError, match="killed"):
        train(recipe, tmp_path / "killed")
    assert not read_record(tmp_path / "killed")["finished"]
    train(recipe, tmp_path / "killed")
    whole, killed = (read_record(tmp_path / name) for name in ("whole", "killed"))
    for name in ("finished", "iterations", "best_validation_error"):
        assert killed[name] == whole[name], name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_ten_times_at_random_moments_ends_bit_equal(tmp_path):
    recipe = longer(tiny_recipe(), 5)
    train(recipe, tmp_path / "whole")
    assert killed_run(recipe, tmp_path / "killed", kills=10, seed=random.randrange(10**6)) >= 8
    assert weights_hash(tmp_path / "killed") == weights_hash(tmp_path / "whole")
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


def test_a_resume_that_forgets_the_optimizers_is_noticed(tmp_path, monkeypatch):
    """The comparison above can fail: a sabotaged restore gives other weights."""
    from MambaSynthTraining.engine.state import State

    recipe, stop = tiny_recipe(), KeyError("stop")
    train(recipe, tmp_path / "whole")
    advance = State.advance

    def stopping(state):
        if state.iteration == 4:
            raise stop
        advance(state)

    monkeypatch.setattr(State, "advance", stopping)
    with pytest.raises(KeyError):
        train(recipe, tmp_path / "killed")
    monkeypatch.setattr(State, "advance", advance)
    load = State.load

    def sabotaged(state, content):
        load(state, content)
        for optimizer in state.optimizers.values():
            optimizer.state.clear()

    monkeypatch.setattr(State, "load", sabotaged)
    train(recipe, tmp_path / "killed")
    assert weights_hash(tmp_path / "killed") != weights_hash(tmp_path / "whole")


def parameters(run: Path) -> dict[str, torch.Tensor]:
    networks = read_checkpoint(run / LAST)["networks"]
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return {name: value for name, value in networks.items() if not name.endswith(statistics)}


def test_two_processes_end_with_the_weights_of_one_that_takes_the_same_shards(tmp_path):
    """Batch normalization's running statistics alone differ: two processes average them."""
    recipe = tiny_recipe(shards=2)
    finish(in_processes(2, recipe, tmp_path / "two"))
    train(recipe, tmp_path / "one")
    one, two = parameters(tmp_path / "one"), parameters(tmp_path / "two")
    assert len(one) > 100
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=2e-6, msg=name)
    for left, right in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        for name, value in left.items():
            if value:
                assert float(right[name]) == pytest.approx(float(value), rel=1e-4)
    assert read_record(tmp_path / "two")["processes"] == 2


@contextmanager
def ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """torchrun ends its processes when it is asked to; a failed test must not leave them."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_restarts_a_run_whose_second_process_was_killed(tmp_path):
    write_tiny_data(tmp_path / "data")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)

    def torchrun(out: str) -> subprocess.Popen:
        root = Path(__file__).resolve().parents[3]
        return subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
             "--max-restarts", "1", "--standalone", "-m", "MambaSynthLib",
             "train", str(recipe), "--data", str(tmp_path / "data"), "--accelerator",
             "cpu", "--out", str(tmp_path / out)],
            cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    with ended(torchrun("whole")) as whole:
        assert whole.wait(400) == 0, whole.stderr.read()
    with ended(torchrun("killed")) as killed:
        while killed.poll() is None and logged(tmp_path / "killed") < 5:
            time.sleep(0.01)
        os.kill(process_of_rank(1, killed.pid), signal.SIGKILL)
        assert killed.wait(400) == 0, killed.stderr.read()
    assert weights_hash(tmp_path / "killed") == weights_hash(tmp_path / "whole")
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


def process_of_rank(rank: int, parent: int) -> int:
    """The child of torchrun with that rank, found through its environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or is not ours
        if int(stat[1]) == parent and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    raise AssertionError(f"torchrun has no process of rank {rank}")


RECIPE = """
method: cravim
preset: released-code
seed: 11
options: {discriminator_width: 2}
network: {ngf: 4, n_blocks: 1, n_attentions: 2}
weights: {lambda_paired: 25.0}
optimization: {ema: 0.9}
stages:
  - {iterations: 12, batch: 2, crop: [64, 64]}
every: {log: 1, save: 2, validate: 4}
grid: {axis_codes: LPS, in_plane_spacing_mm: 1.0, size: [64, 64]}
intensity: {rule: percentile, upper_percentile: 99.5, target_range: [0.0, 1000.0]}
"""
