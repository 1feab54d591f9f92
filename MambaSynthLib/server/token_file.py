"""The secret that a remote engine and its clients share, in a file that nobody else can read."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.payload import opened, shown

SHORTEST = 20  # characters; a new one has 43
LONGEST = 1000
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_token(path: Path) -> str:
    """The token in a file.

    Raises FileError: it cannot be read, others can read it too (not asked on Windows, which keeps
    rights elsewhere), or it is no token.
    """
    with opened(path) as stream:
        if os.name == "posix" and os.fstat(stream.fileno()).st_mode & OTHERS:
            raise FileError(
                f"{shown(path)}: can be read by other users; make it yours alone with 'chmod 600'."
            )
        data = stream.read(LONGEST + 1)
    token = data.decode("ascii", errors="replace").strip()
    if not SHORTEST <= len(token) <= LONGEST or not token.isascii() or not token.isprintable():
        raise FileError(
            f"{shown(path)}: holds no token of {SHORTEST} to {LONGEST} letters on one line; delete "
            "it, and 'mambasynth serve --listen' writes a new one."
        )
    return token


def write_new_token(path: Path) -> None:
    """A new token in a new file that is this user's alone. Raises OSError."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(secrets.token_urlsafe(32) + "\n")


def same(given: object, token: str) -> bool:
    """Whether it is the token, in a time that tells nothing of where it differs."""
    text = given if isinstance(given, str) else ""
    hashes = (hashlib.sha256(one.encode(errors="replace")).digest() for one in (text, token))
    return hmac.compare_digest(*hashes)
