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
    "synthesize": {"id", "model", "sources", "folder"},
    "cine": {"id", "model", "sources", "folder", "frames"},
    "import": {"id", "path", "folder"},
    "cancel": {"id"},
}
WORDS = {str: "text", int: "a whole number", dict: "an object", list: "a list", NoneType: "null"}
KINDS: dict[str, tuple[type, ...]] = {  # of the values that are looked up or open a file
    "id": (int, str),
    "model": (str,),
    "device": (str, NoneType),
    "sources": (dict, list),
    "folder": (str,),
    "path": (str,),
    "frames": (int,),
}


def checked(line: str) -> dict[str, Any]:
    """The request in a line of input. Raises RequestError where it is none."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The line {line[:80]!r} is not JSON.") from error
    if not isinstance(request, dict) or not isinstance(request.get("do"), str):
        raise RequestError(f'The line {line[:80]!r} is not an object with a "do".')
    missing = NEEDED.get(request["do"], set()) - request.keys()
    if missing:
        raise RequestError(f"The request lacks {', '.join(sorted(missing))}.")
    for key, kinds in KINDS.items():
        if key in request and type(request[key]) not in kinds:
            wanted = " or ".join(WORDS[kind] for kind in kinds)
            raise RequestError(f"{key} is {reprlib.repr(request[key])}; give {wanted}.")
    if request.get("timing") not in (None, "linear", "cardiac"):
        raise RequestError(f"timing is {reprlib.repr(request['timing'])}; give linear or cardiac.")
    return request
