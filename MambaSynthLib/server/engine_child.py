"""The process that computes for all clients of a remote engine.

It holds the model and the graphics card. What ends it, a lack of memory or a fault in a library,
does not end the server; it is started again for the next run.
"""

from __future__ import annotations

import itertools
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, cast

from MambaSynthLib.server.wire import Attached, Head, from_stream, to_stream

COMMAND = (sys.executable, "-m", "MambaSynthLib", "serve", "--in-memory")
LEAVES_WITHIN_S = 5.0


class Ended(Exception):
    """The process has ended by itself."""


class EngineChild:
    """Started when something is first sent to it. One thread at a time uses it."""

    def __init__(self, command: Sequence[str] = COMMAND):
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._ids = itertools.count(1)
        self._said: queue.Queue[tuple[Head, list[bytes]] | None] = queue.Queue()

    def new_id(self) -> int:
        """Of a run: a cancel that comes too late must not be one of the next."""
        return next(self._ids)

    def send(self, head: Head, attached: Attached = ()) -> None:
        """Raises Ended, OSError (it cannot be started)."""
        requests = cast("IO[bytes]", self._running().stdin)
        try:
            to_stream(requests, head, attached)
        except OSError as error:
            raise Ended from error

    def next(self, seconds: float) -> tuple[Head, list[bytes]] | None:
        """What it says next; None: nothing for so long. Raises Ended."""
        try:
            message = self._said.get(timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            self.end()
            raise Ended
        if message[0].get("exiting"):  # nothing can be asked of it any more
            self.end()
        return message

    def end(self) -> None:
        """End it at once; it has no files."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(LEAVES_WITHIN_S)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._said = queue.Queue()  # what the last one said is not meant for the next run
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            follow = (self._process, self._said)
            threading.Thread(target=self._follow, args=follow, daemon=True).start()
        return self._process

    @staticmethod
    def _follow(process: subprocess.Popen[bytes], said: queue.Queue[object]) -> None:
        events = cast("IO[bytes]", process.stdout)
        try:
            while (message := from_stream(events)) is not None:
                said.put(message)
        except (OSError, ValueError):
            process.kill()  # it speaks another language, or not to the end
        said.put(None)
