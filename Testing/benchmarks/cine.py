"""A cine model on one pair of volumes: field computations, time, peak memory, and folding.

    python -m Testing.benchmarks.cine [INPUT ...] [--model ID|FOLDER] [--frames 10] [--threads 1]

INPUT are ED and ES, or one cine; without any, a made-up heart of 128x128x32 voxels. Folding is the
share of voxels of the source's grid whose Jacobian determinant is not positive, over all frames.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MambaSynthLib.cine.engine import CineEngine
from MambaSynthLib.cine.phases import choose_phases
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.methods.mstg.unets import DeformationUNet
from MambaSynthLib.methods.mstg.warp import jacobian_determinant
from MambaSynthLib.model.registry import cine_model, find_model
from Testing.benchmarks.race import arguments, report
from Testing.benchmarks.volume import process_peak

SIZE, SPACING_MM = (128, 128, 32), (1.5, 1.5, 3.15)


def made_up_pair() -> tuple[Volume, Volume]:
    """A bright ball in a grey wall that shrinks by a quarter."""
    places = np.indices(SIZE) - (np.array(SIZE).reshape(3, 1, 1, 1) - 1) / 2
    distance = np.sqrt((places**2 * np.reshape((1, 1, 4), (3, 1, 1, 1))).sum(0))
    affine = np.diag([*SPACING_MM, 1.0])
    balls = (900 / (1 + np.exp(distance - radius)) + 100 for radius in (24.0, 18.0))
    ed, es = (Volume(ball.astype(np.float32), affine) for ball in balls)
    return ed, es


def pair_of(inputs: list[Path]) -> tuple[Volume, Volume]:
    if not inputs:
        return made_up_pair()
    if len(inputs) == 2:
        ed, es = (read_volume(path) for path in inputs)
        return ed, es
    cine = read_cine(inputs[0])
    found = choose_phases(cine)
    return cine.frames[found.ed], cine.frames[found.es]


def measure(engine: CineEngine, ed: Volume, es: Volume, frames: int) -> dict[str, Any]:
    """The frames between ED and ES, and what they cost."""
    computed = 0

    def count(module: torch.nn.Module, inputs: Any, _output: Any) -> None:
        nonlocal computed
        if isinstance(module, DeformationUNet):
            computed += len(inputs[0])  # both directions may go through in one batch

    hook = torch.nn.modules.module.register_module_forward_hook(count)
    before, began = process_peak(), time.perf_counter()
    try:
        made = engine.synthesize(ed, es, list(np.linspace(0, 1, frames)), with_fields=True)
    finally:
        hook.remove()
    seconds = time.perf_counter() - began
    return {
        "cine": " x ".join(map(str, ed.shape)),
        "frames": frames,
        "field computations": computed,
        "s": seconds,
        "peak MB": process_peak(),
        "of which MB before": before,
        "folding %": None if made.fields is None else folding(made.fields),
    }


def folding(fields: np.ndarray) -> float:
    """Percentage of voxels of all fields (F,3,I,J,K) whose Jacobian determinant is <= 0."""
    shares = [
        (jacobian_determinant(torch.from_numpy(field)[None]) <= 0).float().mean()
        for field in fields
    ]
    return 100 * float(torch.stack(shares).mean())


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("inputs", type=Path, nargs="*", metavar="INPUT")
    parser.add_argument("--model", metavar="ID|FOLDER")
    parser.add_argument("--frames", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engine = CineEngine(find_model(options.model) if options.model else cine_model(), "cpu")
    row = measure(engine, *pair_of(options.inputs), options.frames)
    report(f"cine threads {options.threads}", [row], options.out, "s")


if __name__ == "__main__":
    main()
