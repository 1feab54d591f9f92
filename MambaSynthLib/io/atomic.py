"""Writing that either happens or does not: temporary name, fsync, check, rename.

A full disk goes unnoticed by SimpleITK's writers, and a killed program leaves half a file; here
the final name appears only after the bytes have been read back from the disk.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.payload import shown

Check = Callable[[Path], None]


@contextmanager
def staged(path: Path, data: bytes, check: Check | None = None) -> Iterator[Path]:
    """Put ``data`` under a temporary name beside ``path``; gone afterwards unless renamed.

    ``check`` reads the temporary file and raises FileError where it is not right.
    """
    temporary = path.with_name(f".mambasynth-{secrets.token_hex(8)}.part")
    try:
        with telling(path):
            _write_through(temporary, data)
            if temporary.read_bytes() != data:
                raise FileError(
                    f"{shown(path)}: what was read back from the disk is not what was written; "
                    "check the disk."
                )
        if check is not None:
            check(temporary)
        yield temporary
    finally:
        _remove(temporary)


@contextmanager
def staged_from(path: Path, write: Callable[[BinaryIO], None], check: Check) -> Iterator[Path]:
    """As :func:`staged`, for data too large to hold: ``write`` puts them into a stream."""
    temporary = path.with_name(f".mambasynth-{secrets.token_hex(8)}.part")
    try:
        with telling(path):
            with _created(temporary) as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
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


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step: whole, or not at all. Raises FileError."""
    with staged(path, data) as temporary:
        commit(temporary, path)


def write_json(path: Path, document: object) -> None:
    """:func:`write_whole` for a JSON document."""
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode("utf-8"))


def commit_pair(image_file: Path, path: Path, sidecar_file: Path, sidecar: Path) -> None:
    """Both or neither. For a moment an image may be marked too much, never too little."""
    former = sidecar.read_bytes() if sidecar.exists() else None
    with ExitStack() as stack:
        if former is not None:
            former_file = stack.enter_context(staged(sidecar, former))
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
def telling(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one sentence about ``path``."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{shown(path)}: cannot be written ({error.strerror or error}); nothing was changed, "
            "free space or choose another folder."
        ) from error


def _write_through(path: Path, data: bytes) -> None:
    with _created(path) as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _created(path: Path) -> BinaryIO:
    """A new file, open for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")  # 0o666: the umask decides


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # the error that brought us here is the one to tell
