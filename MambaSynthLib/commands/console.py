"""What the command line says: progress and notes on stderr, results on stdout.

Titles and names come from files, so whatever would steer a terminal is shown as an escape.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from MambaSynthLib.io.payload import printable

if TYPE_CHECKING:  # so that listing models or verifying a file works without torch
    from MambaSynthLib.engine import Progress


def note(text: str) -> None:
    """A remark beside the result. Whether anybody can hear it must not stop the work."""
    with suppress(OSError):
        print(_shown(text), file=sys.stderr)


def say(text: str) -> None:
    """A part of the result, of any number of lines."""
    print(_shown(text))


def _shown(text: str) -> str:
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))


def result(record: Mapping[str, Any], lines: list[str], as_json: bool) -> None:
    """The result, as one JSON document or as text."""
    if as_json:
        print(json.dumps(record, indent=2))
    else:
        say("\n".join(lines))


@contextmanager
def after_writing() -> Iterator[None]:
    """For what is said once the files are there: they are, even where stdout takes no text."""
    try:
        yield
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        raise  # nobody wants to know
    except OSError as error:
        drop_unprinted()
        note(f"the files were written, but what they are cannot be printed ({error.strerror})")


def drop_unprinted() -> None:
    """Drop what a closed pipe or a full disk did not take, so that Python does not try again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def slice_progress(title: str, unit: str = "slices") -> Iterator[Progress]:
    """A bar with units done and time left; where stderr is no terminal, a line every tenth."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    title = printable(title)
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _TenthPrinter(title, unit)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit},"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _TenthPrinter:
    """One line for every tenth of the work."""

    def __init__(self, title: str, unit: str) -> None:
        self.title, self.unit, self.tenth = title, unit, -1

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 10
        if tenth > self.tenth:
            self.tenth = tenth
            note(f"{self.title}: {done} of {total} {self.unit}")
