"""What NRRD and MetaImage share: text headers, data in a file beside the header, packing."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.payload import opened, printable, shown, size_of

LONGEST_LINE = 2**16
MOST_LINES = 2**12
STEP = 2**20  # bytes


def text_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """The lines of a text header, without their ends; the caller stops at the last one.

    Control characters become visible, for lines are quoted in messages.

    Raises FileError for a header without end.
    """
    for _ in range(MOST_LINES):
        line = stream.readline(LONGEST_LINE)
        if not line:
            return
        if len(line) == LONGEST_LINE:
            break
        yield printable(line.decode("utf-8", "replace").rstrip("\r\n").replace("\t", " "))
    raise FileError(f"{name}: has an endless header; check what the file is.")


def numbers(text: str, name: str, field: str) -> list[float]:
    """The numbers of a header field, separated by blanks or commas. Raises FileError."""
    try:
        found = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        found = []
    if not found:
        raise FileError(
            f"{name}: states {field} {text[:60]!r}, which are no numbers; correct the header first."
        )
    return found


def whole_numbers(text: str, name: str, field: str) -> tuple[int, ...]:
    """As :func:`numbers`, for sizes."""
    found = numbers(text, name, field)
    if not all(number.is_integer() for number in found):
        raise FileError(f"{name}: states {field} {text[:60]!r}; correct the header first.")
    return tuple(int(number) for number in found)


@contextmanager
def image_data(
    header: Path, stream: BinaryIO, data_file: str | None
) -> Iterator[tuple[BinaryIO, int, str]]:
    """Where the image is: a stream, how many bytes it holds from there, and its name.

    ``data_file`` is what a detached header names; None means in ``stream``, from here on.
    """
    if data_file is None:
        yield stream, size_of(stream) - stream.tell(), shown(header)
        return
    path = beside(header, data_file)
    with opened(path) as data_stream:
        yield data_stream, size_of(data_stream), shown(path)


def beside(header: Path, data_file: str) -> Path:
    """The data file that a detached header names, which must lie in the header's own folder.

    Raises FileError for an absolute name, one that climbs out, a symbolic link (a header from a
    stranger must not make us read other files), and lists or patterns of several files.
    """
    name = shown(header)
    if data_file.split(" ")[0] == "LIST" or "%" in data_file:
        raise FileError(
            f"{name}: is spread over several data files ({data_file[:40]!r}); save it as one file."
        )
    folder = header.parent.resolve()
    path = folder / data_file
    if not _is_plain(data_file) or _is_link(path, folder):
        raise FileError(
            f"{name}: names the data file {data_file[:60]!r}, which is outside its folder or a "
            "link; put the data beside the header and name it without a path."
        )
    return path


def _is_plain(data_file: str) -> bool:
    """Relative, and never upwards, read as a POSIX or as a Windows path."""
    path, windows = PurePosixPath(data_file), PureWindowsPath(data_file)
    anchored = path.is_absolute() or windows.drive or windows.root
    return not anchored and ".." not in windows.parts


def _is_link(path: Path, folder: Path) -> bool:
    """Whether any step from ``folder`` to ``path`` is a symbolic link."""
    steps = [path, *path.parents]
    return any(step.is_symlink() for step in steps[: steps.index(folder)])


def packed(data: bytes) -> bytes:
    """gzip without time and name in its header, so that equal data give equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=buffer, mtime=0) as stream:
        for part in in_steps(data):
            stream.write(part)
    return buffer.getvalue()


def in_steps(data: bytes) -> Iterator[memoryview]:
    """Parts that are compressed so soon that Ctrl-C between two of them seems to come at once."""
    view = memoryview(data)
    for start in range(0, len(data), STEP):
        yield view[start : start + STEP]
