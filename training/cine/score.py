"""Score trained rows on the test subjects, one way for all.

    python -m training.cine.score DATA RUNS [--rows ROW ...] [--seeds 5] [--device cuda]

The frames strictly between ED and ES are compared with the acquired ones by the library's
uvi-protocol, over the whole volume and without its zero padding. Where a method has fields, the
labels of ED are carried to ES by the one at gamma = 1 (nearest label) and their Dice is taken,
and folding is counted: the share of voxels whose Jacobian determinant is not positive, inside the
acquired box, mean over the frames. Needs torch, numpy, safetensors, scikit-image, and MONAI for
the rows cgan and voxelmorph.

Each run gets ``scores.json``; ``example.npy`` are the frames of the first subject, (F,D,H,W).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from MambaSynthLib.cine_metrics import dice, frame_scores
from MambaSynthLib.errors import FileError, MambaSynthError
from MambaSynthLib.layers.warp import jacobian_determinant, warp
from training.cine.frame_model import FrameModel, Prediction
from training.cine.rows import ROWS, row
from training.cine.run_state import WEIGHTS, read_weights, run_folder
from training.data.heart_cine import BACKGROUND, HeartCine, read_split, read_subject, write_json

SCORES = "scores.json"
EXAMPLE = "example.npy"
METRICS = ("psnr", "ssim", "nmse")


def load(name: str, run: Path, device: str) -> FrameModel:
    """A row with the weights of a run. Raises FileError where they are missing or do not fit."""
    chosen = row(name)
    if chosen.trivial is not None:
        return chosen.trivial()
    if not (run / WEIGHTS).exists():
        raise FileError(f"{run / WEIGHTS}: is missing; train the row {name!r} first.")
    assert chosen.build is not None
    method = chosen.build()
    read_weights(method, run / WEIGHTS)
    method.networks.to(device)
    return method.frame_model(device)


def score_subject(model: FrameModel, cine: HeartCine) -> tuple[dict[str, Any], Prediction]:
    """All scores of one subject as JSON, and what was predicted: frames between, then ES."""
    between = cine.between
    fractions = [cine.fraction(index) for index in between]
    began = time.monotonic()
    made = model.predict(cine.frames[cine.ed], cine.frames[cine.es], [*fractions, 1.0])
    seconds = time.monotonic() - began
    frames = []
    for image, index, fraction in zip(made.images, between, fractions, strict=False):
        whole = frame_scores(image, cine.frames[index])
        inside = frame_scores(image[cine.box], cine.frames[index][cine.box])
        frames.append(
            {"frame": index, "fraction": fraction}
            | {metric: getattr(whole, metric) for metric in METRICS}
            | {f"{metric}_unpadded": getattr(inside, metric) for metric in METRICS}
        )
    record = {"frames": frames, "passes": made.passes, "seconds": round(seconds, 3),
              "dice": None, "folding": None}  # fmt: skip
    if made.fields is not None:
        record["dice"] = warped_dice(cine, made.fields[-1])
        record["folding"] = float(np.mean([folding(field, cine) for field in made.fields]))
    return record, made


def warped_dice(cine: HeartCine, field: NDArray[np.float32]) -> float | None:
    """Mean Dice of the labels of ED, carried to ES by its pull field; None without labels."""
    ed, es = cine.labels_at(cine.ed), cine.labels_at(cine.es)
    if ed is None or es is None:
        return None
    labels = torch.from_numpy(ed.astype(np.float32))[None, None]
    carried = warp(labels, torch.from_numpy(field)[None], mode="nearest")[0, 0].numpy()
    present = [int(label) for label in np.unique(ed) if label != BACKGROUND]
    return float(np.mean([dice(carried, es, label) for label in present]))


def folding(field: NDArray[np.float32], cine: HeartCine) -> float:
    """Percentage of voxels in the acquired box whose Jacobian determinant is not positive."""
    determinant = jacobian_determinant(torch.from_numpy(field)[None])[0].numpy()
    return 100 * float(np.mean(determinant[cine.box] <= 0))


def score_run(name: str, data: Path, run: Path, device: str = "cpu") -> None:
    """Score one run on all test subjects and write its files, unless they are up to date."""
    if _is_scored(run):
        return
    model = load(name, run, device)
    records: dict[str, Any] = {}
    for subject in read_split(data, "test"):
        records[subject], made = score_subject(model, read_subject(data, subject))
        if len(records) == 1:
            run.mkdir(parents=True, exist_ok=True)
            np.save(run / EXAMPLE, made.images[:-1].astype(np.float16))
    if not records:
        raise FileError(f"{data}: has no test subjects; prepare it with some.")
    write_json(run / SCORES, {"row": name, "device": device, "subjects": records})


def _is_scored(run: Path) -> bool:
    """Scores newer than the weights, where there are any of both."""
    if not (run / SCORES).exists():
        return False
    weights = run / WEIGHTS
    return not weights.exists() or weights.stat().st_mtime <= (run / SCORES).stat().st_mtime


def read_scores(run: Path) -> dict[str, Any]:
    """subject -> record of ``score_subject``. Raises FileError."""
    try:
        subjects: dict[str, Any] = json.loads((run / SCORES).read_text("utf-8"))["subjects"]
        return subjects
    except (OSError, ValueError, KeyError) as error:
        raise FileError(
            f"{run / SCORES}: cannot be read ({error}); score the run again."
        ) from error


def runs_of(name: str, runs: Path, seeds: int) -> list[Path]:
    """The folders of a row's runs; what needs no training has one."""
    count = 1 if row(name).trivial is not None else seeds
    return [run_folder(runs, name, seed) for seed in range(count)]


def score_all(data: Path, runs: Path, names: Sequence[str], seeds: int, device: str) -> None:
    for name in names:
        for run in runs_of(name, runs, seeds):
            began = time.monotonic()
            score_run(name, data, run, device)
            print(f"{name}, {run.name}: scored in {time.monotonic() - began:.0f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.cine.score", description=__doc__)
    parser.add_argument("data", type=Path, help="prepared cine data set")
    parser.add_argument("runs", type=Path, help="folder that training.cine.train wrote")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    options = parser.parse_args(arguments)
    torch.set_flush_denormal(True)
    try:
        score_all(options.data, options.runs, options.rows, options.seeds, options.device)
    except MambaSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
