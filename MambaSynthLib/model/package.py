"""A model package on disk: a folder with ``model.json``, ``weights.safetensors`` and a README card.

To add a model to those that are shipped, put its folder into ``models/``; no Python changes.
``mambasynth export`` writes one from a training run, ``mambasynth models import`` from a
checkpoint, and ``mambasynth models verify`` checks it.

Nothing in a package is executed, and no byte of the weights is used before its sha256 was compared
with the one in ``model.json``.
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
from MambaSynthLib.model.card import WEIGHTS, ModelCard
from MambaSynthLib.model.card_file import parse_card

CARD = "model.json"
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

    def read_weights(self) -> Weights:
        """Name -> array, from bytes whose sha256 was just checked.

        Raises
        ------
        ModelError: the file is missing, differs from the card, is no safetensors file, or holds
            NaN, infinity or an unexpected type.
        """
        path = self.folder / WEIGHTS
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(
                f"{path}: cannot be read ({error.strerror}); install the model package again."
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.weights_sha256:
            raise ModelError(
                f"{path}: its sha256 is {found[:12]}..., but {CARD} says "
                f"{self.weights_sha256[:12]}...; the weights are damaged or were exchanged, "
                "install the model package again."
            )
        return _parse_weights(data, path)

    def describe(self) -> str:
        """The README card, as text."""
        readme = self.folder / README
        return readme.read_text(encoding="utf-8") if readme.is_file() else ""


def _parse_weights(data: bytes, path: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        weights: Weights = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path}: is no valid safetensors file ({error}); install the model package again."
        ) from error
    for name, array in weights.items():
        if array.dtype.name not in DTYPES:
            raise ModelError(
                f"{path}: {name} holds {array.dtype} values; expected one of {', '.join(DTYPES)}."
            )
        if not np.isfinite(array).all():
            raise ModelError(f"{path}: {name} holds NaN or infinity; train or install it again.")
    return weights


def read_package(folder: Path) -> ModelPackage:
    """The package in ``folder``. Raises ModelError when its card is missing or wrong."""
    path = folder / CARD
    try:
        if path.stat().st_size > LARGEST_CARD:
            raise ModelError(f"{path}: is larger than {LARGEST_CARD} bytes; this is no model card.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"{folder}: holds no model package ({CARD}: {error.strerror}); name a folder with "
            f"{CARD} and {WEIGHTS}."
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{path}: is no UTF-8 text; take the file from its author again."
        ) from error
    return ModelPackage(folder, parse_card(text, schema(), str(path)))


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
    text = json.dumps({**card, "files": {WEIGHTS: entry}}, indent=2, ensure_ascii=False) + "\n"
    parse_card(text, schema(), str(folder / CARD))
    try:
        with telling(folder), new_folder(folder) as staging:
            (staging / WEIGHTS).write_bytes(data)
            (staging / CARD).write_text(text, encoding="utf-8")
            (staging / README).write_text(readme, encoding="utf-8")
    except FileError as error:
        raise ModelError(str(error)) from error
    return read_package(folder)


def check_free(folder: Path) -> None:
    """Raises ModelError when something is in the place of a new package."""
    if os.path.lexists(folder):
        raise ModelError(f"{folder}: exists already; remove it or choose another folder.")


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
