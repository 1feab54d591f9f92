"""NIfTI-1 images of float32 values, marked where they are synthetic. Source: nifti1.h."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import SAME_PLACE, Affine, displacement
from MambaSynthLib.io.nifti import COMMENT
from MambaSynthLib.io.rawdata import packed
from MambaSynthLib.provenance import MARK, UNCERTAINTY, Provenance

AUX_FILE = b"SYNTHETIC MambaSynth"  # at most 24 bytes
MOST_ALONG_AXIS = 2**15 - 1


def encode(
    values: np.ndarray[Any, Any], affine: Affine, provenance: Provenance | None, *, compressed: bool
) -> bytes:
    """A NIfTI-1 image of float32 values on a RAS ``affine``, marked if synthetic.

    Both sform and qform are set (code 1, scanner), but the qform is left out where its float32
    quaternion cannot say the same as the sform to 1e-3 mm.
    """
    image = head(values.shape, affine, provenance) + values.astype("<f4").tobytes(order="F")
    return packed(image) if compressed else image


def head(
    shape: tuple[int, ...],
    affine: Affine,
    provenance: Provenance | None,
    times_ms: tuple[float, ...] = (),
) -> bytes:
    """Everything before the voxels of a float32 image (I,J,K) or (I,J,K,F), see ``encode``.

    The times of frames are stated as an even step; uneven ones are in the provenance only.
    """
    import nibabel

    if max(shape) > MOST_ALONG_AXIS:
        raise FileError(
            f"An image of {shape} voxels does not fit NIfTI-1, which has at most "
            f"{MOST_ALONG_AXIS} along an axis; write it as .nrrd."
        )
    header: Any = nibabel.Nifti1Header(endianness="<")  # type: ignore[no-untyped-call]
    header.set_data_dtype("<f4")
    header.set_data_shape(shape)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = header.single_magic
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    header.set_xyzt_units("mm", "msec" if times_ms else None)
    if times_ms:
        header["pixdim"][4] = (times_ms[-1] - times_ms[0]) / max(len(times_ms) - 1, 1)
        header["toffset"] = times_ms[0]
    if displacement(header.get_qform(), header.get_sform(), shape[:3]) > SAME_PLACE:
        header["qform_code"] = 0
    if provenance is not None:
        record = json.dumps(provenance.to_bids()).encode("ascii")
        header["descrip"] = description_of(provenance).encode("ascii")
        header["aux_file"] = AUX_FILE
        header.extensions.append(nibabel.nifti1.Nifti1Extension(COMMENT, record))
    stream = io.BytesIO()
    header.write_to(stream)
    return stream.getvalue()


def description_of(provenance: Provenance) -> str:
    """At most 80 characters, shown by most viewers."""
    return f"{MARK}, {UNCERTAINTY}" if provenance.quantity else MARK
