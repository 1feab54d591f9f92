"""A model package on disk: a folder with ``model.json``, ``weights.safetensors`` and a README card.

To add a model to those that are shipped, put its folder into ``models/``; no Python changes.
``mambasynth export`` writes one from a training run, ``mambasynth models import`` from a
checkpoint, and ``mambasynth models verify`` checks it.

Nothing in a package is executed, and no byte of the weights is used before its size and its sha256
were compared with those in ``model.json``. The hash of that file is the package's; it is compared
with ``package.sha256`` where there is one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, ModelError
from MambaSynthLib.io.atomic import new_folder, telling
from MambaSynthLib.io.payload import opened, printable, size_of
from MambaSynthLib.model.card import WEIGHTS, ModelCard
from MambaSynthLib.model.card_file import parse_card

CARD = "model.json"
SEAL = "package.sha256"
README = "README.md"
LARGEST_CARD = 4 * 1024 * 1024  # bytes; a card is text for people
DTYPES = ("float16", "float32", "int64")

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ModelPackage:
    """A package whose card was read and checked; its weights are read on demand."""

    folder: Path
    card: ModelCard

    @property
    def weights_sha256(self) -> str:
        return self.card.weights_sha256

    @property
    def sha256(self) -> str:
        """Hash of the card, which holds that of the weights; see ``card_file``."""
        return self.card.package_sha256

    def read_weights(self) -> Weights:
        """Name -> array, from bytes whose sha256 was just checked.

        Raises
        ------
        ModelError: the file is missing, differs from the card, is no safetensors file, or holds
            NaN, infinity or an unexpected type.
        """
        name, promised = place_of(self.folder, WEIGHTS), self.card.sizes[WEIGHTS]
        try:
            with opened(self.folder / WEIGHTS) as stream:
                size = size_of(stream)
                data = stream.read(promised) if size == promised else b""
        except FileError as error:
            raise ModelError(
                f"{name}: cannot be read ({_reason(error)}); install the model package again."
            ) from error
        if size != promised:
            raise ModelError(
                f"{name}: holds {size} bytes, but {CARD} says {promised}; the weights are damaged "
                "or were exchanged, install the model package again."
            )
        found = hashlib.sha256(data).hexdigest()
        if found != self.weights_sha256:
            raise ModelError(
                f"{name}: its sha256 is {found[:12]}..., but {CARD} says "
                f"{self.weights_sha256[:12]}...; the weights are damaged or were exchanged, "
                "install the model package again."
            )
        return _parse_weights(data, name)

    def describe(self) -> str:
        """The README card, as text. Raises ModelError where it cannot be read."""
        return _text_of(self.folder, README) if os.path.lexists(self.folder / README) else ""


def _parse_weights(data: bytes, place: str) -> Weights:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        weights: Weights = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(
            f"{place}: is no valid safetensors file ({error}); install the model package again."
        ) from error
    for name, array in weights.items():
        if array.dtype.name not in DTYPES:
            raise ModelError(
                f"{place}: {name} holds {array.dtype} values, but one of {', '.join(DTYPES)} is "
                "needed; take the package from its author again."
            )
        if not np.isfinite(array).all():
            raise ModelError(f"{place}: {name} holds NaN or infinity; train or install it again.")
    return weights


def read_package(folder: Path) -> ModelPackage:
    """The package in ``folder``. Raises ModelError when its card is missing or wrong."""
    card = parse_card(_text_of(folder, CARD), schema(), place_of(folder, CARD))
    if os.path.lexists(folder / SEAL):
        kept = _text_of(folder, SEAL).strip()
        if kept != card.package_sha256:
            raise ModelError(
                f"{place_of(folder, CARD)}: its sha256 is {card.package_sha256[:12]}..., but "
                f"{SEAL} says {kept[:12]!r}; it was changed or damaged since it was written, "
                f"install the model package again, or delete {SEAL} if you changed it."
            )
    return ModelPackage(folder, card)


def _text_of(folder: Path, file: str) -> str:
    """A text of a package, from a regular file of bounded size. Raises ModelError."""
    name = place_of(folder, file)
    try:
        with opened(folder / file) as stream:
            data = stream.read(LARGEST_CARD + 1)
    except FileError as error:
        raise ModelError(
            f"{place_of(folder)}: holds no model package ({file}: {_reason(error)}); name a folder "
            f"with {CARD} and {WEIGHTS}."
        ) from error
    if len(data) > LARGEST_CARD:
        raise ModelError(f"{name}: is larger than {LARGEST_CARD} bytes; this is no model card.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{name}: is no UTF-8 text; take the file from its author again."
        ) from error


def place_of(folder: Path, *file: str) -> str:
    """A package, or a file of it, for messages; the folders above may name a person."""
    return printable("/".join((os.path.basename(os.path.abspath(folder)), *file)))


def _reason(error: FileError) -> str:
    """Of the sentence of ``opened`` about a file, what is wrong with it."""
    return str(error).partition(": ")[2].partition(";")[0]


def write_package(
    folder: Path, card: Mapping[str, Any], weights: Mapping[str, NDArray[Any]], readme: str
) -> ModelPackage:
    """A new package in ``folder``, complete or not at all.

    ``card`` is the content of ``model.json`` without ``files``; hash and size are filled in here.

    Raises
    ------
    ModelError: the folder exists, cannot be written, or the card does not fit the schema.
    """
    from safetensors.numpy import save

    check_free(folder)
    data = save({name: np.array(array, order="C") for name, array in weights.items()})
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    text, seal = sealed({**card, "files": {WEIGHTS: entry}}, folder)
    try:
        with telling(folder), new_folder(folder) as staging:
            (staging / WEIGHTS).write_bytes(data)
            (staging / CARD).write_text(text, encoding="utf-8")
            (staging / SEAL).write_text(seal, encoding="utf-8")
            (staging / README).write_text(readme, encoding="utf-8")
    except FileError as error:
        raise ModelError(str(error)) from error
    return read_package(folder)


def sealed(card: Mapping[str, Any], folder: Path) -> tuple[str, str]:
    """The texts of ``model.json`` and ``package.sha256``. Raises ModelError as ``parse_card``."""
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    return text, parse_card(text, schema(), place_of(folder, CARD)).package_sha256 + "\n"


def card_json(package: ModelPackage) -> dict[str, Any]:
    """What ``model.json`` says, as it stands there. Raises ModelError."""
    card: dict[str, Any] = json.loads(_text_of(package.folder, CARD))
    return card


def check_free(folder: Path) -> None:
    """Raises ModelError when something is in the place of a new package."""
    if os.path.lexists(folder):
        raise ModelError(f"{place_of(folder)}: exists already; remove it or choose another folder.")


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of ``model.json``, shipped with the models."""
    loaded: dict[str, Any] = json.loads(
        (shipped_models() / "model.schema.json").read_text(encoding="utf-8")
    )
    return loaded


def shipped_models() -> Path:
    """The folder of the packages that come with MambaSynth: inside an installed library, beside it
    in a checkout and in Slicer.
    """
    library = Path(__file__).resolve().parents[1]
    inside, beside = library / "models", library.parent / "models"
    return inside if inside.is_dir() else beside
