"""A model package at an address that somebody names: fetched and looked at, not yet trusted.

    address --HTTPS--> a file named by its sha256 --> its card --compared--> import, or discard

Nothing is known of such a file beforehand, so it waits beside the user's models until the hash was
compared with what its publisher states; ``import_package`` then checks it like any other.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import secrets
import time
import urllib.error
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from MambaSynthLib.errors import FileError
from MambaSynthLib.install.download import CHUNK, SILENCE_S, ask, reason_of
from MambaSynthLib.install.unpacking import LARGEST_WEIGHTS, unpacked
from MambaSynthLib.io.atomic import telling
from MambaSynthLib.model.card import ModelCard
from MambaSynthLib.model.package import LARGEST_CARD, read_package
from MambaSynthLib.model.registry import user_models

FORGOTTEN_S = 86_400.0
LARGEST = LARGEST_WEIGHTS + 4 * LARGEST_CARD  # bytes

Progress = Callable[[int, int], None]  # bytes here, bytes announced (0: none)


@dataclass(frozen=True)
class Offer:
    """What was fetched: the zip file, its hash and size, and what the card in it says."""

    path: Path
    sha256: str
    size: int
    card: ModelCard


def waiting_room() -> Path:
    """Where fetched files wait. Raises ModelError without a home folder."""
    return user_models().parent / "offers"


def fetch_offer(
    address: str, progress: Progress, scratch: Path | None = None, silence_s: float = SILENCE_S
) -> Offer:
    """The zip file at ``address``, once it is here and holds a readable card.

    It is unpacked within ``scratch``. Whatever ends this before, also an exception out of
    ``progress``, leaves nothing.

    Raises
    ------
    FileError: no https address, or the server cannot be reached, stops, refuses or sends too much.
    ModelError: what it sends is no model package in a zip file.
    """
    folder = waiting_room()
    part = folder / f".{secrets.token_hex(8)}.part"
    with telling(part):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_forgotten(folder)
    try:
        sha256, size = _receive(address, part, progress, silence_s)
        with unpacked(part, scratch, name=_file_name(address)) as package:
            card = read_package(package).card
        path = folder / f"{sha256}.zip"
        with telling(path):
            os.replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return Offer(path, sha256, size, card)


def _remove_forgotten(folder: Path) -> None:
    """What was fetched long ago, and neither installed nor discarded."""
    for path in folder.iterdir():
        if time.time() - path.stat().st_mtime > FORGOTTEN_S:
            path.unlink()


def discard(path: Path) -> None:
    """Remove a fetched file; any other is left alone."""
    if path.parent == waiting_room():
        with suppress(FileNotFoundError):
            path.unlink()


def _file_name(address: str) -> str:
    return address.rstrip("/").rpartition("/")[2] or address


def _receive(address: str, part: Path, progress: Progress, silence_s: float) -> tuple[str, int]:
    """Fill ``part``; the sha256 and the number of its bytes. Raises FileError."""
    digest, have = hashlib.sha256(), 0
    try:
        with ask(address, 0, silence_s) as response, telling(part), part.open("xb") as stream:
            announced = response.headers.get("Content-Length", "")
            total = int(announced) if announced.isdigit() else 0
            progress(0, total)
            while chunk := response.read1(CHUNK):
                have += len(chunk)
                if max(have, total) > LARGEST:
                    raise FileError(
                        f"{address}: is larger than {LARGEST / 1e9:.1f} GB; this is no model "
                        "package."
                    )
                digest.update(chunk)
                stream.write(chunk)
                progress(have, total)
            stream.flush()
            os.fsync(stream.fileno())
    except urllib.error.HTTPError as error:
        raise FileError(
            f"{address}: the server refuses it ({error.code} {error.reason}); check the address."
        ) from error
    except ValueError as error:
        raise FileError(f"{address}: is no address; check it.") from error
    except (OSError, http.client.HTTPException) as error:
        raise FileError(
            f"{address}: cannot be fetched ({reason_of(error)}); check the address, the network "
            "and the proxy, and try again."
        ) from error
    if not have:
        raise FileError(f"{address}: is empty; check the address.")
    if have < total:
        raise FileError(f"{address}: broke off at byte {have} of {total}; try again.")
    return digest.hexdigest(), have
