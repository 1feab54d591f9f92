"""``Info.cfg`` of the ACDC data set, which lies beside a patient's images and names ED and ES.

Source: the data set's description (Bernard et al., IEEE TMI 2018): lines ``key: value`` with the
keys ED, ES (frame numbers from 1), Group, Height, NbFrame, Weight.
"""

from __future__ import annotations

from pathlib import Path

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.payload import opened, shown

INFO = "Info.cfg"
KEYS = ("ED", "ES", "NbFrame")
MOST_DIGITS = 9
LARGEST = 2**16  # bytes


def phases_beside(image: Path, frames: int) -> tuple[tuple[int, int, str] | None, tuple[str, ...]]:
    """Frame indices (ED, ES) from 0 and how they are known, or None; and named warnings.

    A file that is made for another number of frames is not believed, with a note.
    Raises FileError where ``Info.cfg`` is there but names no two frames of the cine, or numbers
    that no cine has.
    """
    path = image.parent / INFO
    if not path.is_file():
        return None, ()
    found = _numbers(path)
    stated = found.get("NbFrame", frames)
    if stated != frames:
        note = f"{INFO} not used: it states {stated} frames, but the cine has {frames}"
        return None, (note,)
    ed, es = found.get("ED", 0), found.get("ES", 0)
    if not (1 <= ed <= frames and 1 <= es <= frames and ed != es):
        raise FileError(
            f"{shown(path)}: states ED {ed} and ES {es}, but two different frames from 1 to "
            f"{frames} are needed; correct it, or move it elsewhere and use --ed and --es."
        )
    return (ed - 1, es - 1, INFO), ()


def _numbers(path: Path) -> dict[str, int]:
    with opened(path) as stream:
        text = stream.read(LARGEST).decode("utf-8", "replace")
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if key not in KEYS or not value.isdecimal():
            continue
        if len(value) > MOST_DIGITS:
            raise FileError(
                f"{shown(path)}: states a number of {len(value)} digits for {key}; correct it, or "
                "move it elsewhere and use --ed and --es."
            )
        found[key] = int(value)
    return found
