"""What the child process does for each request; ``serve.py`` describes their keys.

An answer is a function of a ``Run`` that returns the event which ends it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import Cancelled, ModelError, WouldReplace
from MambaSynthLib.server.exchange import Exchange

Event = dict[str, Any]

PER_MILLE = 1000


@dataclass(frozen=True)
class Run:
    """A request under way, and what its answer needs of the server."""

    request: Mapping[str, Any]
    exchange: Exchange
    engine: Callable[[str, str, str], Any]  # (task, model id or folder, device) -> loaded engine
    progress: Callable[[int, int], None]  # (done, total)
    cancelled: Callable[[], bool]
    tell: Callable[[Event], None]  # what else the other side should know meanwhile

    def loaded_engine(self, task: str) -> Any:
        """The engine of the model and the device that the request names.

        Raises ModelError where the request names a ``package``, by its sha256, and it is another.
        """
        request = self.request
        engine = self.engine(task, request["model"], request.get("device") or "auto")
        wanted = request.get("package")
        if wanted is not None and wanted != engine.package.sha256:
            raise ModelError(
                f"{request['model']}: the engine has another version of this model (sha256 "
                f"{engine.package.sha256[:12]}..., not {str(wanted)[:12]}...); install the same on "
                "both computers."
            )
        return engine


def synthesize(run: Run) -> Event:
    """``done`` of a contrast; the volumes lie in the request's folder."""
    from MambaSynthLib.gate.admission import admit_all

    request, exchange = run.request, run.exchange
    started = time.monotonic()
    given = {contrast: exchange.load(one) for contrast, one in request["sources"].items()}
    sources = admit_all(
        given, forced=request.get("force") is True, synthetic=request.get("synthetic") is True
    )
    engine = run.loaded_engine("contrast")
    slices = request.get("slices")
    synthesis = engine.synthesize(
        sources,
        steps=request.get("steps"),
        samples=request.get("samples"),
        seed=request.get("seed", 0),
        noise=request.get("noise") or "per-slice",
        slices=tuple(slices) if slices else None,
        planes=request.get("planes") or "auto",
        pixel_mark=request.get("pixel_mark") is not False,
        progress=run.progress,
        cancelled=run.cancelled,
    )
    if run.cancelled():
        raise Cancelled
    targets = {
        contrast: exchange.save(volume, contrast) for contrast, volume in synthesis.volumes.items()
    }
    spreads = {
        contrast: exchange.save(spread, f"{contrast}-spread")
        for contrast, spread in synthesis.spreads.items()
    }
    return {
        "event": "done",
        "targets": targets,
        "spread": next(iter(spreads.values()), None),
        "spreads": spreads,
        "provenance": synthesis.provenance.to_bids(),
        "seconds": _seconds_since(started),
    }


