"""Is a line of the parent a request? ``serve.py`` describes what each of them is.

A line may hold any bytes; only what a run can work with comes out of here.
"""

from __future__ import annotations

import json
import reprlib
from types import NoneType
from typing import Any

from MambaSynthLib.errors import RequestError

NEEDED = {  # keys of a request
    "synthesize": {"id", "model", "sources"},
    "cine": {"id", "model", "sources", "frames"},
    "import": {"id", "path"},
    "fetch": {"id", "address"},
    "remove": {"id", "model"},
    "default": {"id", "model"},
    "cancel": {"id"},
}
WITH_FOLDER = NEEDED.keys() - {"cancel"}  # where volumes do not travel in memory
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false",
         dict: "an object", list: "a list", NoneType: "null"}  # fmt: skip
KINDS: dict[str, tuple[type, ...]] = {
    "id": (int, str),
    "model": (str,),
    "device": (str, NoneType),
    "folder": (str,),
    "path": (str,),
    "address": (str,),
    "frames": (int,),
    **dict.fromkeys(("slices", "times_ms"), (list, NoneType)),
    **dict.fromkeys(("steps", "samples", "seed", "ed", "es"), (int, NoneType)),
    **dict.fromkeys(
        ("force", "refine", "only_phases", "synthetic", "pixel_mark", "replace"), (bool, NoneType)
    ),
    **dict.fromkeys(("noise", "package", "planes"), (str, NoneType)),
}
SOURCES: dict[str, type] = {"synthesize": dict, "cine": list}
INNER: dict[str, tuple[type, ...]] = {  # kinds of the entries of a list, or values of an object
    "sources": (str,),
    "slices": (int,),
    "times_ms": (int, float),
}
LONGEST_ID = 64  # letters: every answer repeats it
LARGEST = 2**63  # that a number may be; NaN is not below it either


def checked(line: str, in_memory: bool = False) -> dict[str, Any]:
    """The request in a line of input. Raises RequestError where it is none."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The line {line[:80]!r} is not JSON.") from error
    if not isinstance(request, dict) or not isinstance(request.get("do"), str):
        raise RequestError(f'The line {line[:80]!r} is not an object with a "do".')
    needed = NEEDED.get(request["do"], set())
    if request["do"] in WITH_FOLDER and not in_memory:
        needed = needed | {"folder"}
    missing = needed - request.keys()
    if missing:
        raise RequestError(f"The request lacks {', '.join(sorted(missing))}.")
    for key, kinds in KINDS.items():
        if key in request:
            _check_kind(key, request[key], kinds)
    if isinstance(request.get("id"), str) and len(request["id"]) > LONGEST_ID:
        length = len(request["id"])
        raise RequestError(f"The id has {length} letters; give a number, or up to {LONGEST_ID}.")
    if request["do"] in SOURCES:
        _check_kind("sources", request["sources"], (SOURCES[request["do"]],))
    inner_kinds = INNER | ({"sources": (dict,)} if in_memory else {})
    for key, kinds in inner_kinds.items():
        for inner in _entries(request.get(key)):
            _check_kind(f"an entry of {key}", inner, kinds)
    if request.get("slices") and len(request["slices"]) != 2:
        raise RequestError(f"slices is {reprlib.repr(request['slices'])}; give [first, end].")
    if request.get("timing") not in (None, "linear", "cardiac"):
        raise RequestError(f"timing is {reprlib.repr(request['timing'])}; give linear or cardiac.")
    return request


def _check_kind(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    too_large = isinstance(value, int | float) and not abs(value) < LARGEST
    if type(value) not in kinds or too_large:
        wanted = " or ".join(WORDS[kind] for kind in kinds)
        raise RequestError(f"{name} is {reprlib.repr(value)}; give {wanted}.")


def _entries(value: Any) -> list[Any]:
    return list(value.values() if isinstance(value, dict) else value or ())
