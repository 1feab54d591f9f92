"""Volumes to and from NIfTI, NRRD and MetaImage files, and from FreeSurfer's.

Reading refuses what other readers guess (the package's docstring lists it); writing marks what is
synthetic, checks what it wrote, and leaves all of it or nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Affine, Volume
from MambaSynthLib.io.atomic import Check, Outputs, Write, within
from MambaSynthLib.io.decoded import Asked, Decoded, Prefer
from MambaSynthLib.io.dicom_files import holds_dicom
from MambaSynthLib.io.dicom_marks import read_dicom_mark
from MambaSynthLib.io.dicom_series import open_series
from MambaSynthLib.io.formats import Format, format_of, suffix_of, words_of
from MambaSynthLib.io.geometry import check_affine, flipped
from MambaSynthLib.io.marks import (
    SyntheticMark,
    mark_in_sidecar_itself,
    mark_of,
    read_record,
    sidecar_of,
)
from MambaSynthLib.io.modality import check_record
from MambaSynthLib.io.output import check_output
from MambaSynthLib.io.payload import opened, shown
from MambaSynthLib.provenance import Provenance

__all__ = [
    "SyntheticMark",
    "check_output",
    "read_marks",
    "read_volume",
    "sha256_of",
    "write_volume",
]

VOXELS = "VoxelsSHA256"  # of a sidecar, see ``written_voxels``
HEADERS = {".img": ".hdr", ".IMG": ".HDR"}
EXACT_FLOAT32 = 2**24  # whole numbers beyond this may be rounded


def read_volume(
    path: str | Path,
    *,
    prefer: Prefer = None,
    nan_as_zero: bool = False,
    allow_synthetic: bool = True,
) -> Volume:
    """Read exactly the file asked for, as one 3-D volume in RAS mm.

    Parameters
    ----------
    path: .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .mgz or .mgh, in any case of letters; or a
        folder with one DICOM series, or a file of Enhanced MR.
    prefer: which form of a NIfTI header to believe where sform and qform disagree.
    nan_as_zero: replace NaN and infinite values by 0 instead of refusing them.
    allow_synthetic: False refuses a file that is marked as synthetic.

    Raises
    ------
    FileError: for all that cannot be read without guessing; tolerable oddities are notes of the
        volume.
    """
    path = Path(path)
    name = shown(path)
    if (os.path.isdir(path) or not suffix_of(path)) and holds_dicom(path):
        return open_series(path, allow_synthetic=allow_synthetic).volume()
    image = open_image(path, Asked(prefer))
    array, value_notes = as_float32(image.values, name, nan_as_zero)
    if image.mark is not None:
        if image.mark.certain and not allow_synthetic:
            raise FileError(
                f"{name}: is synthetic already ({image.mark.where}: {image.mark.text}); use an "
                "acquired image, or allow it with --allow-synthetic-input."
            )
        value_notes += (synthetic_note(image.mark),)
    return Volume(array, image.affine, name, image.notes + value_notes)


@dataclass(frozen=True)
class OpenImage:
    """An image file that was read once, with its sidecar.

    values: (I,J,K) as stored, or (I,J,K,F). affine: (4,4) voxel -> RAS mm.
    """

    values: NDArray[Any]
    affine: Affine
    times_ms: tuple[float, ...] | None
    notes: tuple[str, ...]
    mark: SyntheticMark | None


def open_image(path: Path, asked: Asked) -> OpenImage:
    """What the file holds, checked but for its values. Raises FileError."""
    name = shown(path)
    with opened(path) as stream:
        decoded, affine = _decode(stream, path, format_of(path), asked)
    record = read_record(sidecar_of(path))
    notes = decoded.notes + check_affine(affine, name) + check_record(record, name)
    mark = mark_of(path, decoded.words, record)
    return OpenImage(decoded.values, affine, decoded.times_ms, notes, mark)


def _decode(stream: BinaryIO, path: Path, row: Format, asked: Asked) -> tuple[Decoded, Affine]:
    """By the format's own reader, with the affine in RAS."""
    with np.errstate(over="ignore", invalid="ignore"):  # headers hold any number; all are checked
        decoded = row.decode(stream, path, asked)
        return decoded, flipped(decoded.affine, decoded.frame)


def synthetic_note(mark: SyntheticMark) -> str:
    """The named warning about a source that is marked."""
    return f"synthetic source: {mark.where}: {mark.text}"


def read_marks(path: str | Path) -> SyntheticMark | None:
    """Whether the file is synthetic: its own marks first, then the sidecar, then its name.

    Reads headers only, of volumes under any name, .img/.hdr pairs, DICOM files and folders,
    sidecars and pictures. Raises FileError for a file that is none of these, or whose header cannot
    be read.
    """
    path = _header_of(Path(path))
    if os.path.isdir(path) or holds_dicom(path):
        return read_dicom_mark(path)
    with opened(path) as stream:
        if path.suffix.lower() == ".json":
            return mark_in_sidecar_itself(stream, shown(path))
        words = words_of(stream, path)
    return mark_of(path, words, read_record(sidecar_of(path)))


