"""``run.json``: what a run was made of and how long it took, for the model card."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from MambaSynthLib import __version__
from MambaSynthLib.errors import FileError
from MambaSynthLib.io.atomic import write_json
from MambaSynthTraining.data.batches import TrainingData
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.recipe_file import resolve
from MambaSynthTraining.run_folder import RUN

SPENT = ("minutes", "cpu_minutes")  # by the clock; of the first process's processor time
REASON = "precision_reason"  # why a run that asked for bfloat16 is in float32
PACKAGES = ("lightning", "monai", "numpy", "scipy", "SimpleITK", "torch", "zarr")


def new_record(
    recipe: Recipe,
    recipe_file: Path,
    data: TrainingData,
    device: torch.device,
    machine: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of a run that starts now. ``machine`` adds processes and the like."""
    return {
        "recipe_file": recipe_file.name,
        "machine": machine_name(device),
        "torch": torch.__version__,
        "device": device.type,
        **dict.fromkeys(SPENT, 0.0),
        "finished": False,
        "kind": data.kind,
        **data.about(),
        **(machine or {}),
        "code": code_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "recipe": json.loads(json.dumps({**resolve(recipe), **data.settings()})),  # as read again
    }


def machine_name(device: torch.device) -> str:
    """The GPU, or the kind of processor and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {device.type}, {torch.get_num_threads()} thread(s)"


def code_version() -> dict[str, Any]:
    """Version of the package and, in a checkout, the commit and whether files differ from it."""
    folder = Path(__file__).parent
    found: dict[str, Any] = {"mambasynth": __version__}
    try:
        commit_id, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", str(folder)))
        )
    except (OSError, subprocess.CalledProcessError):
        return found  # installed from a wheel, or no git on this machine
    return {**found, "commit": commit_id, "changed": bool(changes)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read_record(run: Path) -> dict[str, Any]:
    """The record in the folder of a run. Raises FileError when there is no readable one."""
    path = run / RUN
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**record, **{name: float(record.get(name, 0.0)) for name in SPENT}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path}: cannot be read ({error}); finish the training first.") from error


def reached(iterations: int, best: float, ended: bool) -> dict[str, Any]:
    """What a checkpoint adds to the record; ``best`` is the smallest validation error."""
    found: dict[str, Any] = {"iterations": iterations, "finished": ended}
    return found if best == float("inf") else {**found, "best_validation_error": best}


def write_record(run: Path, record: dict[str, Any]) -> None:
    """Replace the record in one step, so that a kill cannot leave half of it."""
    write_json(run / RUN, record)
