"""What the commands that train ask of the numbers they are given."""

from __future__ import annotations

import argparse

from MambaSynthLib.errors import RequestError


def check_least(options: argparse.Namespace, **least: int) -> None:
    """Raises RequestError: an option that was given is less than its ``least``."""
    for name, smallest in least.items():
        value = getattr(options, name)
        if value is not None and value < smallest:
            raise RequestError(f"{options.command}: --{name} is {value}; give at least {smallest}.")
