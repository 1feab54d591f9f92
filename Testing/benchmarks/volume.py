"""A whole volume through the engine: time and peak memory against its number of slices.

    python -m Testing.benchmarks.volume [--slices 10 30 100 300] [--pixels 128] [--ngf 16]
        [--steps 1] [--threads 1] [--device cpu] [--model ID] [--planes one|all]

On the CPU each volume has a process of its own, so that no peak is another's. Without ``--model``
the weights are random, which changes neither time nor memory; with it that installed model works.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from MambaSynthLib.engine import Engine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.install.checkpoints import import_checkpoint
from MambaSynthLib.methods.cravim.network import CRAViM, CRAViMConfig
from MambaSynthLib.model.registry import find_model
from Testing.benchmarks.race import arguments, report

Size = tuple[int, int]


def engine_of(ngf: int, size: Size, device: str) -> Engine:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "random.pth"
        torch.save(CRAViM(CRAViMConfig(ngf=ngf)).state_dict(), checkpoint)
        package = import_checkpoint(
            checkpoint,
            source_contrast="T1w",
            target_contrast="T2w",
            folder=Path(folder) / "package",
            size=size,
        )
        return Engine(package, device)


def cylinder(slices: int, size: Size) -> Volume:
    """Something bright in every slice of ``size`` rows and columns."""
    columns, rows = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]  # the array is (I,J,K)
    disc = np.where(rows**2 + columns**2 < 0.6, 300 + 100 * np.sin(9 * columns), 0)
    array = np.repeat(disc.astype(np.float32)[:, :, None], slices, axis=2)
    return Volume(array, np.diag([-1.0, -1, 1, 1]))


def measure(options: argparse.Namespace, slices: int, size: Size) -> dict[str, object]:
    """One volume, in this process."""
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
    engine = (
        Engine(find_model(options.model), options.device)
        if options.model
        else engine_of(options.ngf, size, options.device)
    )
    warm_up = 2 if options.device == "cpu" else slices  # a GPU's first call of each size is slow
    engine.synthesize({"T1w": cylinder(warm_up, size)}, steps=1, planes="one")
    volume = cylinder(slices, size)
    start, started = time.perf_counter(), time.process_time()
    engine.synthesize({"T1w": volume}, steps=options.steps, planes=options.planes)
    wall, processor = time.perf_counter() - start, time.process_time() - started
    peak, own = process_peak(), volume.array.nbytes / 2**20
    return {
        "volume": f"{slices} x {size[0]} x {size[1]}", "steps": options.steps, "s": wall,
        "ms per slice": 1e3 * wall / slices,
        "CPU ms per slice": 1e3 * processor / slices, "volume MB": own, "peak MB": peak,
        "less source and result": peak - 2 * own,
    }  # fmt: skip


def process_peak() -> float:
    """MB of memory that the process held at most, with Python, PyTorch and the weights."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def measure_alone(options: argparse.Namespace, slices: int, size: Size) -> dict[str, object]:
    """One volume, in a process of its own."""
    shared = [
        f"--{name}={getattr(options, name)}"
        for name in ("threads", "device", "ngf", "steps", "model", "planes")
    ]
    command = [sys.executable, "-m", "Testing.benchmarks.volume", "--one", *shared,
               f"--slices={slices}", f"--pixels={size[0]}x{size[1]}"]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def rows_and_columns(text: str) -> Size:
    """'192x160' or '256'."""
    rows, _, columns = text.partition("x")
    return int(rows), int(columns or rows)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--pixels", type=rows_and_columns, nargs="+", default=[(128, 128)])
    parser.add_argument("--ngf", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--model", default="", help="an installed model instead of random weights")
    parser.add_argument("--planes", choices=("one", "all"), default="one",
        help="one, as of thick slices, or all three, as of thin ones")  # fmt: skip
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [(slices, size) for size in options.pixels for slices in options.slices]
    if options.one:
        print(json.dumps(measure(options, *sizes[0])))
        return
    call = measure_alone if options.device == "cpu" else measure
    rows = [call(options, *size) for size in sizes]
    network = options.model or f"ngf {options.ngf}"
    title = f"volume {network} steps {options.steps} threads {options.threads}"
    if options.planes == "all":
        title += " all planes"
    if len(options.pixels) > 1:
        title += " by pixels"
    if options.device != "cpu":
        title += f" on {options.device}"
    report(title, rows, options.out, "ms per slice")


if __name__ == "__main__":
    main()
