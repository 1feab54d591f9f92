"""A cine for training and scoring, and the folder that holds many: one form for every data set.

FOLDER/dataset.json                what it is, where from, license, spacing
       splits.json                 {"train": [subject, ...], "validation": ..., "test": ...}
       SUBJECT/subject.json        times_ms, ed, es, labeled frames, spacing_mm, valid box
               frames.npy          (F,D,H,W) float16 in [0,1]
               labels.npy          (L,D,H,W) uint8, one per labeled frame
               fields.npy          (F,3,D,H,W) float16 voxels, only where they are known
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.atomic import write_json, write_whole
from MambaSynthTraining.data.canvas import Box
from MambaSynthTraining.data.dataset_files import SPLITS_FILE, check_split, read_splits

BACKGROUND, RIGHT_POOL, MYOCARDIUM, LEFT_POOL = range(4)
FRAMES = "frames.npy"


@dataclass(frozen=True)
class HeartCine:
    """One subject. Axes D (base to apex), H, W; times in ms from the R wave.

    ``labels`` (L,D,H,W) belong to the frames ``labeled``. ``fields`` (F,3,D,H,W), in voxels
    along D, H, W, say for each voxel of a frame how far away it lay in the ED frame (the pull
    field that maps ED to the frame); None where nobody knows. ``valid`` is the (start, stop) box
    along D, H, W that was acquired; around it is zero padding.
    """

    name: str
    frames: NDArray[np.float32]
    times_ms: tuple[float, ...]
    labels: NDArray[np.uint8]
    labeled: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    ed: int
    es: int
    valid: Box
    fields: NDArray[np.float32] | None = None

    @property
    def between(self) -> list[int]:
        """Frames strictly between ED and ES in time; the cycle wraps where ES comes first."""
        last = self.es if self.es > self.ed else self.es + len(self.frames)
        return [index % len(self.frames) for index in range(self.ed + 1, last)]

    def fraction(self, index: int) -> float:
        """Phase of a frame between ED (0) and ES (1); beyond ES it is more than 1."""
        n = len(self.frames)
        return ((index - self.ed) % n) / ((self.es - self.ed) % n)

    @property
    def box(self) -> tuple[slice, ...]:
        return tuple(slice(*ends) for ends in self.valid)

    def labels_at(self, index: int) -> NDArray[np.uint8] | None:
        """(D,H,W) labels of a frame, None where there are none."""
        return self.labels[self.labeled.index(index)] if index in self.labeled else None


def write_subject(folder: Path, cine: HeartCine) -> None:
    """Write one subject into ``folder/NAME``; subject.json comes last and makes it valid."""
    target = folder / cine.name
    target.mkdir(parents=True, exist_ok=True)
    _save(target / FRAMES, cine.frames.astype(np.float16))
    _save(target / "labels.npy", cine.labels)
    if cine.fields is not None:
        _save(target / "fields.npy", cine.fields.astype(np.float16))
    record = {
        "times_ms": [round(time, 3) for time in cine.times_ms],
        "ed": cine.ed,
        "es": cine.es,
        "labeled": list(cine.labeled),
        "spacing_mm": list(cine.spacing_mm),
        "valid": [list(ends) for ends in cine.valid],
    }
    write_json(target / "subject.json", record)


def read_subject(folder: Path, name: str) -> HeartCine:
    """Raises FileError where a file is missing, unreadable or of another shape."""
    source = folder / name
    try:
        record = json.loads((source / "subject.json").read_text(encoding="utf-8"))
        frames = np.load(source / FRAMES, allow_pickle=False)
        labels = np.load(source / "labels.npy", allow_pickle=False)
        known = (source / "fields.npy").exists()
        fields = np.load(source / "fields.npy", allow_pickle=False) if known else None
        cine = HeartCine(
            name=name,
            frames=frames.astype(np.float32),
            times_ms=tuple(record["times_ms"]),
            labels=labels,
            labeled=tuple(record["labeled"] if "labeled" in record else record["labelled"]),
            spacing_mm=tuple(record["spacing_mm"]),
            ed=int(record["ed"]),
            es=int(record["es"]),
            valid=tuple((int(low), int(high)) for low, high in record["valid"]),
            fields=None if fields is None else fields.astype(np.float32),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{source}: is no subject of a cine data set ({error}); prepare the data set again."
        ) from error
    if len(cine.times_ms) != len(frames) or labels.shape != (len(cine.labeled), *frames.shape[1:]):
        raise FileError(
            f"{source}: {len(frames)} frames {frames.shape[1:]} do not fit {len(cine.times_ms)} "
            f"times and labels {labels.shape}; prepare the data set again."
        )
    return cine


def read_split(folder: Path, split: str) -> list[str]:
    """Names of the subjects of one split. Raises FileError, or RequestError for another name."""
    check_split(split)
    names = read_splits(folder)[split]
    if not all(isinstance(name, str) for name in names):
        raise FileError(
            f"{folder}: holds no cine data set, its {SPLITS_FILE} lists no names; make one with "
            "'mambasynth beating-heart'."
        )
    return names


def _save(path: Path, array: NDArray[Any]) -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_whole(path, buffer.getvalue())
