"""A model package that somebody hands over, a folder or a zip file, joins the user's models.

A zip file is hostile until shown otherwise: nothing in it is unpacked by its own name. The three
files of a package are read one by one, with a limit, checked, and only then moved into place.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from MambaSynthLib.card import WEIGHTS
from MambaSynthLib.errors import ModelError
from MambaSynthLib.package import CARD, LARGEST_CARD, README, ModelPackage, read_package

LARGEST_WEIGHTS = 4 * 1024**3  # bytes
MOST_MEMBERS = 1000
LIMITS = {CARD: LARGEST_CARD, WEIGHTS: LARGEST_WEIGHTS, README: LARGEST_CARD}


def install_package(path: Path, models: Path) -> ModelPackage:
    """Install the package in the folder or zip file ``path`` as ``models/<id>``.

    Raises
    ------
    ModelError: no package, a damaged or hostile one, or an id that is installed already; nothing
        is left in ``models`` then.
    """
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _staging(models) as staging:
            (_from_folder if path.is_dir() else _from_zip)(path, staging)
            package = read_package(staging)
            package.read_weights()
            folder = models / package.card.id
            if folder.exists():
                raise ModelError(
                    f"{path.name}: the model {package.card.id} is installed already; delete it "
                    "first."
                )
            staging.chmod(0o755)
            staging.rename(folder)
    except OSError as error:
        raise ModelError(
            f"{path.name}: cannot be installed in {models} ({error.strerror or error}); check "
            "that both can be read and written and that space is left."
        ) from error
    return read_package(folder)


@contextmanager
def _staging(models: Path) -> Iterator[Path]:
    """A hidden folder beside the final one, gone afterwards unless it was renamed."""
    folder = Path(tempfile.mkdtemp(prefix=".import-", dir=models))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _from_folder(source: Path, staging: Path) -> None:
    for name, limit in LIMITS.items():
        file = source / name
        if not file.is_file():
            continue  # read_package says what is missing
        if file.stat().st_size > limit:
            raise ModelError(f"{file}: is larger than {limit} bytes; this is no model package.")
        shutil.copyfile(file, staging / name)


def _from_zip(source: Path, staging: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            members = _checked_members(archive, source.name)
            for name, limit in LIMITS.items():
                if name in members:
                    _extract(archive, members[name], staging / name, limit)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ModelError(
            f"{source.name}: is no intact zip file ({error}); copy or download it again."
        ) from error


def _checked_members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """File name -> member, of the one folder that holds the card."""
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise ModelError(f"{name}: holds {len(infos)} entries; this is no model package.")
    for info in infos:
        problem = _member_problem(info)
        if problem:
            raise ModelError(f"{name}: its entry {info.filename[:80]!r} {problem}; do not use it.")
    paths = [PurePosixPath(info.filename) for info in infos]
    if len(set(paths)) < len(paths):
        raise ModelError(f"{name}: holds two entries of the same name; do not use it.")
    cards = [path for path in paths if path.name == CARD]
    if len(cards) != 1:
        raise ModelError(f"{name}: holds {len(cards)} files {CARD} where one is expected.")
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


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, limit: int) -> None:
    """Copy one member; its true size counts, not the one the archive claims."""
    with archive.open(info) as source, open(target, "xb") as file:
        written = 0
        while block := source.read(1 << 20):
            written += len(block)
            if written > limit:
                raise ModelError(f"{info.filename}: unpacks to more than {limit} bytes.")
            file.write(block)
