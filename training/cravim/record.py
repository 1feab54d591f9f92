"""``run.json``: what a run was made of and how long it took, for the model card."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from MambaSynthLib.errors import FileError
from training.cravim.recipe import Recipe

RUN = "run.json"


def new_record(recipe: Recipe, recipe_file: Path, device: torch.device) -> dict[str, Any]:
    """The record of a run that starts now."""
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    else:
        machine = f"{platform.machine()} {device}, {torch.get_num_threads()} thread(s)"
    return {
        "recipe_file": recipe_file.name,
        "machine": machine,
        "torch": torch.__version__,
        "minutes": 0.0,
        "recipe": asdict(recipe),
    }


def read_record(run: Path) -> dict[str, Any]:
    """The record in the folder of a run. Raises FileError when there is no readable one."""
    path = run / RUN
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**record, "minutes": float(record["minutes"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path}: cannot be read ({error}); finish the training first.") from error


def write_record(run: Path, record: dict[str, Any]) -> None:
    """Replace the record in one step, so that a kill cannot leave half of it."""
    temporary = run / f"{RUN}.part"
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, run / RUN)
