"""Make the demo's head from the open MS data set: patient 19, averaged to 2 mm.

    python Testing/data/make_head.py FOLDER_OF_PATIENT19

FOLDER holds T1_MNI.nii.gz and T2_MNI.nii.gz (registered, skull-stripped, 1 mm). Each 2x2x2 block
becomes its mean; blocks that are not all brain become background, which stays exactly 0.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np

HERE = Path(__file__).resolve().parent / "head"


def halved(array: np.ndarray) -> np.ndarray:
    """(2I,2J,2K) -> (I,J,K) block means, rounded to integers."""
    i, j, k = (n // 2 for n in array.shape)
    blocks = array[: 2 * i, : 2 * j, : 2 * k].reshape(i, 2, j, 2, k, 2)
    inside = (blocks != 0).all(axis=(1, 3, 5))
    return np.where(inside, np.rint(blocks.mean(axis=(1, 3, 5))), 0).astype(np.int16)


def main(folder: Path) -> None:
    for contrast, name in (("T1w", "T1_MNI.nii.gz"), ("T2w", "T2_MNI.nii.gz")):
        image = nib.load(folder / name)
        affine = image.affine @ np.diag([2, 2, 2, 1])
        affine[:3, 3] += image.affine[:3, :3] @ [0.5, 0.5, 0.5]  # centre of the first block
        smaller = nib.Nifti1Image(halved(image.get_fdata()), affine)
        smaller.set_sform(affine, 4)  # MNI space
        smaller.set_qform(affine, 4)
        smaller.header.set_xyzt_units("mm")
        nib.save(smaller, HERE / f"sub-19_{contrast}.nii.gz")


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    main(Path(sys.argv[1]))
