"""Runs and trainings that are killed at any moment: what they leave is whole, and goes on.

    python -m Testing.nasty.kills [--seconds 600] [--seed 17] [--share 0.5]

Kills ``mambasynth synthesize`` while it replaces its earlier results, and small trainings, which
must end with the weights of one that nobody killed. Prints how many; exits with 1 at the first
that is not whole. The processes are forked, so that they need not import everything again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from MambaSynthLib.cli import main as mambasynth
from MambaSynthLib.gate import admission
from MambaSynthLib.gate.verdict import Verdict
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from MambaSynthLib.io.marks import mark_in_sidecar
from MambaSynthTraining.engine.checkpoint import read_checkpoint
from MambaSynthTraining.run_folder import LAST
from Testing.library.image_files import OBLIQUE
from Testing.model_packages import contrast_card, random_package
from Testing.training.engine_runs import (
    finish,
    in_processes,
    kill_after,
    logged,
    tiny_recipe,
    train,
    weights_hash,
)

FORK = multiprocessing.get_context("fork")
IMAGES = ("out.nii.gz", "spread.nrrd")
SHAPE = (40, 36, 24)  # large enough that half of the time goes into writing
MOST_KILLS = 8  # of one training, so that it also ends


@dataclass
class Tally:
    """killed: by us, and not ended before. left: of these, with a temporary file behind."""

    killed: int = 0
    left: int = 0
    finished: int = 0


class KilledRuns:
    """``mambasynth synthesize --overwrite`` into one folder, with another seed each time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tally = folder / "runs", Tally()
        self.folder.mkdir()
        self.model = random_package(folder / "model", contrast_card()).folder
        values = np.random.default_rng(0).normal(100, 30, SHAPE).astype(np.float32)
        write_volume(Volume(values, OBLIQUE), folder / "x.nii")
        self.source = folder / "x.nii"
        assert self.run(0) == 0  # imports what it needs
        started = time.monotonic()
        assert self.run(1) == 0
        self.usual_s = time.monotonic() - started

    def run(self, seed: int) -> int:
        out, spread = (str(self.folder / name) for name in IMAGES)
        words = ["synthesize", str(self.source), "--to", "T2w", "--model", str(self.model), "-o",
                 out, "--uncertainty", spread, "--samples", "2", "--overwrite", "--seed",
                 str(seed), "--backend", "torch"]  # fmt: skip
        quiet = io.StringIO()
        with (
            mock.patch.object(admission, "examine", lambda volume, _: Verdict(volume.name)),
            contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet),
        ):  # fmt: skip
            return mambasynth(words)

    def kill_one(self, seed: int, draw: random.Random) -> None:
        child = os.fork()
        if not child:
            os._exit(self.run(seed))
        time.sleep(draw.uniform(0, 1.1 * self.usual_s))
        os.kill(child, signal.SIGKILL)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        self.tally.killed += killed
        self.tally.finished += not killed
        self.tally.left += any(self.folder.glob(".*"))
        self.check()

    def check(self) -> None:
        """Every image is whole and marked, and no sidecar describes another one."""
        for name in IMAGES:
            path = self.folder / name
            if not path.exists():
                continue
            mark, record = read_marks(path), mark_in_sidecar(path)
            assert read_volume(path).shape == SHAPE, "half an image"
            assert mark is not None and mark.provenance is not None, "an image without its mark"
            if record is not None and record.provenance is not None:
                assert record.provenance.seed == mark.provenance.seed, "the record of another"

    def end(self) -> None:
        """One more run, after which nothing of the killed ones is there."""
        assert self.run(10**6) == 0
        found = sorted(path.name for path in self.folder.iterdir())
        assert found == ["out.json", "out.nii.gz", "spread.json", "spread.nrrd"], found


class KilledTrainings:
    """A small training, killed several times and then left to end; and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tally, self.recipe = folder / "trainings", Tally(), tiny_recipe()
        self.folder.mkdir()
        whole = FORK.Process(target=train, args=(self.recipe, self.folder / "whole"))
        whole.start()
        finish([whole])
        self.expected = weights_hash(self.folder / "whole")
        self.number = self.kills = 0

    @property
    def run(self) -> Path:
        return self.folder / str(self.number)

    def kill_one(self, seed: int, draw: random.Random) -> None:
        (process,) = in_processes(1, self.recipe, self.run)
        kill_after(logged(self.run) + draw.randint(0, 2), draw.uniform(0, 0.4), process, self.run)
        killed = process.exitcode == -signal.SIGKILL
        self.tally.killed += killed
        self.tally.left += any(self.run.rglob("*.part"))
        self.kills += 1
        if (self.run / LAST).exists():
            read_checkpoint(self.run / LAST)  # raises where it is not whole
        if not killed or self.kills == MOST_KILLS:
            self.end()

    def end(self) -> None:
        """The run goes on to its end, with the weights of the one that nobody killed."""
        if not self.kills:
            return
        finish(in_processes(1, self.recipe, self.run))
        assert weights_hash(self.run) == self.expected, "other weights than without a kill"
        assert not list(self.run.rglob("*.part")), "left by a killed run"
        self.tally.finished += 1
        self.number, self.kills = self.number + 1, 0


def kill(subject: Any, seed: int, seconds: float = math.inf, kills: float = math.inf) -> Tally:
    """Kill for so long, or so often, then let it end. Raises AssertionError at what is broken."""
    end, draw, number = time.monotonic() + seconds, random.Random(seed), seed
    while time.monotonic() < end and subject.tally.killed < kills:
        number += 1
        subject.kill_one(number, draw)
    subject.end()
    tally: Tally = subject.tally
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--share", type=float, default=0.5, help="of the time, for the trainings")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a forked child waits for ever for its parent's pool of threads
    print(f"seed {options.seed}", flush=True)
    seconds = {KilledRuns: (1 - options.share) * options.seconds,
               KilledTrainings: options.share * options.seconds}  # fmt: skip
    for kind, time_s in seconds.items():
        with tempfile.TemporaryDirectory() as folder:
            tally = kill(kind(Path(folder)), options.seed, time_s)
        what = "runs" if kind is KilledRuns else "trainings"
        print(f"{what}: {tally.killed} kills, {tally.left} of them left a temporary file, "
              f"{tally.finished} ended; all that was left was whole", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
