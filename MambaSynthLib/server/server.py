"""Requests become runs, one at a time; what is said meanwhile is heard by a thread of its own."""

from __future__ import annotations

import os
import queue
import reprlib
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from MambaSynthLib import __version__
from MambaSynthLib.errors import Cancelled, MambaSynthError, RequestError
from MambaSynthLib.server.answers import ANSWERS, Event, Run
from MambaSynthLib.server.exchange import Exchange, InFolder, InMemory
from MambaSynthLib.server.requests import checked
from MambaSynthLib.server.wire import Attached

PROTOCOL = 1
CANCEL_GRACE_S = 0.5  # how long a run may go on after ``cancel`` before the process exits instead
STOP_GRACE_S = 2.0
CHANGING = ("import", "remove")  # of models: what is loaded may be another one afterwards

MakeEngine = Callable[[str, str], Any]  # (model id or folder, device) -> Engine or CineEngine
ListDevices = Callable[[], list[dict[str, str]]]  # each with id and title
Answers = Mapping[str, Callable[[Run], Event]]
Line = tuple[str, list[bytes]]  # a request, and what was attached to it


class Send(Protocol):
    def __call__(self, event: Event, attached: Attached = ()) -> None:
        """Say ``event`` to the other side; nothing is raised where nobody listens."""


class Server:
    """Runs one request at a time; ``cancel`` and the end of stdin are heard meanwhile.

    Volumes lie in the folder that a request names, or travel ``in_memory``, attached to it.
    """

    def __init__(
        self,
        send: Send,
        make_engine: MakeEngine,
        list_devices: ListDevices,
        make_cine_engine: MakeEngine,
        *,
        answers: Answers = ANSWERS,
        in_memory: bool = False,
    ) -> None:
        self._send = send
        self._answers = answers
        self._in_memory = in_memory
        self._make_engine = make_engine
        self._make_cine_engine = make_cine_engine
        self._list_devices = list_devices
        self._engines: dict[tuple[str, str, str], Any] = {}  # task, model, device
        self._requests: queue.Queue[tuple[Mapping[str, Any], list[bytes]]] = queue.Queue()
        self._running: Any = None  # id of the run under way
        self._to_cancel: set[Any] = set()
        self._idle = threading.Event()
        self._idle.set()

    def run(self, requests: Iterable[Line], leave: Callable[[], None]) -> None:
        """Serve until ``stop`` or the end of ``requests``; ``leave`` cleans up and exits."""
        ready = {"protocol": PROTOCOL, "version": __version__, "pid": os.getpid()}
        self._send({"event": "ready", **ready})
        reader = threading.Thread(target=self._listen, args=(requests, leave), daemon=True)
        reader.start()
        while True:
            request, attached = self._requests.get()
            if request["do"] == "stop":
                return
            self._answer(request, attached)

    # ------------------------------------------------------------------- in the reader thread

    def _listen(self, requests: Iterable[Line], leave: Callable[[], None]) -> None:
        with suppress(OSError):  # who cannot be heard any more is gone, too
            for line, attached in requests:
                self._hear(line, attached)
        self._to_cancel.add(self._running)  # stdin is closed: the parent is gone
        self._requests.put(({"do": "stop"}, []))
        self._idle.wait(STOP_GRACE_S)
        leave()

    def _hear(self, line: str, attached: list[bytes]) -> None:
        try:
            request = checked(line, self._in_memory)
        except RequestError as error:
            self._send({"event": "failed", "id": None, "message": str(error), "details": ""})
            return
        if request["do"] == "cancel":
            self._cancel(request["id"])
        else:
            self._requests.put((request, attached))

    def _cancel(self, run_id: Any) -> None:
        self._to_cancel.add(run_id)

        def insist() -> None:
            if self._running == run_id and not self._idle.is_set():
                self._send({"event": "cancelled", "id": run_id, "exiting": True})
                os._exit(0)  # the folder is the parent's, which lives

        timer = threading.Timer(CANCEL_GRACE_S, insist)
        timer.daemon = True
        timer.start()

    # --------------------------------------------------------------------- in the main thread

    def _answer(self, request: Mapping[str, Any], given: list[bytes]) -> None:
        run_id = request.get("id")
        self._running = run_id
        self._idle.clear()
        attached: Attached = ()
        try:
            event, attached = self._perform(request, given)
        except Cancelled:
            event = {"event": "cancelled", "exiting": False}
        except MambaSynthError as error:
            event = {"event": "failed", "message": str(error), "details": ""}
            event |= {"refused": True} if error.can_insist else {}
        except Exception as error:  # noqa: BLE001 - told to the parent, which shows it
            message = f"The run stopped unexpectedly: {type(error).__name__}: {error}"
            event = {"event": "failed", "message": message, "details": traceback.format_exc()}
        self._idle.set()
        self._send({**event, "id": run_id}, attached)

    def _perform(self, request: Mapping[str, Any], given: list[bytes]) -> tuple[Event, Attached]:
        """The event that ends the run, and what is attached to it."""
        if request["do"] == "devices":
            return {"event": "devices", "devices": self._list_devices()}, ()
        if request["do"] not in self._answers:
            what = reprlib.repr(request["do"])
            raise RequestError(f"The request {what} is unknown to protocol {PROTOCOL}.")
        run_id = request["id"]
        if request["do"] in CHANGING:
            self._engines.clear()
        exchange = self._exchange(request, given)
        run = Run(
            request,
            exchange,
            engine=lambda task, model, device: self._engine(run_id, task, model, device),
            progress=lambda done, total: self._progress(run_id, done, total),
            cancelled=lambda: run_id in self._to_cancel,
            tell=lambda event: self._send({**event, "id": run_id}),
        )
        return self._answers[request["do"]](run), exchange.attached

    def _exchange(self, request: Mapping[str, Any], given: list[bytes]) -> Exchange:
        return InMemory(given) if self._in_memory else InFolder(Path(request["folder"]))

    def _engine(self, run_id: Any, task: str, model: str, device: str) -> Any:
        if (task, model, device) not in self._engines:
            self._send({"event": "loading", "id": run_id})
            self._engines.clear()  # one model at a time: it holds the GPU's memory
            make = self._make_cine_engine if task == "cine" else self._make_engine
            self._engines[task, model, device] = make(model, device)
        return self._engines[task, model, device]

    def _progress(self, run_id: Any, done: int, total: int) -> None:
        self._send({"event": "progress", "id": run_id, "done": done, "total": total})
