"""What a user does with the packages in the own model folder: choose a default, remove one."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from MambaSynthLib.errors import ModelError, RequestError
from MambaSynthLib.io.atomic import write_json
from MambaSynthLib.model.package import ModelPackage
from MambaSynthLib.model.registry import (
    CHOICES,
    MOST_SHOWN,
    chosen_models,
    find_model,
    list_models,
    packages_in,
    user_models,
)


def choose_default(model_id: str) -> ModelPackage:
    """From now on a plain ``synthesize`` or ``cine`` takes this model for its direction.

    Raises
    ------
    ModelError: no installed model has this id.
    RequestError: a folder is named that no search would find.
    FileError: the choice cannot be written.
    """
    package = find_model(model_id)
    if package.card.id != model_id:
        raise RequestError(
            f"{model_id}: is a folder; give the id of an installed model ('mambasynth models "
            "list'), or install the folder with 'mambasynth models import' first."
        )
    _write(chosen_models() | {package.card.direction: model_id})
    return package


def remove_model(name: str) -> Path:
    """Delete the own package of this id, or in the own folder of this name; returns its folder.

    It vanishes in one step: a killed program leaves the package, or nothing that counts as one. A
    choice of it as default is forgotten.

    Raises
    ------
    ModelError: no such package, or it is none of the user's own.
    OSError: it cannot be deleted.
    """
    folder = _own_folder(name)
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")))
    installed = {package.card.id for package in list_models()}
    choices = chosen_models()
    kept = {direction: chosen for direction, chosen in choices.items() if chosen in installed}
    if kept != choices:
        _write(kept)
    return folder


def _own_folder(name: str) -> Path:
    for found in packages_in(user_models()):
        if name in (found.folder.name, found.package.card.id if found.package else None):
            return found.folder
    others = {package.card.id: package.folder for package in list_models()}
    if name in others:
        raise ModelError(
            f"{name}: lies in {others[name].parent}, and only models in {user_models()} are "
            "removed; another becomes the default with 'mambasynth models default ID'."
        )
    raise ModelError(
        f"{name[:MOST_SHOWN]}: is no model in {user_models()}; see 'mambasynth models list'."
    )


def _write(choices: dict[str, str]) -> None:
    path = user_models() / CHOICES
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, choices)
