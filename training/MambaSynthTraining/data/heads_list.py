"""A list of registered or registrable pairs of heads: one line a pair, tabs between the columns.

| column              | meaning                                                                  |
|---------------------|--------------------------------------------------------------------------|
| id, person          | of the pair, and whose it is: a person is left out as a whole            |
| share               | how often it is drawn, relative to the others                            |
| source, target      | the two volumes, relative to the folder of the data; no target: a T1w    |
|                     | head that teaches only what lies below the skull base (``head_necks``)   |
| source_to_common,   | texts of ITK affine transforms that bring each volume to a third one;    |
| target_to_common    | empty where both lie on one grid                                         |
| lesions             | labels of what the source need not show (tumors); it is learned less     |
| license, citation   | for the card                                                             |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MambaSynthLib.errors import FileError
from MambaSynthTraining.data.list_file import read_lines


@dataclass(frozen=True)
class HeadPair:
    """One line of the list; paths as written there, '' where there is none."""

    id: str
    person: str
    share: float
    source: str
    target: str
    source_to_common: str
    target_to_common: str
    lesions: str
    license: str
    citation: str


def read_list(path: Path) -> list[HeadPair]:
    """The pairs of a list.

    Raises FileError: it cannot be read, lacks a column, or a share is no positive number.
    """
    example = "training/recipes/heads/open-heads.tsv"
    rows = read_lines(path, HeadPair, of="heads", one="pair", example=example)
    return [_pair(path, row) for row in rows]


def _pair(path: Path, row: dict[str, str]) -> HeadPair:
    try:
        share = float(row.pop("share"))
    except ValueError:
        share = 0.0
    if not share > 0:
        raise FileError(f"{path}: the share of {row['id']} is no positive number; correct it.")
    return HeadPair(share=share, **row)
