"""Score trained runs on the test subjects, one way for all methods.

The frames strictly between ED and ES are compared with the acquired ones by
``MambaSynthLib/image/cine_metrics.py``, over the whole volume and without its zero padding, in the
data set's own scale.
Where a method has fields, the labels of ED are carried to ES by the one at gamma = 1 (nearest
label) and their Dice is taken, and folding is counted: the percentage of voxels whose Jacobian
determinant is not positive, inside the acquired box, mean over the frames.

Each run gets ``scores.json``, and ``example.npy``, the frames of the first subject, (F,D,H,W).
"""

from __future__ import annotations

import hashlib
import json
import time
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
from MambaSynthTraining.runs import open_run

if TYPE_CHECKING:
    from MambaSynthTraining.method import CineMethod

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


def score_run(run: Path, data: Path, device: str = "cpu") -> bool:
    """Score a run of a cine method and write its files, unless they are up to date.

    Returns whether that was necessary. Raises FileError: the run is none, or not finished.
    """
    found = open_run(run)
    about = {"checkpoint_sha256": found.checkpoint_sha256, **_about(data, device)}
    if _is_scored(run, about):
        return False
    method: CineMethod
    with found.trained() as method:
        method.networks.to(device)
        score_model(method.frame_model(device), run, data, about)
    return True


def score_trivial(name: str, folder: Path, data: Path) -> None:
    """Likewise for a row without training."""
    about = {"checkpoint_sha256": None, **_about(data, "cpu")}
    if not _is_scored(folder, about):
        score_model(TRIVIAL[name].model, folder, data, about)


def score_model(model: FrameModel, folder: Path, data: Path, about: dict[str, Any]) -> None:
    """Score on all test subjects. Raises FileError: there are none."""
    records: dict[str, Any] = {}
    for subject in read_split(data, "test"):
        records[subject], made = score_subject(model, read_subject(data, subject))
        if len(records) == 1:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / EXAMPLE, made.images[:-1].astype(np.float16))
    if not records:
        raise FileError(f"{data}: has no test subjects; prepare it with some.")
    write_json(folder / SCORES, {**about, "subjects": records})


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
