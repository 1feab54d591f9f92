"""Voxel-to-world maps of files: the one place where LPS becomes RAS, limits of axes, and units."""

from __future__ import annotations

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Affine, affine_problem, spacing
from MambaSynthLib.io.decoded import Frame

ROUNDING_SHEAR = 1e-5  # |cosine| between axes that rounded headers show
TOLERABLE_SHEAR = 1e-4  # 0.025 mm across a head
NO_PATIENT_GEOMETRY = (
    "no patient geometry: the file states no position or orientation, so left and right are "
    "unknown; the axes are taken as ITK and 3D Slicer take them"
)
TO_RAS: dict[Frame, tuple[int, ...]] = {
    "RAS": (1, 1, 1, 1),
    "LAS": (-1, 1, 1, 1),
    "LPS": (-1, -1, 1, 1),
}


def flipped(affine: Affine, frame: Frame) -> Affine:
    """``affine`` between ``frame`` and RAS; the flip is its own inverse."""
    turned: Affine = np.array(TO_RAS[frame])[:, None] * affine
    return turned


def check_affine(affine: Affine, name: str) -> tuple[str, ...]:
    """Refuse what is no voxel-to-world map or visibly sheared; note what is slightly sheared.

    Raises FileError. A gantry tilt is a shear: the slices are right but shifted in steps, so that
    voxel axes do not meet at right angles.
    """
    problem = affine_problem(affine)
    if problem:
        raise FileError(f"{name}: {problem}; correct the image header first.")
    axes = affine[:3, :3] / spacing(affine)
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > TOLERABLE_SHEAR:
        raise FileError(
            f"{name}: the voxel axes are sheared (cosine {shear:.2g} between two of them, at most "
            f"{TOLERABLE_SHEAR:g} is allowed); resample it to a rectangular grid first."
        )
    if shear > ROUNDING_SHEAR:
        return (f"slight shear: the voxel axes are off a right angle by a cosine of {shear:.2g}",)
    return ()


def in_millimeters(affine: Affine, factor: float) -> Affine:
    """``affine`` given in a unit of ``factor`` mm, in mm."""
    scaled = affine.copy()
    scaled[:3] *= factor
    return scaled


def unit_note(unit: str) -> tuple[str, ...]:
    return (f"unit converted: the header measures in {unit}, converted to mm",)
