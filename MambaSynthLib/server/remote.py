"""The other side of ``mambasynth serve --listen``: a run on the engine of another computer.

Voxels and geometry are sent, voxels come back; names and notes stay here (``parcels.py``).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import Cancelled, FileError, RefusedInput, RequestError
from MambaSynthLib.image.suitability import name_doubts
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.payload import printable, shown
from MambaSynthLib.server.address import address_of, is_own_computer
from MambaSynthLib.server.parcels import (
    put_back,
    result_of,
    source_head,
    texts_of,
    voxels_of,
)
from MambaSynthLib.server.remote_requests import PROTOCOL, request_of
from MambaSynthLib.server.token_file import read_token
from MambaSynthLib.server.wire import Channel, Gone, Head, check_total

CONNECTS_WITHIN_S = 10.0
POLL_S = 0.05
SILENCE_S = 60.0  # the engine gives a sign of life more often
CANCELS_WITHIN_S = 1.0
RUN = 1  # the id: one run a connection
LARGEST = 1 << 40  # bytes of a result: the engine is trusted

Say = Callable[[Head], None]


def nothing(event: Head) -> None:
    """Says it to nobody."""


@dataclass(frozen=True)
class Remote:
    """Where the engine is, and what proves who asks. TLS everywhere but on the computer itself.

    ``certificate``: of the engine or of who signed it, where the system does not know them.
    """

    host: str
    port: int
    token: str
    certificate: Path | None = None

    @classmethod
    def at(cls, address: str, token: Path, certificate: Path | None = None) -> Remote:
        """Raises RequestError (no address), FileError (no token file)."""
        return cls(*address_of(address), read_token(token), certificate)

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"

    def devices(self) -> list[dict[str, str]]:
        """Those of the other computer. Raises RequestError."""
        return list(self.ask({"do": "devices"}, {})["devices"])

    def ask(
        self,
        request: Head,
        sources: Mapping[str, Volume],
        *,
        say: Say = nothing,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Head:
        """The event that ended the run: with texts put back, and volumes where it tells of them.

        ``sources``: by contrast, or by number of a frame. ``say`` gets the events meanwhile.

        Raises
        ------
        RefusedInput, RequestError: what the engine says, or why it cannot be reached.
        Cancelled: ``cancelled()`` was true.
        """
        texts = texts_of(sources.values())
        heads = {
            label: source_head(volume, number, texts)
            for number, (label, volume) in enumerate(sources.items())
        }
        given = heads if request["do"] == "synthesize" else list(heads.values())
        attached = [voxels_of(volume) for volume in sources.values()]
        sent = request_of(request, {"id": RUN} | ({"sources": given} if sources else {}))
        channel, largest = self._connect()
        try:
            check_total(sum(map(len, attached)), largest)
            channel.send(sent, attached)
            head, voxels = self._follow(channel, say, cancelled)
        except Gone as error:
            raise RequestError(
                f"{self.name}: the connection to the engine broke off; try again."
            ) from error
        finally:
            channel.close()
        told: Head = put_back(head, texts)
        if told["event"] == "cancelled":
            raise Cancelled
        if told["event"] == "failed":
            kind = RefusedInput if told.get("refused") else RequestError
            raise kind(printable(str(told["message"])))
        if request["do"] == "synthesize":
            _add_name_doubts(told["provenance"], sources)
        event: Head = _with_volumes(told, voxels)
        return event

    def _connect(self) -> tuple[Channel, int]:
        """A connection whose engine has taken the token, and how many bytes of voxels it takes.

        Raises RequestError, FileError.
        """
        try:
            with ExitStack() as stack:
                plain = socket.create_connection((self.host, self.port), CONNECTS_WITHIN_S)
                stack.callback(plain.close)
                channel = Channel(self._encrypted(plain))
                stack.callback(channel.close)
                channel.send({"do": "hello", "protocol": PROTOCOL, "token": self.token})
                head = self._first_words(channel)
                if head.get("event") != "ready":
                    said = head.get("message", "is no engine of MambaSynth.")
                    raise RequestError(printable(f"{self.name}: {said}"))
                stack.pop_all()
                return channel, int(head.get("largest", LARGEST))
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or error
            raise RequestError(
                f"{self.name}: is not trusted ({reason}); give its certificate with --certificate, "
                "and the name that stands in it as the host."
            ) from error
        except OSError as error:
            raise RequestError(
                f"{self.name}: no engine answers there ({error.strerror or error}); start it with "
                "'mambasynth serve --listen', and look after the tunnel."
            ) from error
        except Gone as error:
            raise RequestError(
                f"{self.name}: ends the connection at once; is it an engine of MambaSynth, and "
                "does it speak TLS where this side does?"
            ) from error

    def _first_words(self, channel: Channel) -> Head:
        """Raises Gone, RequestError where nobody or another program answers."""
        try:
            return channel.receive(0, CONNECTS_WITHIN_S)[0]
        except RequestError as error:
            raise RequestError(
                f"{self.name}: is no engine of MambaSynth ({str(error).rstrip('.?')}); check host "
                "and port."
            ) from error

    def _encrypted(self, plain: socket.socket) -> socket.socket:
        if self.certificate is None and is_own_computer(self.host):
            return plain
        try:
            context = ssl.create_default_context(cafile=self.certificate)
        except OSError as error:
            raise FileError(
                f"{shown(self.certificate or Path())}: holds no certificate; give a PEM file."
            ) from error
        return context.wrap_socket(plain, server_hostname=self.host)

    def _follow(
        self, channel: Channel, say: Say, cancelled: Callable[[], bool]
    ) -> tuple[Head, list[bytearray]]:
        """The last event of the run, and its voxels. Raises Gone, RequestError, Cancelled."""
        heard, gives_up = time.monotonic(), float("inf")
        while True:
            if gives_up == float("inf") and cancelled():
                channel.send({"do": "cancel", "id": RUN})
                gives_up = time.monotonic() + CANCELS_WITHIN_S
            if channel.ready(POLL_S):
                head, voxels = channel.receive(LARGEST)
                heard = time.monotonic()
                if head.get("event") in ("done", "devices", "failed", "cancelled"):
                    return head, voxels
                say(head)
            now = time.monotonic()
            if now > gives_up:
                raise Cancelled  # closing the connection ends the run over there
            if now - heard > SILENCE_S:
                raise RequestError(
                    f"{self.name}: nothing was heard for {SILENCE_S:.0f} s; look after the engine "
                    "and the tunnel."
                )


def _with_volumes(value: Any, voxels: Sequence[bytearray]) -> Any:
    """``value`` of JSON with the volume itself where it tells of one."""
    if isinstance(value, list):
        return [_with_volumes(item, voxels) for item in value]
    if not isinstance(value, dict):
        return value
    if "attached" in value:
        return result_of(value, voxels)
    return {key: _with_volumes(item, voxels) for key, item in value.items()}


def _add_name_doubts(record: Head, sources: Mapping[str, Volume]) -> None:
    """What the names alone raise is known here only."""
    doubts = [doubt for c, one in sources.items() for doubt in name_doubts(one.name, c)]
    if doubts:
        record["Warnings"] = [*record.get("Warnings", []), *doubts]
