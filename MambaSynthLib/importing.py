"""Making a model package from what others trained: CRAViM's published checkpoints, or a folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from MambaSynthLib.diffusion import Schedule
from MambaSynthLib.errors import RequestError
from MambaSynthLib.package import ModelPackage, read_package, write_package
from MambaSynthLib.registry import user_models

LONGEST_ID = 64  # characters, as in the schema
INTENDED_USE = "Research only. Not for diagnosis."


def import_folder(folder: Path, destination: Path | None = None) -> ModelPackage:
    """Copy a package into the user's model folder, after checking its card and weights.

    Raises
    ------
    ModelError: the package is damaged, its weights do not fit the network that it describes, or
        one of that name is installed already.
    """
    import json

    package = read_package(folder)
    weights = package.read_weights()
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    del card["files"]
    target = destination or user_models() / package.card.id
    return _loadable(write_package(target, card, weights, package.describe()))


def import_checkpoint(
    path: Path,
    *,
    source_contrast: str,
    target_contrast: str | None,
    folder: Path | None = None,
    model_id: str | None = None,
    title: str | None = None,
    license: str = "NOASSERTION",
    trained_on: str = "not stated by whoever imported it",
    in_plane_spacing_mm: float | None = None,
    size: tuple[int, int] = (256, 256),
) -> ModelPackage:
    """A package from a generator that CRAViM's published training saved (``netG_*.pth``).

    The sizes of the network are read off the weights, which must match it key by key. The
    published code trains on 256x256 axial slices in [-1,1] with four steps.

    Raises
    ------
    RequestError: no target contrast is given.
    ModelError: the file is no such checkpoint, or the package cannot be written.
    """
    from MambaSynthLib.backends.torch_backend import read_checkpoint
    from MambaSynthLib.methods.cravim.network import config_of_weights

    if not target_contrast:
        raise RequestError(
            f"{path}: a checkpoint does not say what it synthesizes; add --to T2w, for example."
        )
    weights = read_checkpoint(path)
    config = config_of_weights({name: array.shape for name, array in weights.items()})
    direction = f"{source_contrast}-{target_contrast}".lower()
    model_id = model_id or _id_of(f"{path.stem}-{direction}")
    title = title or f"CRAViM {source_contrast} -> {target_contrast}, imported from {path.name}"
    schedule = Schedule()
    card = {
        "format": 1,
        "id": model_id,
        "version": "1.0.0",
        "title": title,
        "method": "cravim",
        "source_contrasts": [source_contrast],
        "target_contrasts": [target_contrast],
        "network": config.as_card(),
        "grid": {
            "axis_codes": "LPS",
            "in_plane_spacing_mm": in_plane_spacing_mm,
            "size": list(size),
        },
        "intensity": {
            "rule": "percentile",
            "upper_percentile": 99.5,
            "target_range": [0.0, 1000.0],
        },
        "sampling": {
            "timesteps": schedule.steps,
            "beta_min": schedule.beta_min,
            "beta_max": schedule.beta_max,
            "default_steps": schedule.steps,
            "default_samples": 1,
        },
        "license": license,
        "intended_use": INTENDED_USE,
        "trained_on": trained_on,
        "scores": [],
    }
    readme = f"# {title}\n\nTrained on: {trained_on}. License: {license}. {INTENDED_USE}\n"
    return _loadable(write_package(folder or user_models() / model_id, card, weights, readme))


def _id_of(name: str) -> str:
    """``name`` with only the characters that a model id may have."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).lstrip("._-")[-LONGEST_ID:].lstrip("._-")


def _loadable(package: ModelPackage) -> ModelPackage:
    """The package that was just written; it is taken back if its network cannot be loaded."""
    from MambaSynthLib.backends.torch_backend import load_network

    try:
        load_network(package, "cpu")
    except BaseException:
        shutil.rmtree(package.folder)
        raise
    return package
