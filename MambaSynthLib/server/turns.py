"""Who comes first is served first: one engine for several clients."""

from __future__ import annotations

import threading


class Turns:
    """A queue of whoever waits; the first in it has the turn."""

    def __init__(self) -> None:
        self._waiting: list[object] = []
        self._changed = threading.Condition()

    def enter(self) -> object:
        """A ticket, for the other methods; ``leave`` gives it back."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
        return ticket

    def before(self, ticket: object) -> int:
        """How many come first."""
        with self._changed:
            return self._waiting.index(ticket)

    def is_mine(self, ticket: object, seconds: float) -> bool:
        """Whether it is this one's turn, after waiting for so long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting[0] is ticket, seconds)

    def leave(self, ticket: object) -> None:
        with self._changed:
            self._waiting.remove(ticket)
            self._changed.notify_all()
