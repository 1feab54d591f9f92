"""The part of a README that a command writes: what stands between two marks, each on its line."""

from __future__ import annotations

from pathlib import Path

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.atomic import write_whole


def check_marks(path: Path, name: str) -> None:
    """Refuse a file without the marks, before hours of work are spent on what goes between them.

    Raises FileError: it cannot be read, or ``<!-- name -->`` and ``<!-- /name -->`` are not in it.
    """
    start, end = _marks(name)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); name another file.") from error
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise FileError(f"{path}: lacks the lines {start} and {end}; add them around the tables.")


def put_between_marks(path: Path, name: str, text: str) -> None:
    """Replace what stands between the marks, in one step. Raises FileError as ``check_marks``."""
    check_marks(path, name)
    start, end = _marks(name)
    before, _, rest = path.read_text(encoding="utf-8").partition(start)
    after = rest.partition(end)[2]
    new = f"{before}{start}\n{text.strip()}\n{end}{after}"
    write_whole(path, new.encode("utf-8"))


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- /{name} -->"
