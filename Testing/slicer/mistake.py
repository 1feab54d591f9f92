"""A mistake to plant, see ``mutate.py``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """``tests``: the file, as seen from here, that should notice when ``right`` is ``wrong``."""

    title: str
    file: str
    right: str
    wrong: str
    tests: str
