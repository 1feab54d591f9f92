"""The head of the demo: the MNI152 template of healthy adults, with its tissue maps.

The images are files of the Python package ``nilearn`` (BSD), which has to be there and is never
imported: none of what it depends on is needed. They are the T1w template "ICBM 2009a Nonlinear
Symmetric", its brain only, 1 mm (Fonov et al., NeuroImage 54:313, 2011).
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.phantom.head import computed_head

NILEARN = "0.14.1"
INSTALL = f"pip install --no-deps nilearn=={NILEARN}"
FOLDER, NAME = Path("datasets", "data"), "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
SHA256 = {
    "t1": "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6",
    "gm": "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed",
    "wm": "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db",
}
FULL = 255  # the value of a map where a voxel holds nothing but its tissue
EVERY = 2  # of the template's slices, which are 1 mm thin, the computed head has every second


def template_file(which: str = "t1") -> Path:
    """The template (t1), or its map of gray (gm) or white matter (wm).

    Raises
    ------
    FileError: nilearn is not installed, or brings another file; the one command that puts it
        right is named.
    """
    spec = find_spec("nilearn")
    places = (spec.submodule_search_locations or []) if spec else []
    for place in places:
        path = Path(place) / FOLDER / NAME.format(which)
        if path.is_file():
            if hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[which]:
                return path
            raise FileError(
                f"{path}: is not the file of nilearn {NILEARN} (its sha256 differs); run: {INSTALL}"
            )
    raise FileError(
        "the demo's head comes with the Python package nilearn, which is not installed (11 MB, "
        f"none of its code is run); run: {INSTALL}"
    )


def template_head() -> dict[str, Volume]:
    """T1w and T2w of the head computed around the template's brain, 1 x 1 x 2 mm.

    Raises FileError as :func:`template_file`.
    """
    gray, white = (read_volume(template_file(which)) for which in ("gm", "wm"))
    affine = gray.affine @ np.diag([1, 1, EVERY, 1])
    return computed_head(
        gray.array[:, :, ::EVERY] / FULL, white.array[:, :, ::EVERY] / FULL, affine
    )
