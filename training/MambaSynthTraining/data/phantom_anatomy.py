"""The geometry of a phantom head: pose, lesions, fat between muscles, the brain's mask.

Every function takes and returns whole arrays on one grid and draws from the generator handed in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.phantom.random_field import smooth_field
from MambaSynthLib.phantom.tissues import (
    EYE_LABEL,
    FLUID_AROUND_BRAIN,
    INDEX,
    LESION_LABEL,
    SKIN_LABEL,
    SOFT_TISSUE,
    VENTRICLES,
)
from MambaSynthTraining.data.phantom_config import PhantomConfig

Labels = NDArray[np.integer]
Floats = NDArray[np.float64]
WHITE_MATTER = (2, 41)
CLOSING_MM = 6.0  # half the width of a fissure that skull stripping does not enter


def warp(
    labels: Labels, voxel: Floats, left_right: int, config: PhantomConfig, rng: np.random.Generator
) -> Labels:
    """Labels of the same shape after a random mirror, rotation, scaling and elastic deformation.

    Voxel x of the result shows voxel center + V^-1 (R S V (x - center) + u(x)), nearest neighbor;
    V holds the voxel edges in mm, u is a smooth displacement in mm.
    """
    if config.flip and rng.random() < 0.5:
        labels = np.flip(labels, left_right)
    matrix = _rotation(np.deg2rad(rng.uniform(-1, 1, 3) * config.rotation_degrees))
    matrix = matrix * (1 + rng.uniform(-1, 1, 3) * config.scaling)
    matrix = matrix * voxel / voxel[:, None]
    amplitude = config.deformation_mm * rng.uniform(0.2, 1)
    x = np.ogrid[tuple(slice(-(n - 1) / 2, n / 2) for n in labels.shape)]
    source = np.empty((3, *labels.shape), dtype=np.float32)
    for axis in range(3):
        center = (labels.shape[axis] - 1) / 2
        shift = smooth_field(labels.shape, voxel, 35, rng) * np.float32(amplitude / voxel[axis])
        source[axis] = sum(matrix[axis, j] * x[j] for j in range(3)) + center + shift
    return ndimage.map_coordinates(labels, source, order=0, mode="constant", cval=0)


def _rotation(angles: Floats) -> Floats:
    """(3,3) rotation about the three axes in turn, angles in radians."""
    from scipy.spatial.transform import Rotation

    matrix: Floats = Rotation.from_euler("xyz", angles).as_matrix()
    return matrix


def add_lesions(labels: Labels, voxel: Floats, rng: np.random.Generator) -> Labels:
    """Replaces white matter by ellipsoid lesions, three of four near the ventricles.

    Multiple sclerosis plaques: a handful to some dozens, 1 to 5 mm in radius.
    """
    labels = labels.copy()
    white = np.isin(labels, WHITE_MATTER)
    ventricles = np.isin(labels, VENTRICLES).astype(np.float32)
    # beyond the reach of 5 mm blurring the ventricles count as far away
    near = white & (ndimage.gaussian_filter(ventricles, 5 / voxel) > 0.03)
    places = [np.argwhere(near), np.argwhere(white)]
    for _ in range(rng.integers(5, 40)):
        choice = places[int(rng.random() > 0.75)]
        if len(choice):
            radius = rng.lognormal(np.log(2.0), 0.45) * rng.uniform(0.7, 1.4, 3)
            _paint_lesion(labels, choice[rng.integers(len(choice))], radius / voxel)
    return labels


def _paint_lesion(labels: Labels, center: NDArray[np.int_], radius: Floats) -> None:
    """Marks the white matter inside an ellipsoid; center and radius in voxels."""
    reach = np.ceil(radius).astype(int)
    low, high = np.maximum(center - reach, 0), center + reach + 1
    box = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    x = np.ogrid[tuple(slice(a, a + n) for a, n in zip(low, box.shape, strict=True))]
    distance = sum(((x[i] - center[i]) / max(radius[i], 0.5)) ** 2 for i in range(3))
    box[(distance <= 1) & np.isin(box, WHITE_MATTER)] = LESION_LABEL


def add_fat(
    tissues: NDArray[np.uint8], labels: Labels, voxel: Floats, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Splits "all other soft tissue" into muscle and fat, which the label maps do not do.

    Fat lies under the skin, around the eyes, and in sheets between muscles: where a smooth random
    field is close to zero. Where the drawn thickness is negative, the sheet is interrupted.
    """
    soft = labels == SOFT_TISSUE
    if not soft.any():
        return tissues
    under_skin = rng.uniform(3, 6) + 1.5 * smooth_field(labels.shape, voxel, 30, rng)
    fat = _distance_mm(labels == SKIN_LABEL, voxel) < under_skin
    fat |= _distance_mm(labels == EYE_LABEL, voxel) < 9
    thickness = rng.uniform(0.1, 0.3) + 0.2 * smooth_field(labels.shape, voxel, 25, rng)
    fat |= np.abs(smooth_field(labels.shape, voxel, 7, rng)) < thickness
    tissues = tissues.copy()
    tissues[soft & fat] = INDEX["fat"]
    return tissues


def _distance_mm(mask: NDArray[np.bool_], voxel: Floats) -> NDArray[np.float32]:
    """Distance to the mask, computed for every second voxel only: 8 times cheaper."""
    coarse = mask[::2, ::2, ::2]
    if not coarse.any():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    distance = ndimage.distance_transform_edt(~coarse, sampling=2 * voxel).astype(np.float32)
    for axis, n in enumerate(mask.shape):
        distance = np.repeat(distance, 2, axis=axis)
        distance = np.delete(distance, np.s_[n:], axis=axis)
    return distance


def brain_mask(
    labels: Labels, brain: NDArray[np.bool_], voxel: Floats, margin_mm: float
) -> NDArray[np.bool_]:
    """What skull stripping leaves: the brain, and the fluid in its sulci and close around it.

    Dilating further and eroding back (a closing) keeps the fluid inside wide fissures, while
    outside no more than ``margin_mm`` remains.
    """
    voxel_mm = float(voxel.min())
    margin, closing = max(1, round(margin_mm / voxel_mm)), max(1, round(CLOSING_MM / voxel_mm))
    near = ndimage.binary_dilation(brain, iterations=margin + closing)
    near = ndimage.binary_erosion(near, iterations=closing, border_value=1)
    pieces, _ = ndimage.label(brain | (near & (labels == FLUID_AROUND_BRAIN)))
    largest = np.argmax(np.bincount(pieces.ravel())[1:]) + 1  # specks of the label map go
    mask: NDArray[np.bool_] = pieces == largest
    return mask
