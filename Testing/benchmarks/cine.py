"""A cine model on one pair of volumes: time and the share of each part, peak memory, and folding.

    python -m Testing.benchmarks.cine [INPUT ...] [--model ID|FOLDER] [--frames 10] [--threads 1]

INPUT are ED and ES, or one cine; without any, a made-up heart of 128x128x32 voxels. The parts are
the network's field, its refinement on the pair, and the frames. CPU seconds are of all threads and
do not grow when others use the machine, as seconds do. Folding is the
share of voxels of the source's grid whose Jacobian determinant is not positive, over all frames.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MambaSynthLib.cine.drawing import iterate_frames
from MambaSynthLib.cine.engine import CineEngine
from MambaSynthLib.cine.motion import PairMotion
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.cine.phases import choose_phases
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.files import read_volume
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
    """The frames between ED and ES, and what each part of them costs."""
    before = process_peak()
    marks = [_clocks()]
    alone = engine.find_motion(ed, es, CineOptions(refine=False))
    next(iterate_frames(alone, ed, es, [1.0], float, with_fields=True))
    marks.append(_clocks())
    motion = engine.find_motion(ed, es)
    marks.append(_clocks())
    course = engine.course(CineOptions(), motion)
    made = list(iterate_frames(motion, ed, es, list(np.linspace(0, 1, frames)), course, True))
    marks.append(_clocks())
    network, both, drawing = (b - a for a, b in zip(marks, marks[1:], strict=False))
    refinement = both - network
    whole = both + drawing
    fields = [field for _, field in made if field is not None]
    return {
        "cine": " x ".join(map(str, ed.shape)),
        "frames": frames,
        "steps": motion.fit.steps if isinstance(motion, PairMotion) else 0,
        "network %": 100 * network[1] / whole[1],
        "refinement %": 100 * refinement[1] / whole[1],
        "frames %": 100 * drawing[1] / whole[1],
        "s": whole[0],
        "CPU s": whole[1],
        "peak MB": process_peak(),
        "of which MB before": before,
        "folding %": folding(np.stack(fields)) if fields else None,
    }


def _clocks() -> np.ndarray:
    """Seconds on the wall and of the CPU."""
    return np.array([time.perf_counter(), time.process_time()])


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
