"""The parts of a README that commands write: what stands between two marks.

    <!-- made by: COMMAND --> ... <!-- /made -->     numbers that COMMAND prints
    <!-- from: SOURCE --> ... <!-- /from -->         numbers of others, and settings: not measured

The marks of a block that a command writes stand on lines of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.atomic import write_whole

MADE, FROM = "made by", "from"
_BLOCK = re.compile(
    r"<!-- (?P<kind>made by|from): (?P<source>[^>]+?) -->(?P<text>.*?)<!-- /(?P<end>made|from) -->",
    re.DOTALL,
)
_MARK = re.compile(r"<!-- (?:(?:made by|from): [^>]+?|/made|/from) -->")


@dataclass(frozen=True)
class Block:
    """One marked part: ``source`` is the command, or where the numbers are taken from."""

    kind: str  # MADE or FROM
    source: str
    text: str


def blocks_of(text: str, where: str) -> list[Block]:
    """The marked parts of ``text`` in their order.

    Raises FileError where a mark has no partner, or another kind of partner.
    """
    found = [*_BLOCK.finditer(text)]
    for match in found:
        if match["end"] != match["kind"].partition(" ")[0] or _MARK.search(match["text"]):
            raise FileError(f"{where}: the mark of '{match['source']}' is not closed by its own.")
    if 2 * len(found) != len(_MARK.findall(text)):
        raise FileError(f"{where}: holds a mark without its partner; compare its <!-- and /made.")
    return [Block(match["kind"], match["source"], match["text"].strip()) for match in found]


def without_blocks(text: str) -> str:
    """``text`` with each marked part taken out."""
    return _BLOCK.sub("", text)


def check_block(path: Path, command: str) -> None:
    """Refuse a file without the block, before hours of work are spent on what goes into it.

    Raises FileError: it cannot be read, or does not hold the block of ``command`` exactly once.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); name another file.") from error
    made = [block for block in blocks_of(text, path.name) if block.kind == MADE]
    blocks = [block for block in made if block.source == command]
    if len(blocks) != 1:
        raise FileError(
            f"{path}: holds {len(blocks)} blocks of '{command}', not one; put the lines "
            f"<!-- made by: {command} --> and <!-- /made --> around the numbers."
        )


def put_into_block(path: Path, command: str, text: str) -> None:
    """Replace what stands in the block, in one step. Raises FileError as ``check_block``."""
    check_block(path, command)
    start = f"<!-- made by: {command} -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(start)
    after = rest.partition("<!-- /made -->")[2]
    new = f"{before}{start}\n{text.strip()}\n<!-- /made -->{after}"
    write_whole(path, new.encode("utf-8"))
