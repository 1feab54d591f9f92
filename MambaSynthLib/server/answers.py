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

from MambaSynthLib.errors import Cancelled

Event = dict[str, Any]

PER_MILLE = 1000


@dataclass(frozen=True)
class Run:
    """A request under way, and what its answer needs of the server."""

    request: Mapping[str, Any]
    engine: Callable[[str, str, str], Any]  # (task, model id or folder, device) -> loaded engine
    progress: Callable[[int, int], None]  # (done, total)
    cancelled: Callable[[], bool]

    def loaded_engine(self, task: str) -> Any:
        """The engine of the model and the device that the request names."""
        return self.engine(task, self.request["model"], self.request.get("device") or "auto")


def synthesize(run: Run) -> Event:
    """``done`` of a contrast; the volumes lie in the request's folder."""
    from MambaSynthLib.gate.admission import admit_all
    from MambaSynthLib.server.exchange import load_volume, save_volume

    request = run.request
    started = time.monotonic()
    given = {contrast: load_volume(file) for contrast, file in request["sources"].items()}
    sources = admit_all(given, forced=request.get("force") is True)
    engine = run.loaded_engine("contrast")
    slices = request.get("slices")
    synthesis = engine.synthesize(
        sources,
        steps=request.get("steps"),
        samples=request.get("samples"),
        seed=request.get("seed", 0),
        slices=tuple(slices) if slices else None,
        pixel_mark=request.get("pixel_mark") is not False,
        progress=run.progress,
        cancelled=run.cancelled,
    )
    if run.cancelled():
        raise Cancelled
    folder = Path(request["folder"])
    targets = {
        contrast: save_volume(volume, folder / f"{contrast}.npz")
        for contrast, volume in synthesis.volumes.items()
    }
    spreads = [
        save_volume(spread, folder / f"{contrast}-spread.npz")
        for contrast, spread in synthesis.spreads.items()
    ]
    return {
        "event": "done",
        "targets": {contrast: str(file) for contrast, file in targets.items()},
        "spread": str(spreads[0]) if spreads else None,
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
    from MambaSynthLib.server.exchange import load_volume, save_volume

    request = run.request
    started = time.monotonic()
    volumes = [load_volume(file) for file in request["sources"]]
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
    folder = Path(request["folder"])
    files = [
        save_volume(frame, folder / f"frame-{number:04}.npz") for number, frame in enumerate(frames)
    ]
    phases = timeline.phases
    return {
        "event": "done",
        "frames": [str(file) for file in files],
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
    """``done`` of an import; a cancelled one leaves nothing."""
    from MambaSynthLib.install.importing import import_package

    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        if run.cancelled():
            raise Cancelled
        run.progress(done, total)

    path, scratch = Path(run.request["path"]), Path(run.request["folder"])
    package = import_package(path, scratch=scratch, progress=progress)
    if run.cancelled():  # too late for the check above
        shutil.rmtree(package.folder)
        raise Cancelled
    return {
        "event": "done",
        "model": package.card.id,
        "installed": str(package.folder),
        "seconds": _seconds_since(started),
    }


def _seconds_since(started: float) -> float:
    return round(time.monotonic() - started, 3)


ANSWERS: dict[str, Callable[[Run], Event]] = {
    "synthesize": synthesize,
    "cine": synthesize_cine,
    "import": import_model,
}
