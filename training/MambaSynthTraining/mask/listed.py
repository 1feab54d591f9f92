"""A list of volumes for masks: one line a volume, tabs between the columns.

| column            | meaning                                                                    |
|-------------------|----------------------------------------------------------------------------|
| id, person        | of the volume, and whose it is: a person is in one part only               |
| part              | train: learned from; score: not                                            |
| anatomy           | head; brain: without its skull; ``labels``: a label map that phantoms are  |
|                   | computed of                                                                |
| contrast          | T1w, T2w, FLAIR, ...; - for label maps                                     |
| path              | relative to the folder of the data                                         |
| mask              | of a head: ``teacher``; the path of one, on any grid of the same space; or |
|                   | ``of ID``: that of another line, moved here                                |
| to_common         | text of an ITK affine transform that brings the volume to the space that   |
|                   | the lines of one head share; empty where it lies in it                     |
| license, citation | for the card                                                               |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MambaSynthLib.errors import FileError
from MambaSynthTraining.data.list_file import read_volumes

PARTS = ("train", "score")
ANATOMIES = ("head", "brain", "labels")
TEACHER, OF = "teacher", "of "


@dataclass(frozen=True)
class Row:
    """One line of the list."""

    id: str
    person: str
    part: str
    anatomy: str
    contrast: str
    path: str
    mask: str
    to_common: str
    license: str
    citation: str

    @property
    def owner(self) -> str:
        """The id of the line whose mask this one has."""
        return self.mask.removeprefix(OF) if self.mask.startswith(OF) else self.id


def read_list(path: Path) -> list[Row]:
    """The lines of a list.

    Raises FileError: it cannot be read, a column or value is not as above, a person is in two
    parts, an id is that of two lines or can name no file, or a mask is that of no line.
    """
    example = "training/recipes/masks/open-volumes.tsv"
    rows = read_volumes(path, Row, PARTS, ANATOMIES, example)
    owners = {row.id for row in rows if row.mask and not row.mask.startswith(OF)}
    ids = [row.id for row in rows]
    for row in rows:
        if ids.count(row.id) > 1 or Path(row.id).name != row.id or not row.id:
            raise FileError(
                f"{path}: the id {row.id!r} is that of two lines or can name no file, and masks "
                "are kept by it; give another one."
            )
        if row.anatomy == "head" and row.owner not in owners:
            raise FileError(
                f"{path}: {row.id} is a head with the mask {row.mask!r}; give '{TEACHER}', the "
                f"path of one, or '{OF}ID' with the id of a line that has one of these."
            )
    return rows