def _header_of(path: Path) -> Path:
    """The .hdr beside an .img, which alone says what the image is."""
    if path.suffix not in HEADERS:
        return path
    header = path.with_suffix(HEADERS[path.suffix])
    return header if header.is_file() else path


def sha256_of(source: Volume | str | Path) -> str:
    """Hash of the voxel values and their shape; equal for one image in different formats."""
    volume = source if isinstance(source, Volume) else read_volume(source)
    digest = hashlib.sha256(np.array(volume.shape, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(volume.array, dtype="<f4").data)
    return digest.hexdigest()


def hash_of_frames(hashes: Iterable[str]) -> str:
    """One hash of the voxels of a cine, from those of its frames."""
    return hashlib.sha256("".join(hashes).encode("ascii")).hexdigest()


def hash_of_images(images: Sequence[Volume]) -> str:
    """That of a volume, or of the frames of a cine."""
    hashes = [sha256_of(image) for image in images]
    return hashes[0] if len(hashes) == 1 else hash_of_frames(hashes)


def as_float32(
    values: NDArray[Any], name: str, nan_as_zero: bool
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """(I,J,K) finite float32 values, and named warnings."""
    with np.errstate(over="ignore", invalid="ignore"):
        array = values.astype(np.float32)
    wrong = ~np.isfinite(array)
    count = int(wrong.sum())
    if count and not nan_as_zero:
        raise FileError(
            f"{name}: holds {count} voxels that are NaN, infinite or too large for float32; "
            "correct it, or read them as zero with --nan-as-zero."
        )
    notes: tuple[str, ...] = ()
    if count:
        array[wrong] = 0
        notes += (f"set to zero: {count} voxels were NaN, infinite or too large for float32",)
    if values.dtype.kind in "iu" and values.dtype.itemsize > 2:
        if max(int(values.max()), -int(values.min())) > EXACT_FLOAT32:
            notes += (f"rounded: whole numbers beyond {EXACT_FLOAT32} are rounded to float32",)
    return array, notes


def write_volume(
    volume: Volume,
    path: str | Path,
    *,
    provenance: Provenance | None = None,
    overwrite: bool = False,
    into: Outputs | None = None,
) -> list[Path]:
    """Write float32 on the exact grid; all files or, with a FileError, none.

    Returns the files written: the image and, with a ``provenance``, its BIDS sidecar. The same
    volume and provenance give the same bytes. Both files are read back before they get their
    names, together with others where they go ``into`` a set of outputs.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite, marked=provenance is not None)
    row = format_of(path)
    if not np.all(np.isfinite(volume.array)):
        raise FileError(f"{shown(path)}: the image to write holds NaN or infinite values.")
    image = _encode(volume, row, provenance)

    def check(written: Path) -> None:
        _check_written(written, row, volume, shown(path))

    with within(into) as files:
        if provenance is not None:
            voxels = partial(sha256_of, volume)
            return write_marked(files, path, (image, check, voxels), provenance, overwrite)
        files.add(path, image, check, replaces=overwrite)
        return [path]


def write_marked(
    files: Outputs,
    path: Path,
    image: tuple[bytes | Write, Check, Callable[[], str]],
    provenance: Provenance,
    overwrite: bool,
) -> list[Path]:
    """A synthetic image and its BIDS sidecar; returns their names.

    ``image``: its bytes, how they are checked, and what tells the hash of the voxels afterwards.
    """
    sidecar = sidecar_of(path)
    content, check, voxels = image
    files.add(path, content, check, replaces=overwrite)
    record = json.dumps(provenance.to_bids() | {VOXELS: voxels()}, indent=2) + "\n"
    files.add(sidecar, record.encode("ascii"), replaces=overwrite, describes=True)
    return [path, sidecar]


def _encode(volume: Volume, row: Format, provenance: Provenance | None) -> bytes:
    assert row.encode is not None  # check_output refuses other formats
    return row.encode(volume.array, flipped(volume.affine, row.frame), provenance)


def _check_written(written: Path, row: Format, volume: Volume, name: str) -> None:
    try:
        with opened(written) as stream:
            decoded, affine = _decode(stream, written, row, Asked())
        same_place = np.allclose(affine, volume.affine, rtol=1e-6, atol=1e-6)
        if same_place and np.array_equal(decoded.values, volume.array):
            return
        problem = "the values differ" if same_place else "the geometry differs"
    except FileError as error:
        problem = str(error)
    raise FileError(
        f"{name}: does not read back as it was written ({problem}); nothing was written, use "
        "another format, for instance .nrrd."
    )
