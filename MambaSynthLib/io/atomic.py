"""Writing that either happens or does not: temporary name, fsync, check, rename.

A full disk goes unnoticed by SimpleITK's writers, and a killed program leaves half a file; here
the final name appears only after the bytes have been read back from the disk.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from glob import escape
from pathlib import Path
from typing import BinaryIO

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.payload import shown

ABANDONED_S = 3600.0  # nothing takes so long to write

Check = Callable[[Path], None]
Write = Callable[[BinaryIO], None]


@contextmanager
def _staged(path: Path, content: bytes | Write, check: Check | None) -> Iterator[Path]:
    """Put ``content`` under a temporary name beside ``path``; gone afterwards unless renamed."""
    temporary = path.with_name(f".mambasynth-{secrets.token_hex(8)}.part")
    try:
        with telling(path):
            with _created(temporary) as stream:
                if isinstance(content, bytes):
                    stream.write(content)
                else:
                    content(stream)
                stream.flush()
                os.fsync(stream.fileno())
            if isinstance(content, bytes) and temporary.read_bytes() != content:
                raise FileError(
                    f"{shown(path)}: what was read back from the disk is not what was written; "
                    "check the disk."
                )
            if check is not None:
                check(temporary)
        yield temporary
    finally:
        _remove(temporary)


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


def write_whole(path: Path, content: bytes | Write, check: Check | None = None) -> None:
    """Put ``content`` at ``path`` in one step: whole, or not at all.

    Data too large to hold are written by a function into a stream. ``check`` reads the temporary
    file and raises FileError where it is not right. Raises FileError.
    """
    with _staged(path, content, check) as temporary:
        commit(temporary, path)


def write_json(path: Path, document: object) -> None:
    """:func:`write_whole` for a JSON document."""
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode("utf-8"))


def write_pair(
    path: Path, content: bytes | Write, check: Check, sidecar: Path, record: bytes
) -> None:
    """An image and its sidecar: both or neither. Raises FileError.

    For a moment an image may be marked too much, never too little.
    """
    with ExitStack() as stack:
        image_file = stack.enter_context(_staged(path, content, check))
        sidecar_file = stack.enter_context(_staged(sidecar, record, None))
        former = sidecar.read_bytes() if sidecar.exists() else None
        if former is not None:
            former_file = stack.enter_context(_staged(sidecar, former, None))
        try:
            commit(sidecar_file, sidecar)
            commit(image_file, path)
        except BaseException:
            if image_file.exists():  # it has not got its name, so the sidecar must lose it too
                if former is None:
                    sidecar.unlink(missing_ok=True)
                else:
                    commit(former_file, sidecar)
            raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which gets the name ``path`` when all went well and vanishes otherwise.

    What a process that was killed left beside it is removed after an hour. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{escape(path.name)}-*"):
        if time.time() - left.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield staging
        staging.chmod(0o755)
        staging.rename(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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


def _created(path: Path) -> BinaryIO:
    """A new file, open for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")  # 0o666: the umask decides


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # the error that brought us here is the one to tell
