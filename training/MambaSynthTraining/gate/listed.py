"""A list of volumes for the gate: one line a volume, tabs between the columns.

| column            | meaning                                                                    |
|-------------------|----------------------------------------------------------------------------|
| id, person        | of the volume, and whose it is: a person is in one part only               |
| part              | train: learned from; choose: thresholds are chosen on it; score: neither   |
| anatomy           | head, brain, heart or other; ``labels``: a label map that phantoms are     |
|                   | computed of                                                                |
| contrast          | as the gate names it (``questions.CONTRASTS``); - where there is none      |
| path              | relative to the folder of the data; ``FILE.npz#A:B`` are stacks A to B-1   |
|                   | of a set of short-axis hearts, a 4-D file is a cine                        |
| license, citation | for the card                                                               |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.files import read_volume
from MambaSynthTraining.data.heart_stacks import read_stacks
from MambaSynthTraining.data.list_file import check_parts, read_lines

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
    names = [field.name for field in fields(Row)]
    example = "training/recipes/gate/open-volumes.tsv"
    lines = read_lines(path, names, of="volumes", one="volume", example=example)
    rows = [Row(**line) for line in lines]
    check_parts(path, rows, PARTS, ANATOMIES)
    return rows


def volumes_of(row: Row, data: Path) -> Iterator[Volume]:
    """The volumes of a line that is no label map. Raises FileError, VolumeError."""
    file, _, chosen = row.path.partition("#")
    path = data / file
    if chosen:
        first, end = map(int, chosen.split(":"))
        for number, stack in enumerate(read_stacks(path)[first:end], first):
            slices, height, width = stack.spacing_mm
            array = np.moveaxis(stack.images, 0, -1)
            yield Volume(array, np.diag([-height, -width, slices, 1.0]), f"{row.id}-{number}")
    elif row.anatomy == "heart":
        yield from read_cine(path).frames[::EVERY_FRAME]
    else:
        yield read_volume(path)
