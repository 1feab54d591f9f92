"""What stands beside a mask: which model found it, and in what. A BIDS sidecar of a mask.

A mask is a label map of an acquired image, not a synthetic image, so it carries no such mark.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from MambaSynthLib import __version__
from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import sha256_of
from MambaSynthLib.io.marks import read_record, sidecar_of
from MambaSynthLib.io.payload import shown
from MambaSynthLib.mask.engine import MaskEngine, Masks

DESCRIPTIONS = {
    "brain": "1 in the brain with the fluid in and close around it, 0 elsewhere",
    "head": "1 in the head or what is left of it, air in its cavities included, 0 elsewhere",
}


def record_of(kind: str, masks: Masks, engine: MaskEngine, source: Volume) -> dict[str, Any]:
    """The sidecar of the mask of ``kind`` (brain, head)."""
    card = engine.card
    places = {
        "Device": ", ".join(place.device for place in engine.places),
        "Precision": ", ".join(place.precision for place in engine.places),
    }
    record: dict[str, Any] = {
        "Type": kind.capitalize(),
        "Description": DESCRIPTIONS[kind],
        "Milliliters": round(masks.milliliters(kind), 1),
        "Shows": masks.shows,
        "GeneratedBy": [{"Name": "MambaSynth", "Version": __version__}],
        "Sources": [source.name],
        "SourceSHA256": sha256_of(source),
        "Method": card.method,
        "Model": card.id,
        "ModelVersion": card.version,
        "WeightsSHA256": card.weights_sha256,
        "PackageSHA256": card.package_sha256,
        "Backend": engine.backend,
        **places,
    }
    return record | ({"Warnings": list(source.notes)} if source.notes else {})


def check_sidecar(path: Path, overwrite: bool) -> Path:
    """The sidecar's place. Raises FileError where something else, or an older one, is there."""
    sidecar = sidecar_of(path)
    if not sidecar.exists() and not sidecar.is_symlink():
        return sidecar
    if read_record(sidecar).get("Description") not in DESCRIPTIONS.values():
        raise FileError(
            f"{shown(path)}: would replace {shown(sidecar)}, which describes another image; choose "
            "another output name."
        )
    if not overwrite:
        raise FileError(
            f"{shown(sidecar)}: exists already; choose another name or use --overwrite."
        )
    return sidecar
