"""One training per run folder: the file ``run.lock`` is held by the process whose id it states."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from MambaSynthLib.errors import RequestError

LOCK = "run.lock"


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Hold the folder. The system lets go of it when the process dies, however it dies.

    Raises
    ------
    RequestError: another process holds it; the sentence names process and machine.
    """
    path = run / LOCK
    with open(path, "a+", encoding="utf-8") as file:
        try:
            _hold(file)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RequestError(
                f"{run}: is being written by {holder}; wait for it, stop it, or choose another "
                "folder."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _hold(file: IO[str]) -> None:
    """Raises OSError when another process holds the file."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
