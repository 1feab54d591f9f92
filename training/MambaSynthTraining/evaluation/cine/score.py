"""Score trained runs on the test subjects, one way for all methods.

The frames strictly between ED and ES are compared with the acquired ones by
``MambaSynthLib/image/cine_metrics.py``, over the whole volume and without its zero padding, in the
data set's own scale.
Where a method has fields, the labels of ED are carried to ES by the one at gamma = 1 (nearest
label) and their Dice is taken, and folding is counted: the percentage of voxels whose Jacobian
determinant is not positive, inside the acquired box, mean over the frames.

Methods of the library are scored as a user runs them, through ``CineEngine``: the network's own
frames, and where asked for refined, which goes into a folder beside the row's. Each run gets
``scores.json``, and ``example.npy``, the frames of the first subject, (F,D,H,W).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.cine_metrics import dice, frame_scores
from MambaSynthLib.io.atomic import write_json
from MambaSynthLib.methods.mstg.warp import jacobian_determinant, warp
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, SyntheticFrames
from MambaSynthTraining.cine.rivals.trivial import TRIVIAL
from MambaSynthTraining.data.heart_cine import (
    BACKGROUND,
    FRAMES,
    HeartCine,
    read_split,
    read_subject,
)
from MambaSynthTraining.evaluation.cine.engine_frames import EngineFrames, engine_of
from MambaSynthTraining.runs import TrainedRun, open_run

if TYPE_CHECKING:
    from MambaSynthTraining.cine.rivals.volumes import Spacing
    from MambaSynthTraining.method import CineMethod

REFINED = "-refined"  # the ending of a row's name
SCORES = "scores.json"
EXAMPLE = "example.npy"
METRICS = ("psnr", "ssim", "nmse")


def score_subject(model: FrameModel, cine: HeartCine) -> tuple[dict[str, Any], SyntheticFrames]:
    """All scores of one subject as JSON, and what was synthesized: frames between, then ES."""
    between = cine.between
    fractions = [cine.fraction(index) for index in between]
    began = time.monotonic()
    made = model.synthesize(cine.frames[cine.ed], cine.frames[cine.es], [*fractions, 1.0])
    seconds = time.monotonic() - began
    frames = []
    for image, index, fraction in zip(made.images, between, fractions, strict=False):
        whole = frame_scores(image, cine.frames[index])
        reference = cine.frames[index][cine.box]
        inside = frame_scores(image[cine.box], reference)
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


def score_run(run: Path, data: Path, device: str = "cpu", refined: bool = False) -> bool:
    """Score a run of a cine method and write its files, unless they are up to date.

    ``refined``: as the engine refines it, into ``refined_folder``; for a method of the library.
    Returns whether that was necessary. Raises FileError: the run is none, or not finished.
    """
    found = open_run(run)
    folder = refined_folder(run) if refined else run
    by = ("engine, refined" if refined else "engine") if found.exportable else "method"
    about = {"checkpoint_sha256": found.checkpoint_sha256, "by": by, **_about(data, device)}
    if _is_scored(folder, about):
        return False
    with _frames_of(found, _spacing(data), device, refined) as model:
        score_model(model, folder, data, about)
    return True


def refined_folder(run: Path) -> Path:
    """OUT/runs/ROW/seed-0 -> OUT/runs/ROW-refined/seed-0"""
    return run.parent.with_name(run.parent.name + REFINED) / run.name


@contextmanager
def _frames_of(
    run: TrainedRun, spacing_mm: Spacing, device: str, refined: bool
) -> Iterator[FrameModel]:
    """What a user gets of a run; of a method that the library lacks, what the method makes."""
    if run.exportable:
        with engine_of(run, device) as engine:
            yield EngineFrames(engine, spacing_mm, refined)
        return
    method: CineMethod
    with run.trained() as method:
        method.networks.to(device)
        yield method.frame_model(device)


def score_trivial(name: str, folder: Path, data: Path) -> None:
    """Likewise for a row without training."""
    about = {"checkpoint_sha256": None, "by": name, **_about(data, "cpu")}
    if not _is_scored(folder, about):
        score_model(TRIVIAL[name].model(_spacing(data)), folder, data, about)


def score_model(model: FrameModel, folder: Path, data: Path, about: dict[str, Any]) -> None:
    """Score on all test subjects."""
    records: dict[str, Any] = {}
    for subject in read_split(data, "test"):
        records[subject], made = score_subject(model, read_subject(data, subject))
        if len(records) == 1:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / EXAMPLE, made.images[:-1].astype(np.float16))
    write_json(folder / SCORES, {**about, "subjects": records})


def _spacing(data: Path) -> Spacing:
    """Of all subjects alike. Raises FileError: there are none to score."""
    names = read_split(data, "test")
    if not names:
        raise FileError(f"{data}: has no test subjects; prepare it with some.")
    return read_subject(data, names[0]).spacing_mm


def _about(data: Path, device: str) -> dict[str, Any]:
    """What the scores depend on besides the weights."""
    digest = hashlib.sha256()
    for subject in read_split(data, "test"):
        digest.update(subject.encode() + (data / subject / FRAMES).read_bytes())
    return {"test_frames_sha256": digest.hexdigest(), "device": device}


def _is_scored(run: Path, about: dict[str, Any]) -> bool:
    """Whether the scores are of this checkpoint, and of these subjects."""
    try:
        found = json.loads((run / SCORES).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return all(found.get(name) == value for name, value in about.items() if name != "device")


def read_scores(run: Path) -> dict[str, Any]:
    """A scored run; ``subjects`` holds the records of ``score_subject``. Raises FileError."""
    try:
        record: dict[str, Any] = json.loads((run / SCORES).read_text("utf-8"))
        if not record["subjects"]:
            raise ValueError("it has no subjects")
        return record
    except (OSError, ValueError, KeyError) as error:
        raise FileError(
            f"{run / SCORES}: cannot be read ({error}); score the run again."
        ) from error
