"""Temporary names beside the files to be written, and who may use a folder meanwhile.

A name tells which process it belongs to, so that the next run removes what a killed one left and
nothing else. Linux numbers processes anew in each container, so the name of the machine alone does
not tell whose number it is.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.payload import shown

ABANDONED_S = 3600.0  # nothing takes so long to write
PATIENCE_S = 10.0  # giving names takes milliseconds


def part_beside(path: Path) -> Path:
    """A temporary name in the folder of ``path`` that no other file has."""
    return path.with_name(f".mambasynth-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part")


def remove_abandoned_parts(folder: Path) -> None:
    """Delete what processes left in ``folder`` that are gone, or on other machines seem to be."""
    for part in folder.glob(".mambasynth-*.part"):
        if _is_abandoned(part):
            remove_part(part)


def remove_part(part: Path) -> None:
    """Delete a temporary file or folder; one that cannot be deleted stays for the next run."""
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
        return
    with suppress(OSError):
        part.unlink(missing_ok=True)


def _is_abandoned(part: Path) -> bool:
    _, machine, process, *_ = (*part.name.split("-"), "", "")
    if os.name == "posix" and machine == _machine() and process.isdecimal():
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False  # alive, of another user
        return False
    try:
        return time.time() - part.lstat().st_mtime > ABANDONED_S
    except OSError:
        return False  # somebody else removed it


@cache
def _machine() -> str:
    """Equal for processes that can ask for each other by number."""
    name = platform.node()
    with suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Give names in ``folder`` while no other process of this program does.

    Where the system or the file system has no such lock (Windows, some networks), at once.
    Raises FileError where another process does not let go.
    """
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        end = time.monotonic() + PATIENCE_S
        while not _locked(fcntl, handle):
            if time.monotonic() > end:
                raise FileError(
                    f"{shown(folder)}: another run has been writing into this folder for "
                    f"{PATIENCE_S:.0f} seconds; nothing was changed, try again when it is done."
                )
            time.sleep(0.01)
        yield
    finally:
        os.close(handle)


def _locked(fcntl: Any, handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # the file system has no locks, so there is nothing to wait for
    return True
