"""The two files that make a folder a data set, whatever it holds.

dataset.json    what it is and how it was made
splits.json     {"train": [...], "validation": [...], "test": [...]}: people, never slices
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.io.atomic import write_json

DATASET, SPLITS_FILE = "dataset.json", "splits.json"
SPLITS = ("train", "validation", "test")


def write_dataset_files(
    folder: Path, about: Mapping[str, Any], splits: Mapping[str, Sequence[Any]]
) -> None:
    """``splits.json`` and, last, ``dataset.json``."""
    write_json(folder / SPLITS_FILE, {name: list(splits.get(name, ())) for name in SPLITS})
    write_json(folder / DATASET, dict(about))


def read_splits(folder: Path) -> dict[str, list[Any]]:
    """Split -> what it lists. Raises FileError: there is no such file, or a split is missing."""
    found = read_json(folder / SPLITS_FILE)
    for name in SPLITS:
        if not isinstance(found.get(name), list):
            raise FileError(f"{folder}: {SPLITS_FILE} lacks {name!r}; make the data set again.")
    return {name: found[name] for name in SPLITS}


def check_split(name: str) -> None:
    """Raises RequestError for what is no split."""
    if name not in SPLITS:
        raise RequestError(f"{name}: is no split; choose one of {', '.join(SPLITS)}.")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a data set. Raises FileError where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(
            f"{path}: is missing or no JSON, so the folder is no data set to train on; make one "
            "with 'mambasynth dataset'."
        ) from error
    if not isinstance(found, dict):
        raise FileError(f"{path}: holds no JSON object; make the data set again.")
    return found
