"""JSON lines with voxels behind them, over a connection or a pipe.

    {"do": "synthesize", ..., "attached": [1048576]}\\n<1048576 bytes>

``attached`` says how many bytes of each attachment follow the line. Over a connection nothing is
waited for without an end, and nothing is taken that is larger than was agreed.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from typing import IO, Any

from MambaSynthLib.errors import RequestError

LONGEST_LINE = 1 << 18  # bytes; a cine of 1,000 frames has a head for each
MOST_ATTACHED = 2000
CHUNK = 1 << 18  # bytes
LINE_S = 10.0  # for a line that has begun
SILENCE_S = 30.0  # between two pieces of an attachment
SLOWEST = 250_000  # bytes a second; who is slower keeps others out
DRAIN_S = 2.0
SHORTEST_WAIT_S = 0.001
NO_MESSAGE = "A line is no JSON object; does MambaSynth speak on the other side?"

Head = dict[str, Any]
Attached = Sequence[bytes | bytearray | memoryview]


class Gone(Exception):
    """The other side has closed the connection."""


def to_stream(stream: IO[bytes], head: Head, attached: Attached = ()) -> None:
    """Write one message. Raises OSError where nobody reads."""
    stream.write(line_of(head, attached))
    for part in attached:
        stream.write(part)
    stream.flush()


def from_stream(stream: IO[bytes]) -> tuple[Head, list[bytes]] | None:
    """The next message of a process that is trusted; None at its end."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    head: Head = json.loads(line)
    attached = [stream.read(size) for size in head.pop("attached", [])]
    return head, attached


def line_of(head: Head, attached: Attached) -> bytes:
    sizes = {"attached": [len(part) for part in attached]} if attached else {}
    return json.dumps({**head, **sizes}).encode() + b"\n"


class Channel:
    """A connection whose other side may be slow, wrong or hostile. One thread uses it."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._kept = bytearray()  # read, and not yet asked for

    def send(self, head: Head, attached: Attached = ()) -> None:
        """Raises Gone: the other side is, or takes it too slowly."""
        parts = (line_of(head, attached), *attached)
        end = time.monotonic() + LINE_S + sum(map(len, parts)) / SLOWEST
        for part in parts:
            view = memoryview(part)
            while view:
                self._connection.settimeout(max(end - time.monotonic(), SHORTEST_WAIT_S))
                try:
                    view = view[self._connection.send(view[:CHUNK]) :]
                except OSError as error:  # of which TimeoutError is one
                    raise Gone from error

    def ready(self, seconds: float) -> bool:
        """Whether a whole line is here, after waiting for so long. Raises Gone, RequestError."""
        end = time.monotonic() + max(seconds, SHORTEST_WAIT_S)
        while b"\n" not in self._kept:
            if len(self._kept) > LONGEST_LINE:
                raise RequestError(f"A line is longer than {LONGEST_LINE} bytes; nothing was done.")
            try:
                self._kept += self._some(end - time.monotonic(), CHUNK)
            except TimeoutError:
                return False
        return True

    def receive(self, largest: int, within_s: float = LINE_S) -> tuple[Head, list[bytearray]]:
        """The next message.

        Raises
        ------
        RequestError: no JSON object, more than ``largest`` bytes attached, or all of it too slowly.
        Gone: the connection was closed.
        """
        if not self.ready(within_s):
            raise RequestError(f"Nothing was said within {within_s:.0f} s.")
        line, _, rest = bytes(self._kept).partition(b"\n")
        self._kept = bytearray(rest)
        head = parsed(line)
        sizes = checked_sizes(head.pop("attached", []), largest)
        end = time.monotonic() + LINE_S + sum(sizes) / SLOWEST
        return head, [self._bytes(size, end) for size in sizes]

    def _bytes(self, size: int, end: float) -> bytearray:
        data = self._kept[:size]
        del self._kept[:size]
        while len(data) < size:
            left = min(end - time.monotonic(), SILENCE_S)
            try:
                data += self._some(left, min(CHUNK, size - len(data)))
            except TimeoutError as error:
                raise RequestError(
                    f"The voxels come more slowly than {SLOWEST // 1000} kB a second; use a faster "
                    "network."
                ) from error
        return data

    def _some(self, seconds: float, most: int) -> bytes:
        """Up to ``most`` bytes. Raises Gone, TimeoutError."""
        if seconds <= 0:
            raise TimeoutError
        self._connection.settimeout(max(seconds, SHORTEST_WAIT_S))
        try:
            data = self._connection.recv(most)
        except TimeoutError:
            raise
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        return data

    def drain(self) -> None:
        """Hear the other side out for a moment: what it was told is lost where data wait unread."""
        end = time.monotonic() + DRAIN_S
        try:
            self._connection.shutdown(socket.SHUT_WR)
            while True:
                self._some(end - time.monotonic(), CHUNK)
        except (OSError, Gone):  # of which TimeoutError is one
            return

    def close(self) -> None:
        self._connection.close()


def parsed(line: bytes) -> Head:
    """Raises RequestError where the line is no JSON object."""
    try:
        head = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(NO_MESSAGE) from error
    if not isinstance(head, dict):
        raise RequestError(NO_MESSAGE)
    return head


def checked_sizes(sizes: Any, largest: int) -> list[int]:
    """The sizes of attachments in bytes. Raises RequestError."""
    wanted = isinstance(sizes, list) and len(sizes) <= MOST_ATTACHED
    if not wanted or not all(type(size) is int and size >= 0 for size in sizes):
        raise RequestError(f"attached is no list of up to {MOST_ATTACHED} sizes in bytes.")
    check_total(sum(sizes), largest)
    return list(sizes)


def check_total(size: int, largest: int) -> None:
    """Raises RequestError where voxels of ``size`` bytes are too large."""
    if size > largest:
        raise RequestError(
            f"The voxels have {size / 1e6:.3g} MB, and this engine takes {largest / 1e6:.3g} MB; "
            "crop the volume, or have the engine started with a larger --megabytes."
        )
