"""The images in a file of any readable kind, for who wants to look at the voxels alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.dicom_files import holds_dicom
from MambaSynthLib.io.dicom_series import open_series
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.io.formats import CINES, PICTURES, suffix_of
from MambaSynthLib.io.payload import opened, shown


def images_in(path: Path) -> Sequence[Volume]:
    """One volume, the frames of a cine, or a picture as one slice of gray.

    Raises FileError for what cannot be read to its last voxel.
    """
    if holds_dicom(path):
        return list(open_series(path).images())
    if path.suffix.lower() in PICTURES:
        return [read_picture(path)]
    if path.is_dir():
        return read_cine(path).frames
    try:
        return [read_volume(path)]
    except FileError:
        if suffix_of(path) not in CINES:
            raise
    return read_cine(path).frames


def read_picture(path: Path) -> Volume:
    """(H,W,1) the gray of a PNG or GIF, of its first frame. Raises FileError."""
    from PIL import Image

    try:
        with opened(path) as stream, Image.open(stream, formats=["PNG", "GIF"]) as picture:
            gray = np.asarray(picture.convert("L"), np.float32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FileError(
            f"{shown(path)}: is no PNG or GIF picture that can be read; check what the file is."
        ) from error
    return Volume(gray[:, :, None], np.eye(4), shown(path))
