"""The voxel-to-patient map of a NIfTI header: sform, qform, both, or neither.

Two forms that disagree are refused, never mixed. Source: nifti1.h, methods 1 to 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import SAME_PLACE, Affine, displacement, spacing
from MambaSynthLib.io.decoded import Prefer
from MambaSynthLib.io.geometry import NO_PATIENT_GEOMETRY, in_millimeters, unit_note

Header = Any  # a nibabel Nifti1Header or Nifti2Header; nibabel declares no types for them

UNITS = {1: ("meters", 1e3), 3: ("micrometers", 1e-3)}  # xyzt_units & 7 -> mm
QUATERNION_ROUNDING = 1e-6  # a few float32 steps near 1


def patient_affine(
    header: Header, shape: tuple[int, int, int], prefer: Prefer, name: str
) -> tuple[Affine, tuple[str, ...]]:
    """The voxel -> RAS mm map that the header states, and named warnings."""
    unit, factor = UNITS.get(int(header["xyzt_units"]) & 7, ("mm", 1.0))
    voxel_size = _voxel_size(header, factor, name)
    notes = unit_note(unit) if factor != 1 else ()
    has_qform, has_sform = int(header["qform_code"]) > 0, int(header["sform_code"]) > 0
    if not has_qform and not has_sform:
        return np.diag((*voxel_size * (-1, -1, 1), 1.0)), (*notes, NO_PATIENT_GEOMETRY)
    sform = in_millimeters(header.get_sform(), factor)
    if not has_qform:
        if not np.allclose(spacing(sform), voxel_size, rtol=1e-3):
            notes += ("voxel sizes differ: pixdim and sform disagree, the sform was used",)
        return sform, notes
    if has_sform and prefer == "sform" and _quaternion(header) is None:
        return sform, (*notes, "qform ignored: it is no rotation, the sform was used")
    qform = in_millimeters(_qform(header, name), factor)
    if not has_sform:
        return qform, notes
    apart = displacement(qform, sform, shape)
    if apart <= SAME_PLACE or np.isfinite(apart) and _same_quaternion(header):
        return sform, notes
    if prefer is None:
        raise FileError(
            f"{name}: its qform and sform place voxels {apart:.4g} mm apart; find out which one is "
            "right and read it with --prefer sform or --prefer qform."
        )
    notes += (f"qform and sform differ by {apart:.4g} mm: the {prefer} was used",)
    return (sform if prefer == "sform" else qform), notes


def _voxel_size(header: Header, factor: float, name: str) -> np.ndarray[Any, Any]:
    sizes = np.array(header["pixdim"][1:4], dtype=np.float64)
    millimeters = sizes * factor
    if not np.all((millimeters > 1e-6) & (millimeters < 1e6)):  # also false for NaN
        raise FileError(
            f"{name}: states the impossible voxel size {tuple(sizes.tolist())} (pixdim); correct "
            "the image header first."
        )
    return millimeters


def _quaternion(header: Header) -> np.ndarray[Any, Any] | None:
    """(3,) b, c, d of the qform, or None where they are no rotation."""
    stored = np.array([header[f"quatern_{letter}"] for letter in "bcd"], dtype=np.float64)
    usable = np.all(np.isfinite(stored)) and stored @ stored <= 1 + QUATERNION_ROUNDING
    return stored if usable else None


def _qform(header: Header, name: str) -> Affine:
    quaternion = _quaternion(header)
    if quaternion is None:
        raise FileError(
            f"{name}: its qform is no rotation (quaternion parts beyond 1 or not finite); correct "
            "the header, or read it with --prefer sform where it has an sform."
        )
    exact = header.copy()
    for letter, part in zip("bcd", quaternion / max(1.0, np.linalg.norm(quaternion)), strict=True):
        exact[f"quatern_{letter}"] = part
    if exact["pixdim"][0] not in (-1, 1):  # by the standard, anything else counts as 1
        exact["pixdim"][0] = 1
    return np.asarray(exact.get_qform(), dtype=np.float64)


def _same_quaternion(header: Header) -> bool:
    """Whether the sform, stored as a quaternion, would give the bytes of the qform.

    a = sqrt(1 - b^2 - c^2 - d^2) loses all its digits near half turns, so that two correct forms
    of one oblique LPS image can place voxels 0.05 mm apart. Nothing contradicts then, and the
    sform is the finer of the two.
    """
    twin = header.copy()
    twin.set_qform(header.get_sform(), code=1)
    mine, its = _quaternion(header), _quaternion(twin)
    if mine is None or its is None:
        return False
    turned = min(np.abs(mine - its).max(), np.abs(mine + its).max())
    same_hand = (header["pixdim"][0] == -1) == (twin["pixdim"][0] == -1)
    same_numbers = np.allclose(header["pixdim"][1:4], twin["pixdim"][1:4], rtol=1e-6) and all(
        np.isclose(header[field], twin[field], rtol=1e-6, atol=1e-6)
        for field in ("qoffset_x", "qoffset_y", "qoffset_z")
    )
    return bool(turned <= QUATERNION_ROUNDING and same_hand and same_numbers)
