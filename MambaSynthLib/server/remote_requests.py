"""What a remote engine does for its clients, and nothing else.

A request is built anew from the keys that are known; there are none for files, folders or names.
"""

from __future__ import annotations

import json
import re

from MambaSynthLib.errors import RequestError
from MambaSynthLib.server.parcels import VOXEL
from MambaSynthLib.server.requests import LONGEST_ID, checked
from MambaSynthLib.server.wire import Attached, Head

PROTOCOL = 1
NEVER = (
    "The engine ended by itself during this run, most likely because its memory ran out; try fewer "
    "slices, or ask whoever runs it."
)
COMMON = {"do", "id", "model", "package", "device", "sources", "seed", "pixel_mark"}
KEYS = {
    "synthesize": COMMON | {"steps", "samples", "slices", "planes", "noise", "force", "synthetic"},
    "cine": COMMON | {"frames", "times_ms", "ed", "es", "only_phases", "refine", "timing"},
    "devices": {"do", "id"},
}
MODEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # as in the schema: no path
CONTRAST = re.compile(r"[A-Za-z0-9]{1,32}")


def checked_id(head: Head) -> int | str:
    """The id of a request. Raises RequestError where it has none."""
    run_id = head.get("id")
    if type(run_id) is int or isinstance(run_id, str) and len(run_id) <= LONGEST_ID:
        return run_id
    raise RequestError(f"The request has no id: a number, or up to {LONGEST_ID} letters.")


def admitted(head: Head, attached: Attached, largest: int) -> Head:
    """The request, if it is one that a remote engine takes. Raises RequestError."""
    do = str(head.get("do"))
    if do not in KEYS:
        raise RequestError(f"An engine for others does {', '.join(KEYS)}, and not this.")
    unknown = sorted(head.keys() - KEYS[do])
    if unknown:
        raise RequestError(f"An engine for others takes no {', '.join(unknown)[:80]} with {do}.")
    request: Head = checked(json.dumps(head), in_memory=True)
    if do == "devices":
        return request
    _check_sources(request, do, attached)
    if do == "cine":
        _check_frames(request["frames"], max(map(len, attached)), largest)
    return request


def _check_sources(request: Head, do: str, attached: Attached) -> None:
    """Raises RequestError."""
    if not MODEL.fullmatch(request["model"]):
        raise RequestError("The model is no id of a model; folders of the engine are not named.")
    sources = request["sources"]
    if isinstance(sources, dict) != (do == "synthesize") or not 0 < len(sources) == len(attached):
        raise RequestError("Each source needs its voxels attached, and nothing else is taken.")
    if do == "synthesize" and not all(CONTRAST.fullmatch(contrast) for contrast in sources):
        raise RequestError("A source has a name that is no contrast.")


def _check_frames(frames: int, size: int, largest: int) -> None:
    """The result of a cine is as large as was asked for. Raises RequestError."""
    most = largest // max(size, VOXEL.itemsize)
    if frames > most:
        raise RequestError(
            f"frames is {frames}; with volumes of this size this engine makes up to {most}."
        )


def request_of(request: Head, volumes: Head) -> Head:
    """What is sent of a request whose keys may be more than a remote engine takes."""
    kept = KEYS[request["do"]]
    return {key: value for key, value in request.items() if key in kept} | volumes
