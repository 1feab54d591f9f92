"""``mambasynth synthesize --engine``: the same on the engine of another computer."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from MambaSynthLib.commands import console
from MambaSynthLib.engine import Synthesis
from MambaSynthLib.errors import RefusedInput, RequestError
from MambaSynthLib.gate.admission import BY_OPTION
from MambaSynthLib.provenance import Provenance

if TYPE_CHECKING:
    from MambaSynthLib.image.volume import Volume
    from MambaSynthLib.model.package import ModelPackage
    from MambaSynthLib.server.remote import Remote


def synthesize_remotely(
    options: argparse.Namespace,
    remote: Remote,
    package: ModelPackage,
    given: dict[str, Volume],
) -> tuple[Synthesis, float]:
    """On another computer, whose input gate answers, too; and how many seconds it took."""
    if options.batch is not None or options.backend != "auto":
        raise RequestError("--batch and --backend are the engine's choice; leave them out.")
    request = {
        "do": "synthesize", "model": package.card.id, "package": package.sha256,
        "device": options.device, "steps": options.steps, "samples": options.samples,
        "seed": options.seed, "noise": options.noise, "slices": options.slices,
        "force": options.force, "synthetic": options.allow_synthetic_input,
        "pixel_mark": options.pixel_mark,
    }  # fmt: skip
    if options.planes != "auto":  # of which engines of earlier versions know nothing
        request["planes"] = options.planes
    started = time.monotonic()
    with console.slice_progress(f"synthesizing {options.to} on {remote.name}") as progress:

        def say(event: dict[str, Any]) -> None:
            if event["event"] == "progress":
                progress(event["done"], event["total"])
            elif event["event"] == "queued":
                console.note(f"waiting for the engine; {event['before']} come first")

        try:
            event = remote.ask(request, given, say=say)
        except RefusedInput as error:
            raise RefusedInput(f"{str(error).rstrip('.')}, or {BY_OPTION}.") from error
    provenance = Provenance.from_bids(event["provenance"])
    for warning in provenance.warnings:
        console.note(f"warning: {provenance.source_name}: {warning}")
    return Synthesis(event["targets"], provenance, event["spreads"]), time.monotonic() - started
