"""Volumes to and from NIfTI, NRRD and MetaImage files.

Reading refuses what other readers guess (the package's docstring lists it); writing marks what is
synthetic, checks what it wrote, and leaves all of it or nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io import mha, nifti, nrrd
from MambaSynthLib.io.atomic import commit, commit_pair, staged
from MambaSynthLib.io.decoded import Decoded
from MambaSynthLib.io.dicom_marks import holds_dicom, is_dicom, read_dicom_mark
from MambaSynthLib.io.dicom_series import read_dicom_volume
from MambaSynthLib.io.geometry import check_affine, flipped
from MambaSynthLib.io.marks import (
    SyntheticMark,
    mark_in_name,
    mark_in_sidecar,
    mark_in_sidecar_itself,
    mark_in_tags,
    mark_in_texts,
    sidecar_of,
    suffix_of,
)
from MambaSynthLib.io.modality import check_sidecar
from MambaSynthLib.io.nifti_geometry import Prefer
from MambaSynthLib.io.nrrd_header import read_header
from MambaSynthLib.io.output import check_output
from MambaSynthLib.io.payload import check_file, opened, shown
from MambaSynthLib.io.pictures import PICTURES, picture_texts
from MambaSynthLib.io.rawdata import packed
from MambaSynthLib.provenance import MARK, Provenance

__all__ = [
    "SyntheticMark",
    "check_output",
    "read_marks",
    "read_volume",
    "sha256_of",
    "write_volume",
]

READABLE = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
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
    path: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd, in any case of letters; or a folder with one
        DICOM series.
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
    if os.path.isdir(path) and holds_dicom(path):
        return read_dicom_volume(path, allow_synthetic=allow_synthetic)
    with np.errstate(over="ignore", invalid="ignore"):  # headers hold any number; all are checked
        decoded = _decode(path, suffix_of(path), prefer)
        affine = flipped(decoded.affine, decoded.frame)
        notes = decoded.notes + check_affine(affine, name) + check_sidecar(path)
        array, value_notes = as_float32(decoded.values, name, nan_as_zero)
    mark = read_marks(path)
    if mark is not None:
        if mark.certain and not allow_synthetic:
            raise FileError(
                f"{name}: is synthetic already ({mark.where}: {mark.text}); use an acquired image, "
                "or allow it with --allow-synthetic-input."
            )
        value_notes += (f"synthetic source: {mark.where}: {mark.text}",)
    return Volume(array, affine, name, notes + value_notes)


def read_marks(path: str | Path) -> SyntheticMark | None:
    """Whether the file is synthetic: its own marks first, then the sidecar, then its name.

    Reads headers only, of volumes, DICOM files and folders, sidecars and pictures. Raises FileError
    for a file that is none of these, or whose header cannot be read.
    """
    path = Path(path)
    suffix, name = suffix_of(path), shown(path)
    mark = None
    if os.path.isdir(path) or is_dicom(path):
        said = read_dicom_mark(path)
        return SyntheticMark(said, None, MARK) if said else None
    check_file(path)
    if path.suffix.lower() == ".json":
        return mark_in_sidecar_itself(path)
    if suffix in (".nii", ".nii.gz"):
        mark = mark_in_texts(nifti.texts(path, compressed=suffix == ".nii.gz"))
    elif suffix in (".nrrd", ".nhdr"):
        with opened(path) as stream:
            mark = mark_in_tags("NRRD key/values", read_header(stream, name).tags)
    elif suffix in (".mha", ".mhd"):
        with opened(path) as stream:
            mark = mark_in_tags("MetaImage key/values", mha.read_header(stream, name))
    elif path.suffix.lower() in PICTURES:
        mark = mark_in_texts(picture_texts(path))
    else:
        known = ", ".join((*READABLE, *PICTURES, ".json"))
        raise FileError(f"{name}: is not a format I read; use one of {known}, or DICOM.")
    return mark or mark_in_sidecar(path) or mark_in_name(path)


def sha256_of(source: Volume | str | Path) -> str:
    """Hash of the voxel values and their shape; equal for one image in different formats."""
    volume = source if isinstance(source, Volume) else read_volume(source)
    digest = hashlib.sha256(np.array(volume.shape, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(volume.array, dtype="<f4").data)
    return digest.hexdigest()


def _decode(path: Path, suffix: str, prefer: Prefer = None) -> Decoded:
    check_file(path)
    if suffix in (".nii", ".nii.gz"):
        return nifti.decode(path, compressed=suffix == ".nii.gz", prefer=prefer)
    if suffix in (".nrrd", ".nhdr"):
        return nrrd.decode(path)
    if suffix in (".mha", ".mhd"):
        return mha.decode(path)
    raise FileError(
        f"{shown(path)}: is of no readable format; save it as one of {', '.join(READABLE)}."
    )


def as_float32(
    values: NDArray[Any], name: str, nan_as_zero: bool
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """(I,J,K) finite float32 values, and named warnings."""
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
) -> list[Path]:
    """Write float32 on the exact grid; all files or, with a FileError, none.

    Returns the files written: the image and, with a ``provenance``, its BIDS sidecar. The same
    volume and provenance give the same bytes. Both files are read back before they get their
    names.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite, marked=provenance is not None)
    suffix = suffix_of(path)
    if not np.all(np.isfinite(volume.array)):
        raise FileError(f"{shown(path)}: the image to write holds NaN or infinite values.")
    image = _encode(volume, suffix, provenance)

    def check(written: Path) -> None:
        _check_written(written, suffix, volume, shown(path))

    with staged(path, image, check) as image_file:
        if provenance is None:
            commit(image_file, path)
            return [path]
        sidecar = sidecar_of(path)
        record = json.dumps(provenance.to_bids(), indent=2) + "\n"
        with staged(sidecar, record.encode("ascii")) as sidecar_file:
            commit_pair(image_file, path, sidecar_file, sidecar)
    return [path, sidecar]


def _encode(volume: Volume, suffix: str, provenance: Provenance | None) -> bytes:
    tags = provenance.to_tags() if provenance else {}
    if suffix == ".nrrd":
        return nrrd.encode(volume.array, flipped(volume.affine, "LPS"), tags)
    if suffix == ".mha":
        return mha.encode(volume.array, flipped(volume.affine, "LPS"), tags)
    image = nifti.encode(volume.array, volume.affine, provenance)
    return packed(image) if suffix == ".nii.gz" else image


def _check_written(written: Path, suffix: str, volume: Volume, name: str) -> None:
    try:
        decoded = _decode(written, suffix)
        affine = flipped(decoded.affine, decoded.frame)
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
