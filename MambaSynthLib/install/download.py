"""A file from its public home: whole and to the pinned bit, or not at all.

    address --HTTPS, from where it stopped--> .part --size, sha256--> the final name, in one step

The part file of a download that was cut off is taken up by the next one; one that is still being
written belongs to another process and is left alone.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from MambaSynthLib import __version__
from MambaSynthLib.errors import FileError
from MambaSynthLib.io.atomic import commit, telling

CHUNK = 1 << 16  # bytes
SILENCE_S = 30.0  # a server that says nothing for so long is given up
MOST_S = 1800.0  # and a download that takes so long
LOOPBACK = ("127.0.0.1", "::1", "localhost")  # nobody can listen in between

Progress = Callable[[int, int], None]  # bytes here, bytes of the whole file


@dataclass(frozen=True)
class PinnedFile:
    """A public file: where it lies and which bytes it must hold."""

    address: str
    size: int  # bytes
    sha256: str

    def is_at(self, path: Path) -> bool:
        """Whether ``path`` holds exactly these bytes."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256


def fetch(file: PinnedFile, path: Path, progress: Progress, silence_s: float = SILENCE_S) -> Path:
    """``path``, which holds ``file`` afterwards; nothing is asked for where it already does.

    Raises
    ------
    FileError: the server cannot be reached, stops, refuses, sends another file or more than was
        pinned, or the disk does not take it. ``path`` is then as it was.
    """
    if file.is_at(path):
        return path
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _own_part(path, 2 * silence_s)
    try:
        _complete(file, part, progress, silence_s)
        if not file.is_at(part):
            part.unlink()
            raise FileError(
                f"{file.address}: is not the file it was (size or sha256 differ); nothing was "
                "kept. A proxy may have changed it; try another network."
            )
        commit(part, path)
    finally:
        with suppress(OSError):  # the next download may take it up at once
            os.utime(part, (0, 0))
    return path


def _own_part(path: Path, patience_s: float) -> Path:
    """A name for the part file that is this process' alone, with what a dead download left."""
    own = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    left = list(path.parent.glob(f".{escape(path.name)}.*.part"))
    for candidate in sorted(left, key=lambda part: part.stat().st_size, reverse=True):
        with suppress(FileNotFoundError):  # another process was faster
            if time.time() - candidate.stat().st_mtime > patience_s:
                os.replace(candidate, own)
                break
    return own


def _complete(file: PinnedFile, part: Path, progress: Progress, silence_s: float) -> None:
    """Bring ``part`` to the pinned size, from where it is. Raises FileError."""
    have = part.stat().st_size if part.exists() else 0
    if have >= file.size:
        return
    try:
        with ask(file.address, have, silence_s) as response, telling(part):
            have = have if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            _check_answer(file, response, have)
            with part.open("ab" if have else "wb") as stream:
                have = _receive(file, response, stream, have, progress)
                stream.flush()
                os.fsync(stream.fileno())
    except urllib.error.HTTPError as error:
        raise FileError(
            f"{file.address}: the server refuses it ({error.code} {error.reason}); try again "
            "later, or get the file by another way."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise FileError(
            f"{file.address}: cannot be reached ({reason_of(error)}); check the network and the "
            "proxy, and run the same command again."
        ) from error
    if have < file.size:
        raise _broken_off(file, have, "the server closed the connection")


def _receive(file: PinnedFile, response: Any, stream: Any, have: int, progress: Progress) -> int:
    """Append the answer to ``stream``; the bytes that are here then."""
    end = time.monotonic() + MOST_S
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            stream.flush()
            raise _broken_off(file, have, reason_of(error)) from error
        if not chunk:
            return have
        have += len(chunk)
        if have > file.size:
            stream.truncate(0)
            raise _other_file(file, "more")
        if time.monotonic() > end:
            raise _broken_off(file, have, f"it takes longer than {MOST_S / 60:.0f} minutes")
        stream.write(chunk)
        progress(have, file.size)


def ask(address: str, have: int, silence_s: float) -> Any:
    """The open answer of the server, asked for everything behind the first ``have`` bytes.

    Raises FileError for an address that is not https; OSError, HTTPException, ValueError.
    """
    headers = {"User-Agent": f"MambaSynth/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    _check_address(address)
    opener = urllib.request.build_opener(_CarefulRedirects)
    return opener.open(urllib.request.Request(address, headers=headers), timeout=silence_s)


def _check_address(address: str) -> None:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise FileError(
            f"{address}: is not an https address; nothing is fetched over an open connection."
        )


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to another address that is safe."""

    def redirect_request(self, *args: Any) -> urllib.request.Request | None:
        request = super().redirect_request(*args)
        if request is not None:
            _check_address(request.full_url)
        return request


def _check_answer(file: PinnedFile, response: Any, have: int) -> None:
    """Raises FileError where the server announces anything but the rest of the file."""
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and have + int(announced) != file.size:
        raise _other_file(file, f"{have + int(announced)}")
    span = response.headers.get("Content-Range", "")
    if have and not span.startswith(f"bytes {have}-"):
        raise _other_file(file, f"the part {span!r} from byte {have} on")


def _other_file(file: PinnedFile, offered: str) -> FileError:
    return FileError(
        f"{file.address}: the server sends another file ({offered} instead of {file.size} bytes), "
        "perhaps a login page; nothing was kept, try another network."
    )


def _broken_off(file: PinnedFile, have: int, why: str) -> FileError:
    return FileError(
        f"{file.address}: broke off at byte {have} of {file.size} ({why}); run the same command "
        "again, it goes on from there."
    )


def reason_of(error: BaseException) -> str:
    """Why a download failed, as short as the system says it."""
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(reason).__name__
