"""Finds model packages: in ``MAMBASYNTH_MODELS``, the shipped ones, and in the user's folder.

No network is ever asked. Which package a plain ``synthesize`` or ``cine`` takes, in this order:

1. the one that ``mambasynth models default ID`` chose for its direction;
2. the first in the folders that ``MAMBASYNTH_MODELS`` names, which somebody set on purpose;
3. the shipped one; of several, the first by name, or one with noise where draws are asked for;
4. the first in the user's folder. So importing a model never changes what a plain command does,
   only adds directions that nothing served before.

The ids of shipped models are theirs: another package of such an id is told as unusable.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from MambaSynthLib.errors import FileError, ModelError, RequestError
from MambaSynthLib.io.payload import opened
from MambaSynthLib.model.card import ModelCard
from MambaSynthLib.model.package import (
    CARD,
    LARGEST_CARD,
    ModelPackage,
    read_package,
    shipped_models,
)

Suits = Callable[[ModelCard], bool]
VARIABLE = "MAMBASYNTH_MODELS"
CHOICES = "defaults.json"  # in the user's folder: direction -> id of the chosen package
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


def _has_home() -> bool:
    try:
        user_models()
    except ModelError:
        return False
    return True


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
    own = [user_models()] if _has_home() else []  # no home: nothing was ever installed there
    return [*extra, shipped_models(), *own]


def packages_in(root: Path) -> Iterator[Found]:
    """Every package in one folder, usable or not."""
    for card in sorted(root.glob(f"*/{CARD}")):
        if card.parent.name.startswith("."):
            continue  # a package that is just being written
        try:
            yield Found(card.parent, read_package(card.parent))
        except ModelError as error:
            yield Found(card.parent, None, str(error))


def find_all() -> list[Found]:
    """Every package in the searched folders, usable or not, each id once."""
    all_found: list[Found] = []
    seen: set[str] = set()
    all_in = {root: list(packages_in(root)) for root in model_folders()}
    shipped = _ids(all_in[shipped_models()])
    for found_in in all_in.values():
        for found in found_in:
            if found.package is None:
                all_found.append(found)
            elif _is_taken(found.package, shipped):
                all_found.append(Found(found.folder, None, _taken(found.package.card.id)))
            elif found.package.card.id not in seen:
                seen.add(found.package.card.id)
                all_found.append(found)
    return all_found


def _ids(shipped: Iterable[Found]) -> dict[str, str]:
    """The ids that come with MambaSynth, also of a damaged package -> sha256 of the package."""
    return {found.folder.name: found.package.sha256 if found.package else "" for found in shipped}


def check_id(package: ModelPackage) -> None:
    """Raises ModelError for a package that has the id of a shipped one and is another."""
    if _is_taken(package, _ids(packages_in(shipped_models()))):
        raise ModelError(_taken(package.card.id))


def _is_taken(package: ModelPackage, shipped: dict[str, str]) -> bool:
    return shipped.get(package.card.id, package.sha256) != package.sha256


def _taken(model_id: str) -> str:
    return (
        f"{model_id}: is the id of a model that comes with MambaSynth, and this is another one; "
        "give it another id in its model.json."
    )


def list_models(task: str | None = None) -> list[ModelPackage]:
    """The usable packages, each id once; only those for ``task`` if named."""
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
        if str(name) not in _ids(packages_in(shipped_models())):
            return read_package(folder)
    packages = list_models()
    for package in packages:
        if package.card.id == str(name):
            return package
    if os.path.isdir(folder):
        return read_package(folder)
    known = [package.card.id for package in packages]
    near = get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"name one of {', '.join(known) or '(none)'}."
    shown = os.path.basename(os.path.normpath(name))[:MOST_SHOWN]  # folders may name a person
    raise ModelError(f"{shown}: is no known model and no model folder; {hint}")


def chosen_models() -> dict[str, str]:
    """Direction -> id, as ``mambasynth models default`` kept it. Raises ModelError if damaged."""
    path = user_models() / CHOICES
    if not path.exists():
        return {}
    try:
        with opened(path) as stream:
            choices = json.loads(stream.read(LARGEST_CARD))
    except (FileError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(choices, dict) or not all(isinstance(v, str) for v in choices.values()):
        raise _damaged(path)
    return choices


def _damaged(path: Path) -> ModelError:
    return ModelError(
        f"{path.name} in the folder of your models: does not hold a choice of models; delete it, "
        "then choose again with 'mambasynth models default ID'."
    )


def default_of(packages: list[ModelPackage], suits: Suits | None = None) -> ModelPackage:
    """The one that a plain command takes of packages that serve it, in the order of ``find_all``:
    the user's choice; else the first that suits, where ``suits`` is asked; else the first.

    Raises
    ------
    ModelError: the chosen one is not installed any more; another is not taken in silence.
    """
    choices = chosen_models() if _has_home() else {}
    for package in packages:
        if choices.get(package.card.direction) == package.card.id:
            return package
    first = packages[0].card
    if first.direction in choices:
        raise ModelError(
            f"{choices[first.direction]}: is the default model for {first.direction} and is not "
            f"installed; choose another, for example with 'mambasynth models default {first.id}'."
        )
    suitable = (package for package in packages if suits is None or suits(package.card))
    return next(suitable, packages[0])


def model_for(source: str | None, target: str, suits: Suits | None = None) -> ModelPackage:
    """The default package that synthesizes ``target``, from ``source`` if one is named.

    ``suits`` says which of several cards fits what is asked.

    Raises
    ------
    ModelError: none does; the directions that exist are named.
    """
    packages = list_models("contrast")
    fitting = [
        package
        for package in packages
        if target in package.card.target_contrasts
        and source in (None, *package.card.source_contrasts)
    ]
    if fitting:
        return default_of(fitting, suits if len(fitting) > 1 else None)
    directions = ", ".join(sorted({package.card.direction for package in packages})) or "none"
    raise ModelError(
        f"{target}: no installed model synthesizes it{f' from {source}' if source else ''}; "
        f"installed: {directions}. Import another with 'mambasynth models import'."
    )


def choose_model(
    name: str | Path | None, source: str | None, target: str, suits: Suits | None = None
) -> ModelPackage:
    """The package called ``name``, or the default where no name is given; see ``model_for``.

    Raises
    ------
    ModelError: see ``find_model`` and ``model_for``.
    RequestError: the named model has another direction.
    """
    if not name:
        return model_for(source, target, suits)
    package = find_model(name)
    card = package.card
    if target not in card.target_contrasts or source not in (None, *card.source_contrasts):
        raise RequestError(
            f"the model {card.id} synthesizes {card.direction}, not "
            f"{source or card.source_contrasts[0]} -> {target}; choose another with "
            "'mambasynth models list'."
        )
    return package


def cine_model(name: str | None = None) -> ModelPackage:
    """The package called ``name``, or the default one that synthesizes cine frames.

    Raises ModelError when there is none.
    """
    return _model_of("cine", "synthesizes cine frames", name)


def mask_model(name: str | None = None) -> ModelPackage:
    """The package called ``name``, or the default one that finds brains and heads.

    Raises ModelError when there is none.
    """
    return _model_of("mask", "finds brains", name)


def _model_of(task: str, what: str, name: str | None) -> ModelPackage:
    if name:
        return find_model(name)
    packages = list_models(task)
    if not packages:
        raise ModelError(
            f"no installed model {what}; import one with 'mambasynth models import FOLDER', or "
            "name one with --model."
        )
    return default_of(packages)
