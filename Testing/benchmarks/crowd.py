"""A cine beside other programs: threads that wait awake, as OpenMP has them, or asleep, as ours.

    python -m Testing.benchmarks.crowd [--rounds 3]

Each contestant is ``mambasynth cine`` in a process of its own, with a thread for each core, on a
made-up slice with a ball that shrinks. A busy neighbor is a process that does nothing but compute;
there is one for each core. "times alone" compares with the same contestant without neighbors.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from MambaSynthLib.cli import SPIN
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from Testing.benchmarks.cine import SIZE, made_up_pair
from Testing.benchmarks.race import arguments, report

OWN = {name: "300000" for name in SPIN}  # what GNU OpenMP takes where nothing is set
CONTESTANTS = {"threads wait awake": OWN, "threads wait asleep (ours)": {}}


@contextmanager
def neighbors(count: int) -> Iterator[None]:
    """``count`` processes that compute until the block ends."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def seconds_of_cine(pair: tuple[Path, Path], environment: dict[str, str]) -> float:
    """The time on the wall of one command; its result is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "MambaSynthLib", "cine", *map(str, pair), "--frames", "10"]
        start = time.perf_counter()
        subprocess.run(
            [*command, "-o", f"{folder}/cine.nii.gz"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, **environment}, check=True,
        )  # fmt: skip
        return time.perf_counter() - start


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(rounds=3)
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    seconds: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "ed.nii.gz", Path(folder) / "es.nii.gz"
        for volume, path in zip(made_up_pair(), pair, strict=True):
            middle = volume.array[:, :, SIZE[2] // 2 :][:, :, :1]
            write_volume(Volume(middle, volume.affine), path)
        for _ in range(options.rounds):
            for count in (0, cores):
                for name, environment in CONTESTANTS.items():
                    with neighbors(count):
                        took = seconds_of_cine(pair, environment)
                    seconds.setdefault((name, count), []).append(took)
    rows = []
    for name in CONTESTANTS:
        alone, beside = (statistics.median(seconds[name, count]) for count in (0, cores))
        rows.append({"cine beside busy programs": name, "alone s": alone, "beside s": beside,
                     "times alone": beside / alone})  # fmt: skip
    report("crowd", rows, options.out, "beside s")


if __name__ == "__main__":
    main()
