"""An image is an array and an affine.

| symbol      | code            | shape   | meaning                                             |
|-------------|-----------------|---------|-----------------------------------------------------|
| V           | ``array``       | (I,J,K) | intensities, float32, read-only                     |
| M           | ``affine``      | (4,4)   | voxel index -> RAS millimetres, float64, read-only  |
| \\|M e_i\\| | ``spacing``     | (3,)    | voxel edge lengths in mm                            |
| -           | ``axis_codes``  | 'LPS'.. | direction of growing index, per array axis          |

RAS (right, anterior, superior are positive) is the one convention inside the library; the only
place that turns LPS into it is ``io/geometry.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from MambaSynthLib.errors import RequestError, VolumeError

SAME_PLACE = 1e-3  # mm between two positions of one voxel that count as the same
AXIS_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))  # RAS axis -> (negative, positive) direction

Affine = NDArray[np.float64]


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Volume:
    """A scalar image on a grid in patient space.

    Parameters
    ----------
    array: (I,J,K), any real dtype; kept as a read-only float32 copy.
    affine: (4,4), voxel index -> RAS mm; its columns are the voxel edges, so it must be finite and
        invertible and end in the row 0 0 0 1.
    name: what to call it in messages (a file name, a node name).
    notes: named warnings collected while reading, to be shown and kept in the provenance.

    Raises
    ------
    VolumeError: the array is not 3-D and real, or the affine is no voxel-to-world map.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    name: str = "volume"
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 3:
            raise VolumeError(
                f"{self.name}: has {array.ndim} dimensions {array.shape}, but one 3-D volume is "
                "needed; extract a single volume first."
            )
        if array.size == 0:
            raise VolumeError(f"{self.name}: has no voxels {array.shape}; choose another volume.")
        if array.dtype.kind not in "buif":
            raise VolumeError(
                f"{self.name}: holds {array.dtype} values, but real numbers are needed; "
                "convert it to a scalar image first."
            )
        affine = np.array(self.affine, dtype=np.float64)
        problem = affine_problem(affine)
        if problem:
            raise VolumeError(f"{self.name}: {problem}; correct the image header first.")
        array = np.array(array, dtype=np.float32, order="C")
        array.flags.writeable = False
        affine.flags.writeable = False
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = self.array.shape
        return i, j, k

    @property
    def spacing(self) -> NDArray[np.float64]:
        """(3,) voxel edge lengths in mm, per array axis."""
        return spacing(self.affine)

    @property
    def axis_codes(self) -> str:
        """The patient direction in which each array index grows, e.g. ``'LPS'``."""
        return axis_codes(self.affine)

    def with_array(self, array: ArrayLike, name: str | None = None) -> Volume:
        """The same grid with other intensities of the same shape."""
        array = np.asarray(array)
        if array.shape != self.shape:
            raise VolumeError(
                f"{self.name}: the array {array.shape} does not fit the grid {self.shape}."
            )
        return Volume(array, self.affine, name or self.name, self.notes)


def spacing(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) lengths in mm of the voxel edges, the columns of ``affine``."""
    lengths: NDArray[np.float64] = np.linalg.norm(affine[:3, :3], axis=0)
    return lengths


def axis_codes(affine: NDArray[np.float64]) -> str:
    """The closest patient direction of each voxel axis, each of L/R, P/A, I/S used once.

    The assignment maximizes the total alignment (the sum of absolute direction cosines over the
    six permutations), so that oblique grids are treated as the nearest orthogonal one.
    """
    from itertools import permutations

    cosines = affine[:3, :3] / spacing(affine)
    ras_axis = max(
        permutations(range(3)),
        key=lambda axes: round(sum(abs(cosines[axes[i], i]) for i in range(3)), 9),
    )
    return "".join(AXIS_LETTERS[ras_axis[i]][int(cosines[ras_axis[i], i] > 0)] for i in range(3))


def affine_problem(affine: NDArray[np.float64]) -> str | None:
    """What keeps ``affine`` from being a voxel-to-world map, or None."""
    if affine.shape != (4, 4):
        return f"the affine has shape {affine.shape} instead of (4, 4)"
    if not np.all(np.isfinite(affine)):
        return "the affine holds NaN or infinite values"
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        return f"the last row of the affine is {affine[3].tolist()} instead of 0 0 0 1"
    lengths = spacing(affine)
    if np.any(lengths < 1e-6) or np.any(lengths > 1e6):
        return f"the voxel size {tuple(lengths.round(9).tolist())} mm is impossible"
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        return "the affine is singular, so the voxel axes do not span space"
    return None


def array_axis(volume: Volume, code: str) -> int:
    """The array axis that runs along the patient direction ``code``; either sign will do.

    Raises
    ------
    RequestError: ``code`` is none of L R P A I S.
    """
    pair = next((pair for pair in AXIS_LETTERS if code in pair), None)
    if pair is None:
        raise RequestError(
            f"Slice axis {code!r} is no patient direction; use one of L, R, P, A, I, S."
        )
    return next(axis for axis, letter in enumerate(volume.axis_codes) if letter in pair)


def displacement(first: Affine, second: Affine, shape: tuple[int, ...]) -> float:
    """The largest distance in mm between two places of one voxel of a grid; NaN if undefined.

    It is found at a corner of the grid, where two affine maps differ most.
    """
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))])
    moved = corners @ (first - second).T  # (8,4)
    return float(np.linalg.norm(moved[:, :3], axis=1).max())


def check_same_grid(
    volume: Volume, reference: Volume, name: str = "", reference_name: str = ""
) -> None:
    """Same shape, and every voxel within 1e-3 mm of the same place.

    Raises
    ------
    VolumeError: naming both volumes, by their own names unless others are given.
    """
    who, other = name or volume.name, reference_name or reference.name
    remedy = "resample one onto the grid of the other first."
    if volume.shape != reference.shape:
        raise VolumeError(f"{who} has {volume.shape} voxels, {other} {reference.shape}; {remedy}")
    apart = displacement(volume.affine, reference.affine, volume.shape)
    if apart > SAME_PLACE:
        raise VolumeError(f"{who} and {other} lie up to {apart:.4g} mm apart; {remedy}")


def same_grid(volume: Volume, reference: Volume) -> bool:
    """Whether ``check_same_grid`` has nothing to say."""
    try:
        check_same_grid(volume, reference)
    except VolumeError:
        return False
    return True


def check_finite(volume: Volume) -> None:
    """Raise VolumeError where a voxel is NaN or infinite."""
    bad = int(np.count_nonzero(~np.isfinite(volume.array)))
    if bad:
        raise VolumeError(
            f"{volume.name}: {bad} voxels are NaN or infinite; replace them by numbers first."
        )
