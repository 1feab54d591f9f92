"""Several jobs, one after another on the one child process, told to the panel as one run.

What is finished is in the scene at once and stays there, whatever becomes of the rest; so a queue
that was cancelled, or that a crash ended, goes on with what is left when it is started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError, RequestError

from .run import Job, Runner
from .worker import Event

PARTS = 100  # of the progress bar, for each job


@dataclass(frozen=True)
class Item:
    """``makeJob`` is called when it is its turn; it raises MambaSynthError for what cannot be."""

    key: str
    title: str
    makeJob: Callable[[], Job]


@dataclass
class Several:
    """Follow with ``poll``; ``over`` when nothing more comes."""

    runner: Runner
    items: Sequence[Item]
    results: list[tuple[Item, Event]] = field(default_factory=list)
    failures: list[tuple[Item, str]] = field(default_factory=list)
    over: bool = False
    _next: int = 0
    _cancelled: bool = False
    _startedAt: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Raises RequestError where something else is running."""
        if self.runner.busy:
            raise RequestError(_("A synthesis is running already; wait for it or cancel it."))
        self._goOn()

    def _goOn(self) -> None:
        """Send the next job that can be sent; those that cannot are failures."""
        while not self.runner.busy and self._next < len(self.items) and not self._cancelled:
            item = self.items[self._next]
            self._next += 1
            try:
                self.runner.start(item.makeJob())
            except MambaSynthError as error:
                self.failures.append((item, str(error)))

    def cancel(self) -> None:
        self._cancelled = True
        self.runner.cancel()

    def poll(self) -> list[Event]:
        """As ``Runner.poll``: ``progress`` and ``finished`` are of the whole queue."""
        told = [event for own in self.runner.poll() if (event := self._told(own))]
        self._goOn()
        if not self.runner.busy and not self.over:
            self.over = True
            told.append(self._end())
        return told

    def _told(self, event: Event) -> Event | None:
        kind, item = event["event"], self.items[self._next - 1] if self._next else None
        if kind == "progress":
            return self._progress(item, event)
        if kind == "finished":
            self.results.append((item, event))
        elif kind in ("failed", "crashed"):
            self.failures.append((item, event["message"]))
        elif kind == "cancelled":
            self._cancelled = True
        else:
            return event
        return None

    def _progress(self, item: Item, event: Event) -> Event:
        done = (self._next - 1) * PARTS + PARTS * event["done"] // max(event["total"], 1)
        total = len(self.items) * PARTS
        spent = time.monotonic() - self._startedAt
        counted = _("{number} of {count}: {title}, {done}/{total}").format(
            number=self._next,
            count=len(self.items),
            title=item.title,
            done=event["done"],
            total=event["total"],
        )
        left = spent / done * (total - done) if done else None
        return {
            **event, "done": done, "total": total, "counted": counted, "secondsLeft": left
        }  # fmt: skip

    def _end(self) -> Event:
        seconds = round(time.monotonic() - self._startedAt, 3)
        ended = {"results": self.results, "failures": self.failures, "seconds": seconds}
        if self._cancelled:
            return {"event": "cancelled", **ended, "status": self.summary()}
        return {"event": "finished", **ended, "warnings": ()}

    def summary(self) -> str:
        """What became of it, in a sentence or two."""
        told = _("{done} of {count} done.").format(done=len(self.results), count=len(self.items))
        if self._cancelled:
            told = _("Cancelled; {told} What is done was kept.").format(told=told)
        if self.failures:
            told += " " + _("{count} failed.").format(count=len(self.failures))
        return told
