"""What the command line changes in a recipe, before it is checked like any other."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from MambaSynthTraining.yaml_file import parse_yaml

MOST_SHOWN = 200  # characters of a change


def with_changes(data: Any, changes: Sequence[str]) -> Any:
    """What a recipe file holds, with ``changes`` such as ``optimization.ema=0.9`` made.

    Keys are dotted, the stages numbered from 0 (``stages.0.batch=2``), values YAML. Whether a key
    is known is not asked here. Raises ValueError: a change is no key=value, or has no place.
    """
    data = deepcopy(data)
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not all(key.split(".")):
            raise ValueError(f"--set {change} is no key=value")
        try:
            value = parse_yaml(text)
        except ValueError as error:
            raise ValueError(
                f"--set {change[:MOST_SHOWN]} has a value that is no YAML ({error})"
            ) from error
        *above, last = key.split(".")
        inner = data
        for n, name in enumerate(above):
            inner = _enter(inner, name, ".".join(above[:n]))
        inner[_place(inner, last, ".".join(above))] = value
    return data


def _enter(inner: Any, name: str, where: str) -> Any:
    place = _place(inner, name, where)
    return inner.setdefault(place, {}) if isinstance(inner, dict) else inner[place]


def _place(inner: Any, name: str, where: str) -> Any:
    """The key of a mapping, or the index of a list."""
    if isinstance(inner, dict):
        return name
    if not isinstance(inner, list):
        raise ValueError(f"--set: {where} is {inner!r}, so it has no {name}")
    if not name.isdigit() or int(name) >= len(inner):
        raise ValueError(f"--set: {where} has the entries 0 to {len(inner) - 1}, no {name}")
    return int(name)
