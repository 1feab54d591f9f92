"""A list of registered or registrable pairs of heads: one line a pair, tabs between the columns.

| column              | meaning                                                                  |
|---------------------|--------------------------------------------------------------------------|
| id, person          | of the pair, and whose it is: a person is left out as a whole            |
| share               | how often it is drawn, relative to the others                            |
| source, target      | the two volumes, relative to the folder of the data; no target: a T1w    |
|                     | head that teaches what lies around its brain (``head_necks``); no        |
|                     | source: a T2w head whose T1w a model makes (``source_model``)            |
| skull               | yes: whole heads, which may be written without skull, too; no: brains    |
| source_to_common,   | texts of ITK affine transforms that bring each volume to a third one;    |
| target_to_common    | empty where both lie on one grid                                         |
| lesions             | labels of what the source need not show (tumors); it is learned less     |
| license, citation   | for the card                                                             |
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import FileError
from MambaSynthTraining.data.list_file import read_lines

SKULL = ("yes", "no")
LESIONED = 3  # times that a brain is written with further lesions


@dataclass(frozen=True)
class HeadPair:
    """One line of the list; paths as written there, '' where there is none."""

    id: str
    person: str
    share: float
    source: str
    target: str
    skull: str
    source_to_common: str
    target_to_common: str
    lesions: str
    license: str
    citation: str

    @property
    def about(self) -> dict[str, Any]:
        """What the list says of a head that no voxel depends on."""
        names = ("person", "share", "license", "citation")
        return {name: getattr(self, name) for name in names}

    @property
    def is_acquired(self) -> bool:
        """Whether both of its volumes are."""
        return bool(self.source and self.target)

    @property
    def has_skull(self) -> bool:
        """Whether it is a pair of whole heads, which may be written without skull, too."""
        return bool(self.target) and self.skull == "yes"

    @property
    def stripped_id(self) -> str:
        return f"{self.id}-brain"

    @property
    def is_brain(self) -> bool:
        """Whether it is an acquired pair that has lost its skull."""
        return self.is_acquired and self.skull == "no"

    def transplant_id(self, host: HeadPair) -> str:
        """Of the brain in another head."""
        return f"{self.id}-in-{host.id}"

    @property
    def lesioned_ids(self) -> list[str]:
        """Of a stripped pair with the lesions of other people."""
        return [f"{self.id}-lesions-{k}" for k in range(LESIONED)]


def read_list(path: Path) -> list[HeadPair]:
    """The pairs of a list.

    Raises FileError: it cannot be read, lacks a column, a share is no positive number, a skull
    neither yes nor no, an id no name of a file or that of two heads, both volumes are missing,
    or one of two texts.
    """
    example = "training/recipes/heads/open-heads.tsv"
    rows = read_lines(path, HeadPair, of="heads", one="pair", example=example)
    pairs = [_pair(path, row) for row in rows]
    _check_ids(path, pairs)
    return pairs


def _pair(path: Path, row: dict[str, str]) -> HeadPair:
    try:
        share = float(row.pop("share"))
    except ValueError:
        share = 0.0
    if not (share > 0 and math.isfinite(share)):
        raise FileError(f"{path}: the share of {row['id']} is no positive number; correct it.")
    pair = HeadPair(share=share, **row)
    if not (pair.source or pair.target):
        raise FileError(
            f"{path}: {pair.id} has neither source nor target; name a volume, or remove its line."
        )
    if pair.skull not in SKULL:
        raise FileError(
            f"{path}: the skull of {pair.id} is {pair.skull!r}; give yes for whole heads, no for "
            "brains."
        )
    if bool(pair.source_to_common) != bool(pair.target_to_common):
        raise FileError(
            f"{path}: {pair.id} has one of source_to_common and target_to_common; give both, or "
            "none where its volumes lie on one grid."
        )
    return pair


def _check_ids(path: Path, pairs: Iterable[HeadPair]) -> None:
    """Files are named by them: two heads of one id would be one, whoever is left out."""
    taken: set[str] = set()
    for pair in pairs:
        if pair.id in ("", ".", "..") or Path(pair.id).name != pair.id:
            raise FileError(f"{path}: the id {pair.id!r} can name no file; give another one.")
        names = {pair.id, *([pair.stripped_id] if pair.has_skull else pair.lesioned_ids)}
        if twice := sorted(taken & names):
            raise FileError(f"{path}: two heads would be {twice[0]}; give one another id.")
        taken |= names
