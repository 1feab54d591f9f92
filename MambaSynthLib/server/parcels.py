"""Volumes on their way to another computer and back: voxels and geometry, and no word of text.

The name and the notes of a volume may hold a patient's. They stay here: the engine gets numbers
for them and sees placeholders, such as ``<1>``; wherever these stand in its answer, in a message, a
warning or the record of origin, the texts are put back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.volume import Volume

VOXEL = np.dtype("<f4")
MOST_TEXTS = 10_000
PLACEHOLDER = re.compile(r"<(\d{1,5})>")

Head = dict[str, Any]
Voxels = Sequence[bytes | bytearray]


def texts_of(volumes: Iterable[Volume]) -> list[str]:
    """All names and notes, each once; the number of one is its place here."""
    return list(dict.fromkeys(text for one in volumes for text in (one.name, *one.notes)))


def put_back(value: Any, texts: Sequence[str]) -> Any:
    """``value`` of JSON with each placeholder in it replaced by its text."""

    def text_of(match: re.Match[str]) -> str:
        number = int(match[1])
        return texts[number] if number < len(texts) else match[0]

    return each(value, str, lambda text: PLACEHOLDER.sub(text_of, text))


def each(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """``value`` of JSON with ``change`` of each part of that kind in its place."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, list):
        return [each(item, kind, change) for item in value]
    if isinstance(value, dict):
        return {key: each(item, kind, change) for key, item in value.items()}
    return value


def voxels_of(volume: Volume) -> memoryview:
    """Float32, little-endian, the last index fastest."""
    array = np.ascontiguousarray(volume.array, VOXEL)
    return array.data.cast("B")


def source_head(volume: Volume, index: int, texts: Sequence[str]) -> Head:
    """What an engine is told of a volume whose voxels are attachment ``index``."""
    notes = [texts.index(note) for note in volume.notes]
    return _head(volume, index) | {"name": texts.index(volume.name), "notes": notes}


def source_of(head: Any, voxels: Voxels) -> Volume:
    """Undo ``source_head``, with placeholders for texts.

    Raises
    ------
    RequestError: it is none, or does not fit the voxels. VolumeError: no grid.
    """
    if not isinstance(head, dict):
        raise RequestError("A volume is not an object with shape, affine and attached.")
    name, notes = head.get("name"), head.get("notes", [])
    numbers = [name, *(notes if isinstance(notes, list) else [None])]
    if not all(type(number) is int and 0 <= number < MOST_TEXTS for number in numbers):
        raise RequestError("The name and the notes of a volume are no numbers of texts.")
    first, *others = (f"<{number}>" for number in numbers)
    return Volume(*_grid(head, voxels), first, tuple(others))


def result_head(volume: Volume, index: int) -> Head:
    """What a client is told of a volume; its texts have come from there."""
    return _head(volume, index) | {"name": volume.name, "notes": list(volume.notes)}


def result_of(head: Head, voxels: Voxels) -> Volume:
    """Undo ``result_head``. Raises RequestError, VolumeError."""
    notes = tuple(str(note) for note in head.get("notes", []))
    return Volume(*_grid(head, voxels), str(head.get("name")), notes)


def _head(volume: Volume, index: int) -> Head:
    return {"shape": list(volume.shape), "affine": volume.affine.tolist(), "attached": index}


def _grid(head: Head, voxels: Voxels) -> tuple[Any, Any]:
    """The array and the affine. Raises RequestError."""
    shape, index = head.get("shape"), head.get("attached")
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int for n in shape):
        raise RequestError("A volume has no shape of three whole numbers.")
    if type(index) is not int or not 0 <= index < len(voxels):
        raise RequestError("A volume has no voxels attached.")
    data = voxels[index]
    if min(shape) < 1 or shape[0] * shape[1] * shape[2] * VOXEL.itemsize != len(data):
        raise RequestError(f"A volume of {shape} voxels came with {len(data)} bytes.")
    try:
        affine = np.array(head.get("affine"), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RequestError("The affine of a volume is no table of numbers.") from error
    return np.frombuffer(data, VOXEL).reshape(shape), affine
