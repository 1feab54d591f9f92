"""A dataclass from a mapping of a recipe, with every key and type checked."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class NoOptions:
    """For methods without any: every entry is refused."""


def settings(kind: type[Settings], values: Mapping[str, Any], where: str = "recipe") -> Settings:
    """A dataclass from a mapping of a recipe: its types checked, its nested dataclasses built.

    Raises ValueError with the key's place for one that is unknown, missing or of another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is {values!r}, not a mapping")
    types_of = get_type_hints(kind)
    known = {each.name: each for each in fields(kind) if each.init}  # type: ignore[arg-type]
    refuse_unknown(values, known, where)
    for name, each in known.items():
        if name not in values and each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"{where} lacks {name}")
    prefix = "" if where == "recipe" else f"{where}."
    return kind(**{key: _fit(types_of[key], value, prefix + key) for key, value in values.items()})


def refuse_unknown(keys: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises ValueError at a key that is not known, with the nearest one that is."""
    known = list(known)
    for key in keys:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"meant {near[0]}?" if near else f"none of {', '.join(known) or '(none)'}"
            raise ValueError(f"{where} has the unknown key {key!r}, {hint}")


def refuse_entries(**parts: Mapping[str, Any]) -> None:
    """For the parts of a recipe that a method does not have. Raises ValueError at an entry."""
    for name, values in parts.items():
        settings(NoOptions, values, name)


def _fit(wanted: Any, value: Any, where: str) -> Any:
    """``value`` as the type that a field declares."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _fit(arguments[0], value, where)
    if is_dataclass(wanted):
        return settings(wanted, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        return _fit_tuple(arguments, value, where)
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max:
            raise ValueError(f"{where} is larger than any number that is computed with")
        return float(value)
    if wanted is str and isinstance(value, int):
        return str(value)  # precision: 32
    plain = origin or wanted
    yes_as_number = plain is int and isinstance(value, bool)
    if plain is not Any and (yes_as_number or not isinstance(value, plain)):
        raise ValueError(f"{where} is {value!r}, not of the type {plain.__name__}")
    return value


def _fit_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} is {value!r}, not a list")
    if arguments[-1] is Ellipsis:
        return tuple(_fit(arguments[0], each, f"{where}[{n}]") for n, each in enumerate(value))
    if len(value) != len(arguments):
        raise ValueError(f"{where} has {len(value)} values instead of {len(arguments)}")
    return tuple(_fit(kind, each, where) for kind, each in zip(arguments, value, strict=True))
