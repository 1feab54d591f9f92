"""``python -m training.data.phantom``: writes one phantom head and a picture of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from MambaSynthLib.errors import FileError, MambaSynthError
from MambaSynthLib.volume import Volume
from training.data.phantom import phantom_subject, read_label_map
from training.data.phantom_config import PhantomConfig
from training.data.signal_equations import CONTRASTS


def main(arguments: list[str] | None = None) -> None:
    """Entry point; a user's mistake is one sentence on stderr and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        labels, affine = read_label_map(options.labels)
        config = PhantomConfig(
            skull=not options.no_skull, lesions=not options.no_lesions, field_tesla=options.field
        )
        rng = np.random.default_rng(options.seed)
        volumes = phantom_subject(labels, affine, rng, options.contrasts, config)
        _write(volumes, options.outdir)
        if options.picture:
            draw(volumes, options.picture)
    except MambaSynthError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="training.data.phantom", description=__doc__)
    parser.add_argument("labels", type=Path, help="whole-head label map, NIfTI")
    parser.add_argument("outdir", type=Path, help="folder for CONTRAST.nii.gz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--contrasts", nargs="+", default=["T1w", "T2w"], choices=CONTRASTS)
    parser.add_argument("--field", type=float, help="1.5 or 3 tesla; drawn if not given")
    parser.add_argument("--no-skull", action="store_true", help="0 outside the brain")
    parser.add_argument("--no-lesions", action="store_true", help="healthy white matter")
    parser.add_argument("--picture", type=Path, help="PNG with three planes of each contrast")
    return parser


def _write(volumes: dict[str, Volume], folder: Path) -> None:
    """One CONTRAST.nii.gz per volume, float32."""
    import nibabel as nib

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for contrast, volume in volumes.items():
            image = nib.Nifti1Image(volume.array, volume.affine)
            nib.save(image, folder / f"{contrast}.nii.gz")
    except OSError as error:
        raise FileError(
            f"{folder}: cannot be written ({error.strerror}); choose another output folder."
        ) from error


def draw(volumes: dict[str, Volume], path: Path) -> None:
    """A PNG: one row per contrast; axial, coronal and sagittal plane near the ventricles."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import nibabel as nib

    fig, axes = plt.subplots(len(volumes), 3, squeeze=False, figsize=(12, 4 * len(volumes)))
    for row, (contrast, volume) in zip(axes, volumes.items(), strict=True):
        image = nib.as_closest_canonical(nib.Nifti1Image(volume.array, volume.affine))
        array = np.asarray(image.dataobj)  # (R,A,S)
        i, j, k = (int(n * part) for n, part in zip(array.shape, (0.54, 0.5, 0.64), strict=True))
        for axis, plane in zip(row, (array[:, :, k], array[:, j], array[i]), strict=True):
            axis.imshow(plane.T, cmap="gray", origin="lower", vmax=np.percentile(array, 99.5))
            axis.set_axis_off()
        row[0].set_title(contrast)
    fig.tight_layout()
    try:
        fig.savefig(path, dpi=80)
    except (OSError, ValueError) as error:  # ValueError: an ending matplotlib does not know
        raise FileError(f"{path}: cannot be written ({error}); give a .png path.") from error
    finally:
        plt.close(fig)
