"""Is this image synthetic, and by what? Marks in the file, beside it, and in its name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.decoded import Words
from MambaSynthLib.io.formats import suffix_of
from MambaSynthLib.io.payload import printable, shown
from MambaSynthLib.provenance import MARK, TAG_PREFIX, Provenance

MOST_SIDECAR = 2**20  # bytes
OUR_TITLE = re.compile(r"SYNTHETIC .* from .*, not for diag")  # of a DICOM series, perhaps cut
WORD = re.compile(r"(?<![a-z])synthetic(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class SyntheticMark:
    """Why an image counts as synthetic.

    Parameters
    ----------
    where: the place of the mark, e.g. ``NIfTI header extension 1`` or ``sidecar x.json``.
    provenance: our full record, or None for a bare mark or one of another program.
    text: the mark in words.
    certain: False for a mere hint, which warns but does not refuse.
    """

    where: str
    provenance: Provenance | None
    text: str
    certain: bool = True


def sidecar_of(path: Path) -> Path:
    """``<stem>.json`` beside the image."""
    return path.with_name(path.name[: len(path.name) - len(suffix_of(path))] + ".json")


def mark_of(path: Path, words: Words, record: Mapping[str, Any]) -> SyntheticMark | None:
    """The mark of an image: its own first, then that of its sidecar, then its name."""
    if words.tags:
        mark = mark_in_tags(words.where, words.tags)
    else:
        mark = mark_in_texts(words.texts)
    return mark or _mark_of_record(path, record) or mark_in_name(path)


def mark_in_texts(texts: Mapping[str, str]) -> SyntheticMark | None:
    """The best mark among named texts: a full record before a bare word."""
    bare = None
    for where, text in texts.items():
        record = parsed(text)
        if record.get("Synthetic") is True:
            return mark_from_record(where, record)
        if bare is None and WORD.search(text):
            bare = SyntheticMark(where, None, printable(text[:200]))
    return bare


def mark_in_tags(where: str, tags: Mapping[str, str]) -> SyntheticMark | None:
    """The mark among flat key/values."""
    if any(key.startswith(TAG_PREFIX) for key in tags):
        try:
            provenance = Provenance.from_tags(tags)
        except FileError as error:
            return SyntheticMark(where, None, f"{MARK}, but {error}")
        return SyntheticMark(where, provenance, printable(provenance.sentence()))
    said = {key: value for key, value in tags.items() if value.lower() not in ("false", "no", "0")}
    return mark_in_texts({f"{where} {key}": f"{key} {value}" for key, value in said.items()})


def mark_in_sidecar(path: Path) -> SyntheticMark | None:
    """The mark in ``<stem>.json`` beside ``path``, also of other programs (Synthetic: true)."""
    return _mark_of_record(path, read_record(sidecar_of(path)))


def _mark_of_record(path: Path, record: Mapping[str, Any]) -> SyntheticMark | None:
    return _mark_in_record(f"sidecar {shown(sidecar_of(path))}", record)


def _mark_in_record(where: str, record: Mapping[str, Any]) -> SyntheticMark | None:
    """The mark of a BIDS sidecar, or what dcm2niix copied into one from a synthetic header."""
    if record.get("Synthetic") is True:
        return mark_from_record(where, record)
    kinds, title = record.get("ImageType"), record.get("SeriesDescription")
    marked = isinstance(kinds, list) and "SYNTHETIC" in kinds
    if marked or isinstance(title, str) and OUR_TITLE.match(title):
        return SyntheticMark(where, None, "converted from DICOM that was marked as synthetic")
    return None


def mark_in_sidecar_itself(stream: BinaryIO, name: str) -> SyntheticMark | None:
    """The mark in a ``.json`` file. Raises FileError for what is no JSON object."""
    data = stream.read(MOST_SIDECAR + 1)
    record = parsed(data) if len(data) <= MOST_SIDECAR else {}
    if not record:
        raise FileError(f"{name}: is no JSON sidecar; check what the file is.")
    return _mark_in_record(name, record)


def mark_in_name(path: Path) -> SyntheticMark | None:
    """A hint, no more: names are given by people."""
    if WORD.search(path.name):
        hint = "the file name says synthetic, but the file holds no mark"
        return SyntheticMark("file name (a hint only)", None, hint, certain=False)
    return None


def mark_from_record(where: str, record: Mapping[str, Any]) -> SyntheticMark:
    try:
        provenance = Provenance.from_bids(record)
    except FileError:
        return SyntheticMark(where, None, "marked as synthetic, but not by MambaSynth")
    return SyntheticMark(where, provenance, printable(provenance.sentence()))


def read_record(sidecar: Path) -> dict[str, Any]:
    """The JSON object in a sidecar; {} where there is none or it is no JSON object."""
    try:
        if not sidecar.is_file() or sidecar.stat().st_size > MOST_SIDECAR:
            return {}
        return parsed(sidecar.read_bytes())
    except (OSError, ValueError):
        return {}


def parsed(text: str | bytes) -> dict[str, Any]:
    """``text`` as a JSON object, or {}."""
    try:
        record = json.loads(text if isinstance(text, str) else text.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
