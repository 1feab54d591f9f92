"""What happened behind the scenes of a test: errors in slots and modal dialogs.

PythonQt swallows an exception raised in a slot and a modal dialog would block a test forever, so
both are written down here, and the test that did not expect them fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SlotError:
    """An exception that left a slot; PythonQt prints it and carries on."""

    sender: Any
    signal: str
    error: BaseException


@dataclass(frozen=True)
class Dialog:
    """A modal dialog as the user would have seen it."""

    kind: str
    title: str
    text: str
    details: str = ""


slot_errors: list[SlotError] = []
dialogs: list[Dialog] = []
answers: list[Callable[[Any], Any]] = []  # one per expected dialog, each gets the dialog


def clear() -> None:
    slot_errors.clear()
    dialogs.clear()
    answers.clear()


def answer(dialog: Dialog, shown: Any) -> Any:
    """Write the dialog down and answer it as the test prepared; unprepared dialogs are errors."""
    dialogs.append(dialog)
    if not answers:
        raise RuntimeError(f"{dialog.kind} {dialog.title!r} ({dialog.text!r}) was not expected")
    return answers.pop(0)(shown)
