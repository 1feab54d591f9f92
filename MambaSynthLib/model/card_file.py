"""``model.json`` becomes a ``ModelCard``: strict JSON, the schema, and the method's own checks.

The schema ``models/model.schema.json`` says what all cards and those of each task share; what
``network`` and ``sampling`` hold is the method's, see ``config.py`` in its folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from typing import Any

from MambaSynthLib.errors import ModelError
from MambaSynthLib.image.planes import PLANES
from MambaSynthLib.methods import METHODS
from MambaSynthLib.model.card import (
    CineCard,
    CineGridSpec,
    ContrastCard,
    GridSpec,
    IntensitySpec,
    MaskCard,
    MaskGridSpec,
    ModelCard,
)
from MambaSynthLib.model.settings import settings

MOST_SHOWN = 200  # characters of an error, which may quote the whole file
FOR_ALL = ("id", "version", "title", "method", "license", "intended_use", "trained_on", "scores")
PARTS = ("format", "source_contrasts", "target_contrasts", "network", "grid", "intensity",
         "sampling", "files")  # fmt: skip


def parse_card(text: str, schema: dict[str, Any], where: str) -> ModelCard:
    """The card in ``text``, checked against ``schema`` and by its method.

    Raises
    ------
    ModelError: no JSON, a repeated key, NaN or infinity, an unknown method, anything that the
        schema or the method forbids, or values that exclude each other; the sentence names
        ``where`` and the place inside the file.
    """
    data = _strict_json(text, where)
    _check_schema(data, schema, where)
    if data["method"] not in METHODS:
        raise ModelError(
            f"{where}: needs the method {reprlib.repr(data['method'])}, which this version does "
            f"not have ({', '.join(METHODS)}); update MambaSynth."
        )
    method = METHODS[data["method"]]
    shared = schema["$defs"]
    _check_schema(data, {"$defs": shared, **shared["tasks"][method.task]}, where)
    try:
        return _card(_with_whole_numbers(data), method.task, method.part("config"))
    except ValueError as error:
        raise _unusable(where, str(error)) from error


def _unusable(where: str, problem: str) -> ModelError:
    return ModelError(
        f"{where}: does not describe a model package this version can use, at "
        f"{problem[:MOST_SHOWN]}; update MambaSynth or correct the file."
    )


def _strict_json(text: str, where: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ModelError(f"{where}: the key {key[:100]!r} appears twice; keep one of them.")
            found[key] = value
        return found

    def finite(value: str) -> float:
        number = float(value)  # also called for the words NaN and Infinity; 1e400 becomes inf
        if not math.isfinite(number):
            raise ModelError(f"{where}: holds {value}, which is no finite number; correct it.")
        return number

    try:
        return json.loads(text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number of 5000 digits
        raise ModelError(
            f"{where}: is not valid JSON ({error}); take the file from the model's author again."
        ) from error


def _check_schema(data: Any, schema: dict[str, Any], where: str) -> None:
    import jsonschema

    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema).iter_errors(data)
    )
    if error is not None:
        place = ".".join(str(part) for part in error.absolute_path) or "the top level"
        raise _unusable(where, f"{place}: {error.message}")


def _with_whole_numbers(value: Any) -> Any:
    """``value`` with 4.0 as 4: in JSON they are one number."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _hash(data: dict[str, Any]) -> str:
    """SHA-256 of the card as canonical JSON: sorted keys, no blanks, ASCII, 4.0 as 4."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _card(data: dict[str, Any], task: str, config: Any) -> ModelCard:
    """Raises ValueError with the place of what the method, or another part, forbids."""
    for name in config.REQUIRED:
        if name not in data["network"]:
            raise ValueError(f"network: {name!r} is a required property")
    common = {
        **{name: data[name] for name in FOR_ALL},
        "source_contrasts": tuple(data["source_contrasts"]),
        "target_contrasts": tuple(data["target_contrasts"]),
        "network": data["network"],
        "config": _part(config.NETWORK, data, "network"),
        "sampling": _part(config.SAMPLING, data, "sampling"),
        "sha256": {name: entry["sha256"] for name, entry in data["files"].items()},
        "sizes": {name: entry["bytes"] for name, entry in data["files"].items()},
        "package_sha256": _hash(data),
        "extra": {key: value for key, value in data.items() if key not in FOR_ALL + PARTS},
    }
    if task == "cine":
        return CineCard(**common, grid=_part(CineGridSpec, data, "grid"))
    if task == "mask":
        return MaskCard(**common, grid=_part(MaskGridSpec, data, "grid"))
    card = ContrastCard(
        **common,
        grid=_part(GridSpec, data, "grid"),
        intensity=_part(IntensitySpec, data, "intensity"),
    )
    _check_contrast(card)
    return card


def _part(kind: type[Any], data: dict[str, Any], name: str) -> Any:
    """One entry of the card as ``kind``. Raises ValueError with the entry's name."""
    try:
        return settings(kind, data[name], name)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(name) else f"{name}: {text}") from error


def _check_contrast(card: ContrastCard) -> None:
    """What one part alone cannot say: relations between two. Raises ValueError."""
    low, high = card.intensity.target_range
    if not low < high:
        raise ValueError(f"intensity.target_range: is {low:g} to {high:g}, which does not grow")
    named = len(card.source_contrasts), len(card.target_contrasts)
    if named != card.config.contrasts:
        raise ValueError(
            f"source_contrasts and target_contrasts: are {card.direction}, {named[0]} and "
            f"{named[1]}, but the network has {' and '.join(map(str, card.config.contrasts))}"
        )
    if not card.noisy and (card.sampling.default_steps, card.sampling.default_samples) != (1, 1):
        raise ValueError("sampling: asks a network without noise for more than one step or draw")
    if card.grid.planes == "all" and (card.noisy or card.grid.axis_codes != PLANES["axial"]):
        raise ValueError(
            f"grid.planes: is all, which needs a network without noise and {PLANES['axial']} as "
            "axis_codes"
        )
    if card.grid.multiple % card.config.multiple:
        raise ValueError(
            f"grid.multiple: is {card.grid.multiple}, but the network wants multiples of "
            f"{card.config.multiple}"
        )
