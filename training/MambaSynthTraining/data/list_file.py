"""Lists of public volumes: tab-separated tables whose columns are a dataclass's fields."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from MambaSynthLib.errors import FileError


def read_lines(
    path: Path, columns: Sequence[str], *, of: str, one: str, example: str
) -> list[dict[str, str]]:
    """The lines of a list, column -> text. ``of`` what it lists, ``one`` of them, and an
    ``example`` to compare with are for the sentence.

    Raises FileError: it cannot be read, is empty, or lacks a column.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            lines = list(csv.DictReader(stream, delimiter="\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read as a list of {of}; check the path.") from error
    if not lines or (missing := [name for name in columns if name not in lines[0]]):
        raise FileError(
            f"{path}: lacks {', '.join(missing) if lines else f'any {one}'}; compare {example}."
        )
    return [{name: line[name] or "" for name in columns} for line in lines]
