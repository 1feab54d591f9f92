"""Installing a model package: from a folder, or from a zip file."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from MambaSynthLib.backends import choose_backend
from MambaSynthLib.errors import ModelError, WouldReplace
from MambaSynthLib.install.unpacking import unpacked
from MambaSynthLib.io.atomic import telling
from MambaSynthLib.model.package import (
    ModelPackage,
    card_json,
    check_free,
    read_package,
    write_package,
)
from MambaSynthLib.model.registry import check_id, list_models, user_models

IMPORT_STEPS = 3  # read, check, write

Progress = Callable[[int, int], None]


def import_package(
    path: Path,
    destination: Path | None = None,
    *,
    scratch: Path | None = None,
    replace: bool = False,
    progress: Progress = lambda done, total: None,
) -> ModelPackage:
    """As ``import_folder``, from a folder or a zip file, which is unpacked within ``scratch``.

    Raises ModelError also for a zip file that is damaged or hostile.
    """
    if os.path.isdir(path):  # unlike path.is_dir() it raises at no name
        return import_folder(path, destination, replace=replace, progress=progress)
    with unpacked(path, scratch) as folder:
        return import_folder(folder, destination, replace=replace, progress=progress)


def import_folder(
    folder: Path,
    destination: Path | None = None,
    *,
    replace: bool = False,
    progress: Progress = lambda done, total: None,
) -> ModelPackage:
    """Copy a package into the user's model folder, after building its network from its weights.

    It is installed in one step at the very end: whatever ends this before, also an exception out
    of ``progress(done, total)``, leaves nothing, and an installed one that it was to ``replace``
    as it was.

    Raises
    ------
    WouldReplace: another version of it is installed, and is not to be replaced.
    ModelError: the package is damaged, its weights do not fit the network that it describes, or it
        is installed already.
    RequestError: no backend is installed that can check it.
    """
    progress(0, IMPORT_STEPS)
    package = read_package(folder)
    check_id(package)
    target = destination or own_place(package.card.id)
    former = None if destination else _former(target, package)
    if former is None:
        check_free(target)  # before the work, and again when it is written
    elif not replace:
        raise WouldReplace(
            f"{package.card.id}: exists already, as version {former.card.version} (sha256 "
            f"{former.sha256[:12]}...); this is version {package.card.version} (sha256 "
            f"{package.sha256[:12]}...)."
        )
    weights = package.read_weights()
    progress(1, IMPORT_STEPS)
    choose_backend(device="cpu").load_network(package, "cpu")
    progress(2, IMPORT_STEPS)
    card = card_json(package)
    del card["files"]
    if former is None:
        return write_package(target, card, weights, package.describe())
    beside = _hidden(target)
    write_package(beside, card, weights, package.describe())
    exchange_folders(beside, target)
    return read_package(target)


def _former(target: Path, package: ModelPackage) -> ModelPackage | None:
    """Another version of the package, in the place of the new one. None: none that can be read."""
    try:
        former = read_package(target)
    except ModelError:
        return None
    return former if former.sha256 != package.sha256 else None


def _hidden(folder: Path) -> Path:
    """A name beside it that counts as no package."""
    return folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")


def exchange_folders(new: Path, target: Path) -> None:
    """``new`` gets the name ``target``, whose former folder is removed. Raises FileError."""
    old = _hidden(target)
    with telling(target):
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            shutil.rmtree(new)
            raise
        shutil.rmtree(old, ignore_errors=True)  # hidden already


def own_place(model_id: str) -> Path:
    """Where this model is installed for the user. Raises ModelError where it would be hidden."""
    own = user_models() / model_id
    for package in list_models():
        if package.card.id == model_id and package.folder != own:
            raise ModelError(
                f"{model_id}: a model of this id is installed already and would hide this one; "
                "give this one another id."
            )
    return own
