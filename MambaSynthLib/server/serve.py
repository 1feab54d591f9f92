"""The engine as a child process: requests come in on stdin, events go out on stdout.

``python -m MambaSynthLib serve --folder DIR`` keeps models loaded between runs, so that 3D Slicer
starts the second synthesis at once, and so that a crash or a lack of memory ends this process and
not Slicer. One JSON object per line in both directions; volumes travel as files (see
``io/exchange.py``). stderr is free text for a log; whatever a library prints goes there as well.

Protocol version 1. Requests, each with a ``do``:

| do         | further keys                                                                     |
|------------|----------------------------------------------------------------------------------|
| synthesize | id, model (id or folder), device, sources {contrast: file}, folder for results,  |
|            | steps, samples, seed, slices ([first, end] or null), force (true: also what the  |
|            | input gate refuses), pixel_mark (false: no mark in the voxels)                   |
| cine       | id, model, device, sources [file, ...], times_ms [ms, ...] or null, frames (how  |
|            | many to return), ed, es (frame numbers from 1, or null: found), only_phases,     |
|            | refine (false: the network's own motion), timing (linear, cardiac or null),      |
|            | seed, pixel_mark as above, folder for results; see below                         |
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
| failed    | id, message (one sentence for the user), details (a traceback, or empty), refused |
|           | (true: by the input gate; the same request with ``force`` goes on)                |
| devices   | devices [{id, title}]                                                             |

``import`` puts a package among the user's models once its network has been built from its weights:
complete, or not at all.

``cine`` takes the acquired frames in the order of time. Two without ``times_ms`` are ED and ES (0
and 300 ms are assumed, with a warning); of more, ED and ES are found unless numbered by ``ed`` and
``es``. ``frames`` counts the acquired ones too, which come back as they went in, between as many
synthetic ones, ordered by time: files ``frame-0000.npz`` and on in ``folder``. With ``only_phases``
(default false) the cine runs from ED to ES and the other frames are not used.

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from MambaSynthLib.server.answers import Event
from MambaSynthLib.server.server import ListDevices, MakeEngine, Server

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
            except (OSError, ValueError):
                pass  # nobody reads any more; the end of stdin or of the parent ends this process

    return send


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
) -> None:
    """Serve stdin until it closes, then remove ``folder``; does not return."""

    def leave() -> None:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # a computation that does not end must not keep the process

    threading.Thread(target=leave_with_parent, args=(leave,), daemon=True).start()
    requests = os.fdopen(
        os.dup(0), "r", encoding="utf-8", errors="backslashreplace", newline="\n"
    )  # bytes that are no text make a line that is no request, and no end
    Server(claim_stdout(), make_engine, list_devices, make_cine_engine).run(requests, leave)
    leave()