def synthesize_cine(run: Run) -> Event:
    """``done`` of a cine; the frames lie in the request's folder."""
    from MambaSynthLib.cine.cine_record import provenance_of
    from MambaSynthLib.cine.doubts import with_doubt
    from MambaSynthLib.cine.options import CineOptions
    from MambaSynthLib.cine.timing import Timing
    from MambaSynthLib.cine.upsampling import plan, solve, upsample
    from MambaSynthLib.gate.admission import admit_cine
    from MambaSynthLib.image.cine import of_frames

    request, exchange = run.request, run.exchange
    started = time.monotonic()
    volumes = [exchange.load(one) for one in request["sources"]]
    cine = with_doubt(admit_cine(of_frames(volumes, request.get("times_ms"))))
    timeline = plan(
        cine,
        request["frames"],
        ed=request.get("ed"),
        es=request.get("es"),
        only_phases=bool(request.get("only_phases")),
    )
    timing = Timing(request["timing"]) if request.get("timing") else None
    options = CineOptions(
        refine=request.get("refine") is not False,
        timing=timing,
        pixel_mark=request.get("pixel_mark") is not False,
    )
    engine = run.loaded_engine("cine")
    solved = solve(
        engine, cine, timeline, options, progress=_scaled(run, 0), cancelled=run.cancelled
    )
    provenance = provenance_of(solved, seed=request.get("seed") or 0)
    frames = upsample(solved, progress=_scaled(run, PER_MILLE // 2), cancelled=run.cancelled)
    saved = [exchange.save(frame, f"frame-{number:04}") for number, frame in enumerate(frames)]
    phases = timeline.phases
    return {
        "event": "done",
        "frames": saved,
        "times_ms": list(timeline.times_ms),
        "acquired": [None if frame is None else frame + 1 for frame in timeline.acquired],
        "phases": {"ed": phases.ed + 1, "es": phases.es + 1, "rule": phases.rule},
        "provenance": provenance.to_bids(),
        "seconds": _seconds_since(started),
    }


def _scaled(run: Run, before: int) -> Callable[[int, int], None]:
    """One half of the progress of a cine, in thousandths: first its motion, then its frames."""

    def progress(done: int, total: int) -> None:
        half = PER_MILLE // 2
        run.progress(before + half * done // max(total, 1), PER_MILLE)

    return progress


def import_model(run: Run) -> Event:
    """``done`` of an import; a cancelled one leaves nothing, or what it was to replace."""
    from MambaSynthLib.install.importing import import_package
    from MambaSynthLib.install.offer import discard

    started = time.monotonic()
    path, scratch = Path(run.request["path"]), Path(run.request["folder"])
    replace = run.request.get("replace") is True
    try:
        package = import_package(path, scratch=scratch, replace=replace, progress=_heeded(run))
        if run.cancelled() and not replace:  # too late for the check above
            shutil.rmtree(package.folder)
            raise Cancelled
    except WouldReplace:
        raise  # the file is needed again
    except BaseException:
        discard(path)
        raise
    discard(path)
    return {
        "event": "done",
        "model": package.card.id,
        "installed": str(package.folder),
        "seconds": _seconds_since(started),
    }


def fetch(run: Run) -> Event:
    """``done`` of a download, which waits for somebody's trust."""
    from MambaSynthLib.install.offer import fetch_offer
    from MambaSynthLib.model.registry import list_models

    started = time.monotonic()
    offer = fetch_offer(run.request["address"], _heeded(run), Path(run.request["folder"]))
    card = offer.card
    former = [one.card for one in list_models() if one.card.id == card.id]
    return {
        "event": "done",
        "file": str(offer.path),
        "sha256": offer.sha256,
        "bytes": offer.size,
        "card": {
            "id": card.id, "title": card.title, "version": card.version, "license": card.license,
            "direction": card.direction, "limits": card.extra.get("limits"),
        },
        "installed": former[0].version if former else None,
        "same": bool(former) and former[0].package_sha256 == card.package_sha256,
        "seconds": _seconds_since(started),
    }  # fmt: skip


def _heeded(run: Run) -> Callable[[int, int], None]:
    """The progress of what asks nothing else whether it is cancelled."""

    def progress(done: int, total: int) -> None:
        if run.cancelled():
            raise Cancelled
        run.progress(done, total)

    return progress


def remove(run: Run) -> Event:
    """``done`` of the removal of one of the user's own models."""
    from MambaSynthLib.install.own_models import remove_model

    remove_model(run.request["model"])
    return {"event": "done", "seconds": 0.0}


def default(run: Run) -> Event:
    """``done``: a plain command takes this model for its direction from now on."""
    from MambaSynthLib.install.own_models import choose_default

    return {
        "event": "done",
        "direction": choose_default(run.request["model"]).card.direction,
        "seconds": 0.0,
    }


def _seconds_since(started: float) -> float:
    return round(time.monotonic() - started, 3)


ANSWERS: dict[str, Callable[[Run], Event]] = {
    "synthesize": synthesize,
    "cine": synthesize_cine,
    "import": import_model,
    "fetch": fetch,
    "remove": remove,
    "default": default,
}
