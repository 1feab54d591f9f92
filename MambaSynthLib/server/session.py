"""One client of a remote engine: proves that it knows the token, and asks for one run at a time.

The thread of a client alone reads and writes its connection, and has the engine's process for
itself while it is its turn. A client that is gone, cancels or takes too long frees the engine for
the next. What a client says is not logged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from MambaSynthLib import __version__
from MambaSynthLib.errors import Cancelled, RequestError
from MambaSynthLib.server.engine_child import Ended, EngineChild
from MambaSynthLib.server.remote_requests import NEVER, PROTOCOL, admitted, checked_id
from MambaSynthLib.server.token_file import same
from MambaSynthLib.server.turns import Turns
from MambaSynthLib.server.wire import Attached, Channel, Gone, Head

GREETING_S = 10.0  # for the token
IDLE_S = 60.0  # without a request; clients connect for each run
POLL_S = 0.1
ALIVE_S = 10.0  # between two signs of life to a client that waits
ENDS_WITHIN_S = 5.0  # after a cancel; then its process is ended
WRONG_TOKEN_S = 1.0  # to wait before the answer: nobody tries many
FINAL = ("done", "failed", "cancelled", "devices")


@dataclass(frozen=True)
class Limits:
    """largest: bytes of the voxels of one request, and of its result; longest_s: of one run."""

    largest: int
    longest_s: float


class Session:
    """``name`` is what the log calls the client."""

    def __init__(
        self,
        channel: Channel,
        name: str,
        token: str,
        limits: Limits,
        child: EngineChild,
        turns: Turns,
        log: Callable[[str], None],
    ):
        self._channel, self._name, self._token, self._limits = channel, name, token, limits
        self._child, self._turns, self._log = child, turns, log
        self._cancelled = False

    def serve(self) -> None:
        """Until the client leaves, or does what no client does."""
        try:
            self._greet()
            while True:
                self._answer(*self._channel.receive(self._limits.largest, IDLE_S))
        except RequestError as error:
            self._log(f"{self._name}: refused, and the connection closed")
            self._fail(None, str(error))
            self._channel.drain()
        except Gone:
            self._log(f"{self._name}: left")

    def _greet(self) -> None:
        """Raises RequestError for whoever does not know the token, or speaks another protocol."""
        head, _ = self._channel.receive(0, GREETING_S)
        if not same(head.get("token"), self._token):
            time.sleep(WRONG_TOKEN_S)
            raise RequestError("The token is not that of this engine; copy its token file again.")
        if head.get("protocol") != PROTOCOL:
            raise RequestError(
                f"The engine speaks protocol {PROTOCOL} (MambaSynth {__version__}); install the "
                "same version on both computers."
            )
        self._log(f"{self._name}: connected")
        self._channel.send(
            {
                "event": "ready",
                "protocol": PROTOCOL,
                "version": __version__,
                "largest": self._limits.largest,
            }
        )

    def _answer(self, head: Head, attached: Attached) -> None:
        if head.get("do") == "cancel":
            return  # of a run that has just ended
        run_id = checked_id(head)
        try:
            request = admitted(head, attached, self._limits.largest)
        except RequestError as error:
            self._log(f"{self._name}: a request was refused")
            self._fail(run_id, str(error))
            return
        started = time.monotonic()
        ticket = self._turns.enter()
        try:
            self._cancelled = False
            self._wait(ticket, run_id)
            last, result = self._run(request, attached, run_id)
        except Cancelled:
            last, result = {"event": "cancelled", "exiting": False}, ()
        finally:
            self._turns.leave(ticket)
        seconds = time.monotonic() - started
        self._log(f"{self._name}: {request['do']} {last['event']}, {seconds:.1f} s")
        self._channel.send({**last, "id": run_id}, result)

    def _wait(self, ticket: object, run_id: Any) -> None:
        """Until it is this one's turn. Raises Cancelled, Gone."""
        told, before = 0.0, -1
        while not self._turns.is_mine(ticket, POLL_S):
            self._listen(run_id)
            if self._cancelled:
                raise Cancelled
            now = self._turns.before(ticket)
            if now != before or time.monotonic() - told > ALIVE_S:
                told, before = time.monotonic(), now
                self._channel.send({"event": "queued", "id": run_id, "before": now})

    # ---------------------------------------------------------------------- on the engine

    def _run(self, request: Head, attached: Attached, run_id: Any) -> tuple[Head, Attached]:
        """One run on the engine's process: the event that ends it, and its voxels."""
        own_id = self._child.new_id()
        try:
            self._child.send({**request, "id": own_id}, attached)
            last, result = self._follow(own_id, run_id)
        except (Ended, OSError) as error:
            self._child.end()
            if self._cancelled:
                raise Cancelled from error
            return {"event": "failed", "message": NEVER, "details": ""}, ()
        except BaseException:
            self._free(own_id)
            raise
        if last.get("details"):  # a traceback names folders of this computer: it stays here
            self._log(str(last["details"]))
        return {**last, "details": ""} if "details" in last else last, result

    def _follow(self, own_id: int, run_id: Any) -> tuple[Head, Attached]:
        """Pass on what the engine says until the run has ended, and hear the client meanwhile.

        Raises Ended: by itself, or because it does not heed a cancel; Gone, RequestError.
        """
        end, ends_by = time.monotonic() + self._limits.longest_s, float("inf")
        told = time.monotonic()
        while True:
            message = self._child.next(POLL_S)
            now = time.monotonic()
            if message is not None and message[0].get("id") == own_id:
                head, result = message
                if head["event"] == "cancelled" and not self._cancelled:
                    return {"event": "failed", "message": self._too_long(), "details": ""}, ()
                if head["event"] in FINAL:
                    return head, result
                self._channel.send({**head, "id": run_id})
                told = now
            elif now - told > ALIVE_S:
                self._channel.send({"event": "alive", "id": run_id})
                told = now
            self._listen(run_id)
            if (self._cancelled or now > end) and ends_by == float("inf"):
                self._child.send({"do": "cancel", "id": own_id})
                ends_by = now + ENDS_WITHIN_S
            if now > ends_by:
                raise Ended

    def _too_long(self) -> str:
        return (
            f"The run took longer than the {self._limits.longest_s / 60:.0f} minutes that this "
            "engine gives; ask for fewer slices, steps or samples."
        )

    def _listen(self, run_id: Any) -> None:
        """Whether the client cancels. Raises Gone, RequestError."""
        if not self._channel.ready(0):
            return
        head, _ = self._channel.receive(0)
        if head.get("do") != "cancel":
            raise RequestError("One run at a time: wait for the end of the last, or cancel it.")
        self._cancelled = self._cancelled or head.get("id") == run_id

    def _free(self, own_id: int) -> None:
        """Have the engine for the next client: cancel what nobody waits for any more."""
        end = time.monotonic() + ENDS_WITHIN_S
        try:
            self._child.send({"do": "cancel", "id": own_id})
            while time.monotonic() < end:
                message = self._child.next(POLL_S)
                if message and message[0].get("id") == own_id and message[0]["event"] in FINAL:
                    return
        except (Ended, OSError):
            return
        self._child.end()

    def _fail(self, run_id: Any, message: str) -> None:
        failed = {"event": "failed", "id": run_id, "message": message, "details": ""}
        try:
            self._channel.send(failed)
        except Gone:
            self._log(f"{self._name}: left before it was told")
