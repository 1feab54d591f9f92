"""Single slices in an npz become volumes of one slice, which a list of heads can name.

    python training/recipes/heads/slices_as_volumes.py SLICES.npz T2w DATA/ixi_slices

writes T2w_00.nii.gz, T2w_01.nii.gz and so on of the array ``T2w`` (N, rows, columns). Rows lead
from right to left, columns from front to back, as in the 22 slices of IXI that SynDiff (Oezbey et
al., IEEE TMI 2023) has as a sample.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume

PIXEL_MM, SLICE_MM = 0.9375, 5.0  # of IXI's T2w; thicker than it was, as no neighbors are known
BRIGHTEST = 1000.0


def volumes(slices: np.ndarray) -> list[Volume]:
    """Of (N, rows, columns), the middle of each at the origin."""
    rows, columns = slices.shape[1:]
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, SLICE_MM, 1.0])
    affine[:2, 3] = PIXEL_MM * (rows - 1) / 2, PIXEL_MM * (columns - 1) / 2
    top = float(slices.max())
    scaled = np.clip(slices, 0, None)[..., None] * np.float32(BRIGHTEST / top)
    return [
        Volume(image.astype(np.float32), affine, f"slice {n}") for n, image in enumerate(scaled)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("npz", type=Path)
    parser.add_argument("contrast")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with np.load(options.npz, allow_pickle=False) as arrays:
        made = volumes(arrays[options.contrast])
    for n, volume in enumerate(made):
        write_volume(volume, options.out / f"{options.contrast}_{n:02d}.nii.gz")
    print(f"{options.out}: {len(made)} volumes of one slice")


if __name__ == "__main__":
    main()
