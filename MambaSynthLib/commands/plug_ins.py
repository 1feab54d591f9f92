"""Commands that other packages bring, such as the training's.

A package names itself as an entry point of the group ``mambasynth.commands``; each of its modules
has ``add_parser`` like the library's own. One that does not load stays outside: it is remembered,
and told only to somebody who asks for a command that is not there.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

GROUP = "mambasynth.commands"


def add_plug_ins(commands: Any) -> dict[str, Exception]:
    """Add their commands to the parser; returns what did not load, and why."""
    failures: dict[str, Exception] = {}
    for package in entry_points(group=GROUP):
        for name in _modules(package, failures):
            try:
                importlib.import_module(name).add_parser(commands)
            except Exception as error:  # another's package: anything can come out of it
                failures[name] = error
    return failures


def _modules(package: EntryPoint, failures: dict[str, Exception]) -> Iterator[str]:
    try:
        path = package.load().__path__
    except Exception as error:
        failures[package.value] = error
        return
    for module in pkgutil.iter_modules(path):
        yield f"{package.value}.{module.name}"
