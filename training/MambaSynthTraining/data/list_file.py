"""Lists of public volumes: tab-separated tables whose columns are a dataclass's fields."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

from MambaSynthLib.errors import FileError


def read_lines(
    path: Path, kind: type[Any], *, of: str, one: str, example: str
) -> list[dict[str, str]]:
    """The lines of a list, column -> text; the columns are the fields of ``kind``. ``of`` what it
    lists, ``one`` of them, and an ``example`` to compare with are for the sentence.

    Raises FileError: it cannot be read, is empty, or lacks a column.
    """
    columns = [field.name for field in fields(kind)]
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


class Shown(Protocol):
    """A line of a list whose volumes are learned from or scored on."""

    @property
    def id(self) -> str: ...
    @property
    def person(self) -> str: ...
    @property
    def part(self) -> str: ...
    @property
    def anatomy(self) -> str: ...


Line = TypeVar("Line", bound=Shown)


def read_volumes(
    path: Path, kind: type[Line], parts: Sequence[str], anatomies: Sequence[str], example: str
) -> list[Line]:
    """The lines of a list of volumes. Raises FileError as ``read_lines`` and ``check_parts``."""
    lines = read_lines(path, kind, of="volumes", one="volume", example=example)
    rows = [kind(**line) for line in lines]
    check_parts(path, rows, parts, anatomies)
    return rows


def check_parts(
    path: Path, rows: Iterable[Shown], parts: Sequence[str], anatomies: Sequence[str]
) -> None:
    """Raises FileError: a part or an anatomy is none of those, or a person is in two parts."""
    found: dict[str, str] = {}
    for row in rows:
        if row.part not in parts or row.anatomy not in anatomies:
            raise FileError(
                f"{path}: {row.id} has the part {row.part!r} and the anatomy {row.anatomy!r}; give "
                f"one of {', '.join(parts)} and one of {', '.join(anatomies)}."
            )
        if found.setdefault(row.person, row.part) != row.part:
            raise FileError(f"{path}: {row.person} is in two parts; put a person into one.")
