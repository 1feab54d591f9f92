"""Writing that either happens or does not: temporary names, fsync, check, then all names at once.

    with together() as files:
        files.add(image), files.add(sidecar), files.add(report)     # under temporary names
    # here they have their own: all of them, or, after an exception, none

A full disk goes unnoticed by SimpleITK's writers, and a killed program leaves half a file; here
the final names appear only after the bytes have been read back from the disk.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.parts import alone_in, part_beside, remove_abandoned_parts, remove_part
from MambaSynthLib.io.payload import shown

Check = Callable[[Path], None]
Write = Callable[[BinaryIO], None]


@dataclass(frozen=True)
class _Member:
    """A file or folder under its temporary name, and the name that it will have.

    replaces: whether something may have that name already. describes: a sidecar, which must not
    stand beside an image that it was not made for.
    """

    part: Path
    path: Path
    replaces: bool
    describes: bool


class Outputs:
    """Files that get their names together, see ``together``."""

    def __init__(self) -> None:
        self._members: list[_Member] = []
        self._parts: list[Path] = []

    def add(
        self,
        path: Path,
        content: bytes | Write,
        check: Check | None = None,
        *,
        replaces: bool = True,
        describes: bool = False,
    ) -> None:
        """Put ``content`` on the disk. Data too large to hold are written by a function.

        ``check`` reads the temporary file and raises FileError where it is not right; see
        ``_Member`` for the switches. Raises FileError.
        """
        with telling(path):
            part = self._part_of(path)
            with _created(part) as stream:
                if isinstance(content, bytes):
                    stream.write(content)
                else:
                    content(stream)
                stream.flush()
                os.fsync(stream.fileno())
            if isinstance(content, bytes) and part.read_bytes() != content:
                raise FileError(
                    f"{shown(path)}: what was read back from the disk is not what was written; "
                    "check the disk."
                )
            if check is not None:
                check(part)
        self._members.append(_Member(part, path, replaces, describes))

    def folder(self, path: Path) -> Path:
        """A folder to fill, which replaces nothing but an empty one. Raises FileError."""
        with telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = self._part_of(path)
            part.mkdir()
        self._members.append(_Member(part, path, replaces=False, describes=False))
        return part

    def _part_of(self, path: Path) -> Path:
        remove_abandoned_parts(path.parent)
        part = part_beside(path)
        self._parts.append(part)
        return part

    def give_names(self) -> None:
        """All of them, or as it was before, with an exception; see ``together``."""
        with ExitStack() as alone:
            for folder in sorted({member.path.parent.resolve() for member in self._members}):
                alone.enter_context(alone_in(folder))
            former = self._keep_former()
            try:
                for member in self._members:
                    if member.describes and member.path in former:
                        with telling(member.path):
                            member.path.unlink()
                for member in self._members:
                    commit(member.part, member.path)
            except BaseException as error:
                self._put_back(former, error)
                raise

    def _keep_former(self) -> dict[Path, Path]:
        """Second names of what has the names now, from which it can come back."""
        former = {}
        for path, replaces in [(member.path, member.replaces) for member in self._members]:
            if not os.path.lexists(path):
                continue
            if not replaces and not is_empty_folder(path):
                raise FileError(
                    f"{shown(path)}: exists already, perhaps since this run began; nothing was "
                    "changed, choose another name or use --overwrite."
                )
            if len(self._members) > 1 or path.is_dir():  # a single file is replaced in one step
                with telling(path):
                    former[path] = self._part_of(path)
                    _keep(path, former[path])
        return former

    def _put_back(self, former: dict[Path, Path], error: BaseException) -> None:
        """Undo what was renamed and removed. Raises FileError where the disk refuses that, too."""
        lost = []
        for member in self._members:
            path, is_named = member.path, not os.path.lexists(member.part)
            try:
                if path in former and (is_named or not os.path.lexists(path)):
                    if is_named and path.is_dir():
                        shutil.rmtree(path)
                    os.replace(former[path], path)
                elif path not in former and is_named:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except OSError:
                lost.append(shown(path))
                if path in former:
                    self._parts.remove(former[path])
                    lost[-1] += f" (kept as {former[path].name})"
        if lost:
            raise FileError(
                f"{error} As it was before could not be restored: {', '.join(lost)}; see to it "
                "before the next run."
            ) from error

    def discard(self) -> None:
        """Remove the temporary names that are left."""
        for part in self._parts:
            remove_part(part)


@contextmanager
def together() -> Iterator[Outputs]:
    """Files that get their names at the end of the block: all of them, or none.

    Whatever fails before, or while names are given, what was there stays: every byte of it. Where
    the disk refuses even to put it back, or the program is killed just then, a sidecar may be
    missing, but none stands beside an image that it does not describe. Raises FileError.
    """
    files = Outputs()
    try:
        yield files
        files.give_names()
    finally:
        files.discard()


@contextmanager
def within(files: Outputs | None) -> Iterator[Outputs]:
    """``files``, which somebody else gives their names; or, without them, some of one's own."""
    if files is not None:
        yield files
        return
    with together() as own:
        yield own


def write_whole(
    path: Path, content: bytes | Write, check: Check | None = None, *, into: Outputs | None = None
) -> None:
    """Put ``content`` at ``path``: whole, or not at all; see ``Outputs.add``. Raises FileError."""
    with within(into) as files:
        files.add(path, content, check)


def write_json(path: Path, document: object, *, into: Outputs | None = None) -> None:
    """:func:`write_whole` for a JSON document."""
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode("utf-8"), into=into)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which gets the name ``path`` when all went well and vanishes otherwise.

    Raises FileError.
    """
    with together() as files:
        yield files.folder(path)


def commit(temporary: Path, path: Path) -> None:
    """Give the temporary file its final name, in one step, and have the folder remember it."""
    with telling(path):
        os.replace(temporary, path)
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError:
        return  # Windows cannot open folders; the rename is journaled there
    try:
        os.fsync(folder)
    except OSError:
        pass  # some network file systems cannot; the file itself is on the disk
    finally:
        os.close(folder)


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one sentence about ``path``."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{shown(path)}: cannot be written ({error.strerror or error}); nothing was changed, "
            "free space or choose another folder."
        ) from error


def is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _keep(path: Path, second: Path) -> None:
    """Give a file another name, too; an empty folder only the other one."""
    if path.is_dir() and not path.is_symlink():
        path.rename(second)
        return
    if path.is_symlink():
        os.symlink(os.readlink(path), second)
        return
    try:
        os.link(path, second)
    except OSError:  # a file system without links
        shutil.copy2(path, second)


def _created(path: Path) -> BinaryIO:
    """A new file, open for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")  # 0o666: the umask decides
