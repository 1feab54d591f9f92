"""A list of volumes for the gate: one line a volume, tabs between the columns.

| column            | meaning                                                                    |
|-------------------|----------------------------------------------------------------------------|
| id, person        | of the volume, and whose it is: a person is in one part only               |
| part              | train: learned from; choose: thresholds are chosen on it; score: neither   |
| anatomy           | head, brain, heart or other; ``labels``: a label map that phantoms are     |
|                   | computed of                                                                |
| contrast          | as the gate names it (``questions.CONTRASTS``); - where there is none      |
| path              | relative to a folder of data; ``FILE.npz#A:B`` are stacks A to B-1 of a    |
|                   | set of short-axis hearts, a 4-D file is a cine                             |
| license, citation | for the card                                                               |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.files import read_volume
from MambaSynthTraining.data.heart_stacks import read_stacks
from MambaSynthTraining.data.list_file import check_parts, read_volumes

PARTS = ("train", "choose", "score")
ANATOMIES = ("head", "brain", "heart", "other", "labels")
EVERY_FRAME = 8  # of a cine: its neighbors look alike


@dataclass(frozen=True)
class Row:
    """One line of the list."""

    id: str
    person: str
    part: str
    anatomy: str
    contrast: str
    path: str
    license: str
    citation: str


def read_list(path: Path) -> list[Row]:
    """The lines of a list.

    Raises FileError: it cannot be read, a column or value is not as above, or a person is in two
    parts.
    """
    example = "training/recipes/gate/open-volumes.tsv"
    return read_volumes(path, Row, PARTS, ANATOMIES, example)


def read_lists(paths: Sequence[Path]) -> list[list[Row]]:
    """The lines of several lists. Raises FileError as ``read_list``, also for a person in two."""
    lists = [read_list(path) for path in paths]
    check_parts(paths[-1], [row for rows in lists for row in rows], PARTS, ANATOMIES)
    return lists


def file_of(row: Row, folders: Sequence[Path]) -> Path:
    """The file of a line, in the first folder that has it. Raises FileError: none has."""
    file = row.path.partition("#")[0]
    for folder in folders:
        if (folder / file).exists():
            return folder / file
    raise FileError(
        f"{file}: is in none of the folders {', '.join(map(str, folders))}; name the one that has "
        f"it too, or leave the line {row.id} out of the list. It is of: {row.citation}."
    )


def volumes_of(row: Row, folders: Sequence[Path]) -> Iterator[Volume]:
    """The volumes of a line that is no label map. Raises FileError, VolumeError."""
    path = file_of(row, folders)
    if chosen := row.path.partition("#")[2]:
        first, end = map(int, chosen.split(":"))
        for number, stack in enumerate(read_stacks(path)[first:end], first):
            slices, height, width = stack.spacing_mm
            array = np.moveaxis(stack.images, 0, -1)
            yield Volume(array, np.diag([-height, -width, slices, 1.0]), f"{row.id}-{number}")
    elif row.anatomy == "heart":
        yield from read_cine(path).frames[::EVERY_FRAME]
    else:
        yield read_volume(path)
