"""The engine as a child process: requests come in on stdin, events go out on stdout.

``python -m MambaSynthLib serve --folder DIR`` keeps models loaded between runs, so that 3D Slicer
starts the second synthesis at once, and so that a crash or a lack of memory ends this process and
not Slicer. One JSON object per line in both directions; volumes travel as files (see
``io/exchange.py``). stderr is free text for a log; whatever a library prints goes there as well.

Protocol version 1. Requests, each with a ``do``:

| do         | further keys                                                                     |
|------------|----------------------------------------------------------------------------------|
| synthesize | id, model (id or folder), device, sources {contrast: file}, folder for results,  |
|            | steps, samples, seed, slices ([first, end] or null)                              |
| cine       | id, model, device, sources [file, ...], times_ms [ms, ...] or null, frames (how  |
|            | many to return), ed, es (frame numbers from 1, or null: found), only_phases,     |
|            | refine (false: the network's own motion), timing (linear, cardiac or null),      |
|            | seed, folder for results; see below                                              |
| import     | id, path of a model package (folder or zip file), folder for what is unpacked    |
| cancel     | id                                                                               |
| devices    | -                                                                                |
| stop       | -                                                                                |

Events, each with an ``event``:

| event     | further keys                                                                      |
|-----------|-----------------------------------------------------------------------------------|
| ready     | protocol, version, pid of this process; sent once, first                          |
| loading   | id: the model is being loaded                                                     |
| progress  | id, done, total: slices times steps or whatever the method counts; thousandths of |
|           | cine (half for the motion, half for the frames); steps of an import               |
| done      | id, targets {contrast: file}, spread (file or null), provenance, seconds          |
| done      | of cine: id, frames [file, ...], times_ms [ms, ...], acquired [number from 1 of   |
|           | the source, or null where the frame is synthetic, ...], phases {ed, es, rule},    |
|           | provenance (its Warnings are to be shown), seconds                                |
| done      | of import: id, model (its id), installed (its folder), seconds                    |
| cancelled | id, exiting: answered within 1 s of ``cancel``; ``exiting`` is true where the     |
|           | computation did not heed it in time and the process ends itself instead           |
| failed    | id, message (one sentence for the user), details (a traceback, or empty)          |
| devices   | devices [{id, title}]                                                             |

``import`` puts a package among the user's models once its network has been built from its weights:
complete, or not at all.

``cine`` takes the acquired frames in the order of time. Two without ``times_ms`` are ED and ES (0
and 300 ms are assumed, with a warning); of more, ED and ES are found unless numbered by ``ed`` and
``es``. ``frames`` counts the acquired ones too, which come back as they went in, between as many
synthetic ones, ordered by time: files ``frame-0000.npz`` and on in ``folder``. With ``only_phases``
(default false) the cine runs from ED to ES and the other frames are not used.

The process ends within seconds when stdin is closed, which is what happens when the parent dies,
and removes DIR then.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from MambaSynthLib import __version__
from MambaSynthLib.errors import Cancelled, MambaSynthError, RequestError
from MambaSynthLib.server.answers import ANSWERS, Event, Run

PROTOCOL = 1
CANCEL_GRACE_S = 0.5  # how long a run may go on after ``cancel`` before the process exits instead
STOP_GRACE_S = 2.0
NEEDED = {  # keys of a request
    "synthesize": {"id", "model", "sources", "folder"},
    "cine": {"id", "model", "sources", "folder", "frames"},
    "import": {"id", "path", "folder"},
}

MakeEngine = Callable[[str, str], Any]  # (model id or folder, device) -> Engine or CineEngine
ListDevices = Callable[[], list[dict[str, str]]]  # each with id and title


class Server:
    """Runs one request at a time; ``cancel`` and the end of stdin are heard meanwhile."""

    def __init__(
        self,
        send: Callable[[Event], None],
        make_engine: MakeEngine,
        list_devices: ListDevices,
        make_cine_engine: MakeEngine,
    ) -> None:
        self._send = send
        self._make_engine = make_engine
        self._make_cine_engine = make_cine_engine
        self._list_devices = list_devices
        self._engines: dict[tuple[str, str, str], Any] = {}  # task, model, device
        self._requests: queue.Queue[Mapping[str, Any]] = queue.Queue()
        self._running: Any = None  # id of the run under way
        self._to_cancel: set[Any] = set()
        self._idle = threading.Event()
        self._idle.set()

    def run(self, requests: IO[str], leave: Callable[[], None]) -> None:
        """Serve until ``stop`` or the end of ``requests``; ``leave`` cleans up and exits."""
        ready = {"protocol": PROTOCOL, "version": __version__, "pid": os.getpid()}
        self._send({"event": "ready", **ready})
        reader = threading.Thread(target=self._listen, args=(requests, leave), daemon=True)
        reader.start()
        while (request := self._requests.get())["do"] != "stop":
            self._answer(request)

    # ------------------------------------------------------------------- in the reader thread

    def _listen(self, requests: IO[str], leave: Callable[[], None]) -> None:
        for line in requests:
            try:
                request = checked(line)
            except RequestError as error:
                self._send({"event": "failed", "id": None, "message": str(error), "details": ""})
                continue
            if request["do"] == "cancel":
                self._cancel(request.get("id"))
            else:
                self._requests.put(request)
        self._to_cancel.add(self._running)  # stdin is closed: the parent is gone
        self._requests.put({"do": "stop"})
        self._idle.wait(STOP_GRACE_S)
        leave()

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

    def _answer(self, request: Mapping[str, Any]) -> None:
        run_id = request.get("id")
        self._running = run_id
        self._idle.clear()
        try:
            event = self._perform(request)
        except Cancelled:
            event = {"event": "cancelled", "exiting": False}
        except MambaSynthError as error:
            event = {"event": "failed", "message": str(error), "details": ""}
        except Exception as error:  # noqa: BLE001 - told to the parent, which shows it
            message = f"The run stopped unexpectedly: {type(error).__name__}: {error}"
            event = {"event": "failed", "message": message, "details": traceback.format_exc()}
        self._idle.set()
        self._send({**event, "id": run_id})

    def _perform(self, request: Mapping[str, Any]) -> Event:
        if request["do"] == "devices":
            return {"event": "devices", "devices": self._list_devices()}
        if request["do"] not in ANSWERS:
            raise RequestError(f"The request {request['do']!r} is unknown to protocol {PROTOCOL}.")
        run_id = request["id"]
        run = Run(
            request,
            engine=lambda task, model, device: self._engine(run_id, task, model, device),
            progress=lambda done, total: self._progress(run_id, done, total),
            cancelled=lambda: run_id in self._to_cancel,
        )
        return ANSWERS[request["do"]](run)

    def _engine(self, run_id: Any, task: str, model: str, device: str) -> Any:
        if (task, model, device) not in self._engines:
            self._send({"event": "loading", "id": run_id})
            self._engines.clear()  # one model at a time: it holds the GPU's memory
            make = self._make_cine_engine if task == "cine" else self._make_engine
            self._engines[task, model, device] = make(model, device)
        return self._engines[task, model, device]

    def _progress(self, run_id: Any, done: int, total: int) -> None:
        self._send({"event": "progress", "id": run_id, "done": done, "total": total})


def checked(line: str) -> dict[str, Any]:
    """The request in a line of input. Raises RequestError where it is none."""
    try:
        request = json.loads(line)
    except ValueError as error:
        raise RequestError(f"The line {line[:80]!r} is not JSON.") from error
    if not isinstance(request, dict) or not isinstance(request.get("do"), str):
        raise RequestError(f'The line {line[:80]!r} is not an object with a "do".')
    missing = NEEDED.get(request["do"], set()) - request.keys()
    if missing:
        raise RequestError(f"The request lacks {', '.join(sorted(missing))}.")
    if request["do"] == "cine" and type(request["frames"]) is not int:
        raise RequestError(f"frames is {request['frames']!r:.40}; give a whole number.")
    if request.get("timing") not in (None, "linear", "cardiac"):
        raise RequestError(f"timing is {request['timing']!r:.40}; give linear or cardiac.")
    return request


def engine_for(model: str, device: str) -> Any:
    """The engine for a model id or the folder of a model package."""
    from MambaSynthLib.engine import Engine
    from MambaSynthLib.model.registry import find_model

    return Engine(find_model(model), device=device)


def cine_engine_for(model: str, device: str) -> Any:
    """As ``engine_for``, for cine models."""
    from MambaSynthLib.cine.engine import CineEngine
    from MambaSynthLib.model.registry import find_model

    return CineEngine(find_model(model), device=device)


def devices_here() -> list[dict[str, str]]:
    """The devices of this machine, for the panel."""
    from MambaSynthLib.backends import choose_backend

    devices = choose_backend().describe_devices()
    return [{"id": name, "title": title} for name, title in devices.items()]


def claim_stdout() -> Callable[[Event], None]:
    """Keep stdout for events alone: prints, also those of C libraries, go to stderr."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    lock = threading.Lock()

    def send(event: Event) -> None:
        with lock:
            try:
                events.write(json.dumps(event) + "\n")
                events.flush()
            except (BrokenPipeError, ValueError):
                pass  # the parent is gone; the end of stdin will end this process

    return send


def serve(
    folder: Path | None = None,
    make_engine: MakeEngine = engine_for,
    list_devices: ListDevices = devices_here,
    make_cine_engine: MakeEngine = cine_engine_for,
) -> None:
    """Serve stdin until it closes, then remove ``folder``; does not return."""

    def leave() -> None:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # a computation that does not end must not keep the process

    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    Server(claim_stdout(), make_engine, list_devices, make_cine_engine).run(requests, leave)
    leave()
