"""A model package that somebody hands over as a zip file.

A zip file is hostile until shown otherwise: nothing in it is unpacked under its own name. The
files of a package are copied one by one into a temporary folder, the card first and the
weights only where they have the size that it states; their content is checked when the package is
imported from there.
"""

from __future__ import annotations

import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from MambaSynthLib.errors import FileError, ModelError
from MambaSynthLib.io.payload import opened
from MambaSynthLib.model.card import WEIGHTS
from MambaSynthLib.model.package import CARD, LARGEST_CARD, README, SEAL, read_package

LARGEST_WEIGHTS = 4 * 1024**3  # bytes
MOST_MEMBERS = 1000


@contextmanager
def unpacked(path: Path, within: Path | None = None, name: str = "") -> Iterator[Path]:
    """A folder with the package in the zip file ``path``; gone afterwards.

    It lies ``within`` a folder, or where the system keeps temporary files. ``name`` is what
    messages call the file, unless its own.

    Raises
    ------
    ModelError: no zip file, a damaged one, one with an entry that no package has; no place for it.
    """
    name = name or path.name
    with _room(within, name) as temporary:
        folder = Path(temporary)
        try:
            with opened(path) as stream, zipfile.ZipFile(stream) as archive:
                members = _checked_members(archive, name)
                for file in (CARD, SEAL, README, WEIGHTS):
                    if file in members:
                        limit = LARGEST_CARD
                        if file == WEIGHTS:
                            limit = _promised(folder, members[file], name)
                        _extract(archive, members[file], folder / file, limit)
        except FileError as error:
            raise ModelError(str(error)) from error
        except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
            raise ModelError(
                f"{name}: is no intact zip file ({error}); copy or download it again."
            ) from error
        yield folder


def _room(within: Path | None, name: str) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="mambasynth-", dir=within)
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(
            f"{name}: there is no folder to unpack it in ({reason}); give another, or free space."
        ) from error


def _checked_members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """File name -> member, of the one folder that holds the card."""
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise ModelError(
            f"{name}: holds {len(infos)} entries, so it is no model package; choose another file."
        )
    for info in infos:
        problem = _member_problem(info)
        if problem:
            raise ModelError(f"{name}: its entry {info.filename[:80]!r} {problem}; do not use it.")
    paths = [PurePosixPath(info.filename) for info in infos]
    if len(set(paths)) < len(paths):
        raise ModelError(f"{name}: holds two entries of the same name; do not use it.")
    cards = [path for path in paths if path.name == CARD]
    if len(cards) != 1:
        raise ModelError(
            f"{name}: holds {len(cards)} files {CARD}, not one; take it from its author again."
        )
    inside = cards[0].parent
    return {
        path.name: info for path, info in zip(paths, infos, strict=True) if path.parent == inside
    }


def _member_problem(info: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in info.filename:
        return "leads out of the package"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    if info.flag_bits & 1:
        return "is encrypted"
    return None


def _promised(folder: Path, weights: zipfile.ZipInfo, name: str) -> int:
    """The bytes of the weights by the card in ``folder`` and by the archive.

    Raises ModelError where they differ, or where no network is so large.
    """
    promised = read_package(folder).card.sizes[WEIGHTS]
    if weights.file_size != promised or promised > LARGEST_WEIGHTS:
        raise ModelError(
            f"{name}: its {WEIGHTS} unpacks to {weights.file_size} bytes, but {CARD} says "
            f"{promised} and at most {LARGEST_WEIGHTS} are taken; do not use it."
        )
    return promised


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, limit: int) -> None:
    """Copy one member; its true size counts, not the one the archive claims."""
    with archive.open(info) as source, open(target, "xb") as file:
        written = 0
        while block := source.read(1 << 20):
            written += len(block)
            if written > limit:
                raise ModelError(f"{info.filename}: unpacks to more than {limit} bytes.")
            file.write(block)
