"""``run.json``: what a run was made of and how long it took, for the model card."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from MambaSynthLib.errors import FileError, MambaSynthError
from training.data.heart_cine import HeartCine
from training.mstg.recipe import Recipe, recipe_of

RUN = "run.json"


def new_record(
    recipe: Recipe, recipe_file: Path, cines: Sequence[HeartCine], device: str
) -> dict[str, Any]:
    """The record of a run that starts now, on subjects of one grid."""
    cuda = torch.device(device).type == "cuda"
    threads = f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"
    return {
        "recipe_file": recipe_file.name,
        "machine": torch.cuda.get_device_name(device) if cuda else threads,
        "torch": torch.__version__,
        "minutes": 0.0,
        "subjects": [cine.name for cine in cines],
        "size": list(cines[0].frames.shape[1:]),  # D, H, W
        "spacing_mm": list(cines[0].spacing_mm),  # likewise
        "recipe": asdict(recipe),
    }


def read_record(run: Path) -> tuple[dict[str, Any], Recipe]:
    """The record in the folder of a run, and its recipe. Raises FileError if unreadable."""
    path = run / RUN
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**record, "minutes": float(record["minutes"])}, recipe_of(record["recipe"])
    except (OSError, ValueError, KeyError, TypeError, MambaSynthError) as error:
        raise FileError(f"{path}: cannot be read ({error}); finish the training first.") from error


def write_record(run: Path, record: dict[str, Any]) -> None:
    """Replace the record in one step, so that a kill cannot leave half of it."""
    temporary = run / f"{RUN}.part"
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, run / RUN)
