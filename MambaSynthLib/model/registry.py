"""Finds model packages: in ``MAMBASYNTH_MODELS``, in the user's folder, and the shipped ones.

No network is ever asked.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from MambaSynthLib.errors import ModelError, RequestError
from MambaSynthLib.model.package import CARD, ModelPackage, read_package, shipped_models

VARIABLE = "MAMBASYNTH_MODELS"
MOST_SHOWN = 200  # characters of a name that is no model


@dataclass(frozen=True)
class Found:
    """A folder that looks like a package: the package, or why it cannot be used."""

    folder: Path
    package: ModelPackage | None
    problem: str = ""


def user_models() -> Path:
    """Where imported and downloaded packages go: the platform's folder for a user's data.

    Raises ModelError when this user has no home folder (some containers).
    """
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local")
        return root / "MambaSynth" / "models"
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "MambaSynth" / "models"
    root = Path(os.environ.get("XDG_DATA_HOME") or _home() / ".local" / "share")
    return root / "mambasynth" / "models"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise ModelError(
            "the user has no home folder to keep models in; set HOME, or name a folder with -o."
        ) from error


def model_folders() -> list[Path]:
    """The folders searched, the first one winning where two hold the same id."""
    extra = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    try:
        return [*extra, user_models(), shipped_models()]
    except ModelError:  # no home: nothing was ever installed there
        return [*extra, shipped_models()]


def find_all() -> list[Found]:
    """Every package in the searched folders, usable or not, each id once."""
    found: list[Found] = []
    seen: set[str] = set()
    for root in model_folders():
        for card in sorted(root.glob(f"*/{CARD}")):
            if card.parent.name.startswith("."):
                continue  # a package that is just being written
            try:
                package = read_package(card.parent)
            except ModelError as error:
                found.append(Found(card.parent, None, str(error)))
                continue
            if package.card.id not in seen:
                seen.add(package.card.id)
                found.append(Found(card.parent, package))
    return found


def list_models(task: str | None = None) -> list[ModelPackage]:
    """The usable packages, each id once; only those for ``task`` (contrast, cine) if named."""
    packages = [found.package for found in find_all() if found.package]
    return [package for package in packages if task in (None, package.card.task)]


def find_model(name: str | Path) -> ModelPackage:
    """The package with this id, or in this folder.

    Raises
    ------
    ModelError: no such id or folder (near matches are named), or the package is damaged.
    """
    folder = Path(name)
    if os.path.isfile(folder / CARD):  # as Path.is_file, but an impossible name is no error
        return read_package(folder)
    packages = list_models()
    for package in packages:
        if package.card.id == str(name):
            return package
    if os.path.isdir(folder):
        return read_package(folder)
    known = [package.card.id for package in packages]
    near = get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}."
    raise ModelError(f"{str(name)[:MOST_SHOWN]}: is no known model and no model folder; {hint}")


def model_for(source: str | None, target: str) -> ModelPackage:
    """The first package that synthesizes ``target``, from ``source`` if one is named.

    Raises
    ------
    ModelError: none does; the directions that exist are named.
    """
    packages = list_models("contrast")
    for package in packages:
        card = package.card
        if target in card.target_contrasts and source in (None, *card.source_contrasts):
            return package
    directions = ", ".join(sorted({package.card.direction for package in packages})) or "none"
    raise ModelError(
        f"{target}: no installed model synthesizes it{f' from {source}' if source else ''}; "
        f"installed: {directions}. Import another with 'mambasynth models import'."
    )


def choose_model(name: str | Path | None, source: str | None, target: str) -> ModelPackage:
    """The package called ``name``, or the first that fits where no name is given.

    Raises
    ------
    ModelError: see ``find_model`` and ``model_for``.
    RequestError: the named model has another direction.
    """
    if not name:
        return model_for(source, target)
    package = find_model(name)
    card = package.card
    if target not in card.target_contrasts or source not in (None, *card.source_contrasts):
        raise RequestError(
            f"the model {card.id} synthesizes {card.direction}, not "
            f"{source or card.source_contrasts[0]} -> {target}; choose another with "
            "'mambasynth models list'."
        )
    return package


def cine_model() -> ModelPackage:
    """The first package that synthesizes cine frames. Raises ModelError when there is none."""
    packages = list_models("cine")
    if not packages:
        raise ModelError(
            "no installed model synthesizes cine frames; import one with 'mambasynth models "
            "import FOLDER', or name one with --model."
        )
    return packages[0]
