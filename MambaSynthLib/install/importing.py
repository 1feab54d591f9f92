"""Making a model package from what others trained: CRAViM's published checkpoints, or a folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from MambaSynthLib.backends import choose_backend
from MambaSynthLib.errors import ModelError, RequestError
from MambaSynthLib.install.unpacking import unpacked
from MambaSynthLib.methods.diffusion import Schedule
from MambaSynthLib.model.package import (
    ModelPackage,
    card_json,
    check_free,
    read_package,
    write_package,
)
from MambaSynthLib.model.registry import check_id, list_models, user_models

LONGEST_ID = 64  # characters, as in the schema
INTENDED_USE = "Research only. Not for diagnosis."
IMPORT_STEPS = 3  # read, check, write
PUBLISHED: dict[str, Any] = {  # what the card says of every network of the published training
    "format": 1,
    "version": "1.0.0",
    "method": "cravim",
    "intensity": {"rule": "percentile", "upper_percentile": 99.5, "target_range": [0.0, 1000.0]},
    "sampling": {
        "timesteps": Schedule.steps, "beta_min": Schedule.beta_min, "beta_max": Schedule.beta_max,
        "default_steps": Schedule.steps, "default_samples": 1,
    },
    "intended_use": INTENDED_USE,
    "scores": [],
}  # fmt: skip

Progress = Callable[[int, int], None]


def import_package(
    path: Path,
    destination: Path | None = None,
    *,
    scratch: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> ModelPackage:
    """As ``import_folder``, from a folder or a zip file, which is unpacked within ``scratch``.

    Raises ModelError also for a zip file that is damaged or hostile.
    """
    if path.is_dir():
        return import_folder(path, destination, progress)
    with unpacked(path, scratch) as folder:
        return import_folder(folder, destination, progress)


def import_folder(
    folder: Path,
    destination: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> ModelPackage:
    """Copy a package into the user's model folder, after building its network from its weights.

    It is installed in one step at the very end: whatever ends this before, also an exception out
    of ``progress(done, total)``, leaves nothing.

    Raises
    ------
    ModelError: the package is damaged, its weights do not fit the network that it describes, or
        one of that name is installed already.
    RequestError: no backend is installed that can check it.
    """
    progress(0, IMPORT_STEPS)
    package = read_package(folder)
    check_id(package)
    target = destination or _own_place(package.card.id)
    check_free(target)  # before the work, and again when it is written
    weights = package.read_weights()
    progress(1, IMPORT_STEPS)
    choose_backend(device="cpu").load_network(package, "cpu")
    progress(2, IMPORT_STEPS)
    card = card_json(package)
    del card["files"]
    return write_package(target, card, weights, package.describe())


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
            f"{path.name}: a checkpoint does not say what it synthesizes; add --to T2w, for "
            "example."
        )
    weights = read_checkpoint(path)
    config = config_of_weights({name: array.shape for name, array in weights.items()})
    direction = f"{source_contrast}-{target_contrast}".lower()
    model_id = model_id or _id_of(f"{path.stem}-{direction}")
    title = title or f"CRAViM {source_contrast} -> {target_contrast}, imported from {path.name}"
    card = PUBLISHED | {
        "id": model_id,
        "title": title,
        "source_contrasts": [source_contrast],
        "target_contrasts": [target_contrast],
        "network": config.as_card(),
        "grid": {
            "axis_codes": "LPS", "in_plane_spacing_mm": in_plane_spacing_mm, "size": list(size)
        },
        "license": license,
        "trained_on": trained_on,
    }  # fmt: skip
    readme = f"# {title}\n\nTrained on: {trained_on}. License: {license}. {INTENDED_USE}\n"
    return _loadable(write_package(folder or _own_place(model_id), card, weights, readme))


def _own_place(model_id: str) -> Path:
    """Where this model is installed for the user. Raises ModelError where it would be hidden."""
    own = user_models() / model_id
    for package in list_models():
        if package.card.id == model_id and package.folder != own:
            raise ModelError(
                f"{model_id}: a model of this id is installed already and would hide this one; "
                "give this one another id."
            )
    return own


def _id_of(name: str) -> str:
    """``name`` with only the characters that a model id may have."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).lstrip("._-")[-LONGEST_ID:].lstrip("._-")


def _loadable(package: ModelPackage) -> ModelPackage:
    """The package that was just written; it is taken back if its network cannot be loaded."""
    from MambaSynthLib.backends.torch_backend import load_network

    try:
        check_id(package)
        load_network(package, "cpu")
    except BaseException:
        shutil.rmtree(package.folder)
        raise
    return package
