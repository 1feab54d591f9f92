"""The child process of 3D Slicer, where another computer is to compute.

Slicer asks as ever, with files in a folder of its own; this process reads them, asks the remote
engine, and writes what comes back. So the network never keeps Slicer waiting, and Cancel is heard.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.server.answers import Event, Run
from MambaSynthLib.server.parcels import each
from MambaSynthLib.server.remote import Remote
from MambaSynthLib.server.wire import Head


def relayed(remote: Remote) -> dict[str, Callable[[Run], Event]]:
    """The answers whose work is done by another computer."""

    def answer(run: Run) -> Event:
        started = time.monotonic()
        sources = run.request["sources"]
        named = sources.items() if isinstance(sources, dict) else enumerate(sources, 1)
        volumes = {str(label): run.exchange.load(one) for label, one in named}

        def say(event: Head) -> None:
            if event["event"] == "progress":
                run.progress(event["done"], event["total"])
            elif event["event"] in ("loading", "queued"):
                run.tell(event)

        request = dict(run.request) | _package_of(run.request["model"])
        event = remote.ask(request, volumes, say=say, cancelled=run.cancelled)
        names = (f"volume-{number:04}" for number in itertools.count())
        event = each(event, Volume, lambda volume: run.exchange.save(volume, next(names)))
        return {**event, "seconds": round(time.monotonic() - started, 3)}

    return {"synthesize": answer, "cine": answer}


def _package_of(model: str) -> Head:
    """The id and the hash of the model, by which the other computer finds the same."""
    from MambaSynthLib.model.registry import find_model

    package = find_model(model)
    return {"model": package.card.id, "package": package.sha256}
