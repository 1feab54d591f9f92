"""The engine as a child process: requests come in on stdin, events go out on stdout.

``python -m MambaSynthLib serve --folder DIR`` keeps models loaded between runs, so that 3D Slicer
starts the second synthesis at once, and so that a crash or a lack of memory ends this process and
not Slicer. One JSON object per line in both directions; volumes travel as files (see
``exchange.py``), or with ``--in-memory`` behind the lines (see ``wire.py``). stderr is free text
for a log; whatever a library prints goes there as well.

Protocol version 1. Requests, each with a ``do``:

| do         | further keys                                                                     |
|------------|----------------------------------------------------------------------------------|
| synthesize | id, model (id or folder), device, sources {contrast: file}, folder for results,  |
|            | steps, samples, seed, slices ([first, end] or null), noise (per-slice, shared),  |
|            | planes (auto, one, all: in which the volume is cut),                             |
|            | force (true: also what the input gate refuses), package (sha256 of the model     |
|            | package that is meant; any where it is not given), synthetic (true: also what is |
|            | synthetic by its voxels), pixel_mark (false: no mark in the voxels)              |
| cine       | id, model, device, sources [file, ...], times_ms [ms, ...] or null, frames (how  |
|            | many to return), ed, es (frame numbers from 1, or null: found), only_phases,     |
|            | refine (false: the network's own motion), timing (linear, cardiac or null),      |
|            | seed, package and pixel_mark as above, folder for results; see below             |
| import     | id, path of a model package (folder or zip file), folder for what is unpacked,   |
|            | replace (true: also another version of it that is installed)                     |
| fetch      | id, https address of a zip file, folder for what is unpacked                     |
| remove     | id, model (one of the user's own), folder                                        |
| default    | id, model (the one that a plain command takes from now on), folder               |
| cancel     | id                                                                               |
| devices    | -                                                                                |
| stop       | -                                                                                |

Events, each with an ``event``:

| event     | further keys                                                                      |
|-----------|-----------------------------------------------------------------------------------|
| ready     | protocol, version, pid of this process; sent once, first                          |
| loading   | id: the model is being loaded                                                     |
| progress  | id, done, total: slices times steps or whatever the method counts; thousandths of |
|           | cine (half for the motion, half for the frames); steps of an import; bytes        |
| queued    | id, before: how many runs of others come first, on another computer's engine      |
| done      | id, targets {contrast: file}, spreads {contrast: file} and the first of them as   |
|           | spread (or null), provenance, seconds                                             |
| done      | of cine: id, frames [file, ...], times_ms [ms, ...], acquired [number from 1 of   |
|           | the source, or null where the frame is synthetic, ...], phases {ed, es, rule},    |
|           | provenance (its Warnings are to be shown), seconds                                |
| done      | of import: id, model (its id), installed (its folder), seconds                    |
| done      | of fetch: id, file (where it waits to be imported), sha256, bytes, card {id,      |
|           | title, version, license, direction, limits}, installed (its version, or null),    |
|           | same (true: that is this one)                                                     |
| cancelled | id, exiting: answered within 1 s of ``cancel``; ``exiting`` is true where the     |
|           | computation did not heed it in time and the process ends itself instead           |
| failed    | id, message (one sentence for the user), details (a traceback, or empty), refused |
|           | (true: by the input gate, or another version is installed; the same request with  |
|           | ``force`` or ``replace`` goes on)                                                 |
| devices   | devices [{id, title}]                                                             |

``import`` puts a package among the user's models once its network has been built from its weights:
complete, or not at all.

``cine`` takes the acquired frames in the order of time. Two without ``times_ms`` are ED and ES (0
and 300 ms are assumed, with a warning); of more, ED and ES are found unless numbered by ``ed`` and
``es``. ``frames`` counts the acquired ones too, which come back as they went in, between as many
synthetic ones, ordered by time: files ``frame-0000.npz`` and on in ``folder``. With ``only_phases``
(default false) the cine runs from ED to ES and the other frames are not used.

With ``--engine`` another computer's engine (``listen.py``) answers ``synthesize``, ``cine`` and
``devices``; see ``relay.py``.

Each line that is no request is answered by ``failed`` without an id. The process ends within
seconds when stdin is closed, which is what happens when the parent dies, or when the parent is
gone, and removes DIR then.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.server.answers import ANSWERS, Event
from MambaSynthLib.server.server import Line, ListDevices, MakeEngine, Send, Server
from MambaSynthLib.server.wire import Attached, from_stream, to_stream

if TYPE_CHECKING:
    from MambaSynthLib.server.remote import Remote

ORPHAN_CHECK_S = 1.0


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


def claim_stdout() -> Send:
    """Keep stdout for events alone: prints, also those of C libraries, go to stderr."""
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    lock = threading.Lock()

    def send(event: Event, attached: Attached = ()) -> None:
        with lock:
            try:
                to_stream(events, event, attached)
            except (OSError, ValueError):
                pass  # nobody reads any more; the end of stdin or of the parent ends this process

    return send


def lines_of_stdin() -> Iterator[Line]:
    """Bytes that are no text make a line that is no request, and no end."""
    with os.fdopen(
        os.dup(0), "r", encoding="utf-8", errors="backslashreplace", newline="\n"
    ) as lines:
        for line in lines:
            yield line, []


def messages_of_stdin() -> Iterator[Line]:
    """With the voxels behind them. Raises OSError where it is no message."""
    with os.fdopen(os.dup(0), "rb") as stream:
        while (message := from_stream(stream)) is not None:
            head, attached = message
            yield json.dumps(head), attached


def leave_with_parent(leave: Callable[[], None]) -> None:
    """Leave soon after the parent, whose end of stdin another child of it may hold open.

    Windows goes on naming a parent that is gone; there only the end of stdin is heard.
    """
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(ORPHAN_CHECK_S)
    leave()


def serve(
    folder: Path | None = None,
    make_engine: MakeEngine = engine_for,
    list_devices: ListDevices = devices_here,
    make_cine_engine: MakeEngine = cine_engine_for,
    *,
    in_memory: bool = False,
    remote: Remote | None = None,
) -> None:
    """Serve stdin until it closes, then remove ``folder``; does not return.

    Volumes travel ``in_memory`` or as files; ``remote`` computes, if there is one.
    """

    def leave() -> None:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # a computation that does not end must not keep the process

    threading.Thread(target=leave_with_parent, args=(leave,), daemon=True).start()
    answers = ANSWERS
    if remote is not None:
        from MambaSynthLib.server.relay import relayed

        answers, list_devices = ANSWERS | relayed(remote), remote.devices
    server = Server(
        claim_stdout(),
        make_engine,
        list_devices,
        make_cine_engine,
        answers=answers,
        in_memory=in_memory,
    )
    server.run(messages_of_stdin() if in_memory else lines_of_stdin(), leave)
    leave()
