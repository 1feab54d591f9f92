"""Small heads, made of ellipsoids, in the layouts of the public data sets."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from scipy import ndimage

from MambaSynthLib.image.volume import Volume

COLUMNS = [  # of a list of heads
    "id", "person", "share", "source", "target", "skull", "source_to_common", "target_to_common",
    "lesions", "license", "citation",
]  # fmt: skip
SHAPE = (48, 40, 32)
SPACING = 4.0
LAS = np.array([[-SPACING, 0, 0, 94], [0, SPACING, 0, -78], [0, 0, SPACING, -62], [0, 0, 0, 1]])
INTENSITY = {  # background, scalp, brain, deep, ventricle, spot
    "T1w": (0, 700, 500, 650, 150, 300),
    "T2w": (0, 300, 420, 330, 900, 600),
    "PDw": (0, 400, 700, 620, 800, 500),
    "FLAIR": (0, 350, 480, 400, 90, 800),
}


def tissues(seed: int) -> np.ndarray:
    """(48,40,32) rows of INTENSITY: nested ellipsoids and lopsided spots, different per seed."""
    rng = np.random.default_rng(seed)
    i, j, k = (np.arange(n) - (n - 1) / 2 for n in SHAPE)
    grid = np.meshgrid(i, j, k, indexing="ij")
    result = np.zeros(SHAPE, dtype=int)
    for row, radius in ((1, (21, 17, 14)), (2, (18, 14, 11.5)), (3, (10, 8, 7))):
        radius = np.array(radius) * rng.uniform(0.95, 1.05, 3)
        result[sum((x / r) ** 2 for x, r in zip(grid, radius, strict=True)) < 1] = row
    for row, center, r in (
        (4, (5, 2, 1), 4),
        (4, (-4, 3, 2), 3),
        (5, (9, -7, 4), 3),
        (5, (-3, 8, -5), 2.5),
    ):
        distance = sum((x - c) ** 2 for x, c in zip(grid, center, strict=True))
        result[distance < r**2] = row
    return result


def head(contrast: str, seed: int = 0, stripped: bool = False, noise: float = 4) -> Volume:
    """A head in one contrast; ``stripped`` is exactly 0 outside the brain."""
    rows = tissues(seed)
    image = np.array(INTENSITY[contrast], dtype=np.float32)[rows]
    image = ndimage.gaussian_filter(image, 0.6)
    image += np.random.default_rng([seed, len(contrast)]).normal(0, noise, SHAPE)
    if stripped:
        image *= rows > 1
    return Volume(np.abs(image), LAS, contrast)


def save(volume: Volume, path) -> None:
    """A NIfTI whose qform and sform agree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(volume.array, volume.affine)
    image.set_sform(volume.affine, 1)
    image.set_qform(volume.affine, 1)
    nib.save(image, path)
