"""Twenty-six ways out of a marked file, and what is left of its marks.

    python -m Testing.survival.round_trips [--readme README.md]

Each trip reads a synthetic image that we wrote and writes it again with another program; the
result is looked at alone, without the sidecar, unless the program writes one. A program that is not
installed here is said to be missing. 3D Slicer is not run: its writers are ITK's, which keep of a
volume node the voxels and the geometry, so that is what is handed on here.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.dicom_series import open_series
from MambaSynthLib.io.dicom_writing import write_dicom
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from MambaSynthLib.io.voxels import images_in
from MambaSynthLib.watermark.detection import find_mark_of_frames
from MambaSynthLib.watermark.embedding import with_mark
from MambaSynthLib.watermark.marking import words_of
from MambaSynthTraining.evaluation.marked_text import put_into_block
from Testing.analytic_heads import analytic_head
from Testing.library.dicom_slices import dicom_series, of_a_person
from Testing.provenance_records import RECORD
from Testing.survival.pixel_mark import table

COMMAND = "python -m Testing.survival.round_trips"
MODEL = "cravim-head-t1w-t2w"
Trip = Callable[[Path, Path], Path]  # (marked NIfTI, empty folder) -> what is left
MISSING = "not installed here"


# ---------------------------------------------------------------------------------------- nibabel


def nibabel_as_is(file: Path, folder: Path) -> Path:
    nib.save(nib.load(file), folder / "x.nii.gz")
    return folder / "x.nii.gz"


def nibabel_new_header(file: Path, folder: Path) -> Path:
    image = nib.load(file)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine), folder / "x.nii")
    return folder / "x.nii"


def nibabel_int16(file: Path, folder: Path) -> Path:
    image = nib.load(file)
    whole = np.round(image.get_fdata()).astype(np.int16)
    nib.save(nib.Nifti1Image(whole, image.affine), folder / "x.nii.gz")
    return folder / "x.nii.gz"


def nibabel_canonical(file: Path, folder: Path) -> Path:
    nib.save(nib.as_closest_canonical(nib.load(file)), folder / "x.nii.gz")
    return folder / "x.nii.gz"


def nibabel_resampled(file: Path, folder: Path) -> Path:
    from nibabel.processing import resample_to_output

    nib.save(resample_to_output(nib.load(file), (1.2, 1.2, 1.7), order=1), folder / "x.nii.gz")
    return folder / "x.nii.gz"


def nibabel_cropped(file: Path, folder: Path) -> Path:
    nib.save(nib.load(file).slicer[30:140, 40:170, 10:70], folder / "x.nii.gz")
    return folder / "x.nii.gz"


# -------------------------------------------------------------------------------------- SimpleITK


def _itk(suffix: str, change: Callable = lambda itk, image: image) -> Trip:
    def trip(file: Path, folder: Path) -> Path:
        import SimpleITK as itk

        out = folder / f"x{suffix}"
        itk.WriteImage(change(itk, itk.ReadImage(str(file))), str(out))
        return out

    return trip


def _itk_resampled(itk, image):
    size = [int(n * s / 1.25) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    return itk.Resample(image, size, itk.Transform(), itk.sitkLinear, image.GetOrigin(),
                        (1.25, 1.25, 1.25), image.GetDirection())  # fmt: skip


def _itk_windowed(itk, image):
    return itk.Cast(itk.RescaleIntensity(image, 0, 4095), itk.sitkInt16)


def _itk_turned(itk, image):
    return itk.Flip(itk.PermuteAxes(image, [1, 2, 0]), [True, False, True])


# ------------------------------------------------------------------------------- MONAI, TorchIO


def _monai(*steps: Callable) -> Trip:
    def trip(file: Path, folder: Path) -> Path:
        from monai.transforms import EnsureChannelFirst, LoadImage, SaveImage

        image = EnsureChannelFirst()(LoadImage(image_only=True)(file))
        for step in steps:
            image = step()(image)
        SaveImage(folder, output_postfix="", separate_folder=False, print_log=False)(image)
        return next(folder.glob("*.nii*"))

    return trip


def _spacing():
    from monai.transforms import Spacing

    return Spacing((1.2, 1.2, 1.6))


def _orientation():
    from monai.transforms import Orientation

    return Orientation("LAS", labels=None)


def _scaled():
    from monai.transforms import ScaleIntensity

    return ScaleIntensity()


def _torchio(change: Callable = lambda tio, image: image) -> Trip:
    def trip(file: Path, folder: Path) -> Path:
        import torchio as tio

        change(tio, tio.ScalarImage(file)).save(folder / "x.nii.gz")
        return folder / "x.nii.gz"

    return trip


# ------------------------------------------------------------------------------------- DICOM


def our_dicom(file: Path, folder: Path) -> Path:
    """Our own series, written beside a made-up acquired one."""
    volume = read_volume(file)
    whole = volume.with_array(np.round(volume.array).clip(0))
    dicom_series(folder / "source", [whole], (0.0,), change=of_a_person)
    source, out = open_series(folder / "source"), folder / "series"
    write_dicom([source.volume()], out, source, replace(RECORD, model_id=MODEL))
    shutil.rmtree(folder / "source")
    return out


def _dcm2niix(sidecar: bool) -> Trip:
    def trip(file: Path, folder: Path) -> Path:
        import dcm2niix

        series = our_dicom(file, folder)
        subprocess.run([dcm2niix.bin, "-f", "x", "-z", "y", "-o", folder, series],
                       check=True, capture_output=True)  # fmt: skip
        shutil.rmtree(series)
        if not sidecar:
            (folder / "x.json").unlink()
        return folder / "x.nii.gz"

    return trip


# --------------------------------------------------------------------------------------- Slicer


def _bare(file: Path, suffix: str, folder: Path) -> Path:
    """What ITK's writer makes of the voxels and the geometry alone, as Slicer hands them on."""
    import SimpleITK as itk

    image = itk.ReadImage(str(file))
    bare = itk.GetImageFromArray(itk.GetArrayFromImage(image))
    bare.SetSpacing(image.GetSpacing())
    bare.SetOrigin(image.GetOrigin())
    bare.SetDirection(image.GetDirection())
    itk.WriteImage(bare, str(folder / f"x{suffix}"))
    return folder / f"x{suffix}"


def slicer_saved(suffix: str) -> Trip:
    return lambda file, folder: _bare(file, suffix, folder)


def slicer_scene(file: Path, folder: Path) -> Path:
    """A bundle is a zip with the volume as NRRD; the scene's attributes stay in the bundle."""
    inside = _bare(file, ".nrrd", folder)
    with zipfile.ZipFile(folder / "scene.mrb", "w") as bundle:
        bundle.write(inside, "Data/x.nrrd")
    inside.unlink()
    with zipfile.ZipFile(folder / "scene.mrb") as bundle:
        inside.write_bytes(bundle.read("Data/x.nrrd"))
    return inside


def slicer_dicom(file: Path, folder: Path) -> Path:
    """The stock export: whole numbers, and nothing of how the image came about."""
    volume = read_volume(file)
    return dicom_series(folder / "x", [volume.with_array(volume.array.clip(0))], (0.0,))


TRIPS: dict[str, tuple[str, Trip]] = {
    "nibabel, load and save": ("nibabel", nibabel_as_is),
    "nibabel, array and affine in a new image": ("nibabel", nibabel_new_header),
    "nibabel, int16": ("nibabel", nibabel_int16),
    "nibabel, canonical axes": ("nibabel", nibabel_canonical),
    "nibabel, resampled": ("nibabel", nibabel_resampled),
    "nibabel, cut": ("nibabel", nibabel_cropped),
    "SimpleITK, NIfTI": ("SimpleITK", _itk(".nii.gz")),
    "SimpleITK, NRRD": ("SimpleITK", _itk(".nrrd")),
    "SimpleITK, MetaImage": ("SimpleITK", _itk(".mha")),
    "SimpleITK, resampled": ("SimpleITK", _itk(".nii.gz", _itk_resampled)),
    "SimpleITK, rescaled to int16": ("SimpleITK", _itk(".nii.gz", _itk_windowed)),
    "SimpleITK, axes turned": ("SimpleITK", _itk(".nii.gz", _itk_turned)),
    "MONAI, load and save": ("monai", _monai()),
    "MONAI, Orientation": ("monai", _monai(_orientation)),
    "MONAI, Spacing": ("monai", _monai(_spacing)),
    "MONAI, ScaleIntensity": ("monai", _monai(_scaled)),
    "TorchIO, load and save": ("torchio", _torchio()),
    "TorchIO, Resample": ("torchio", _torchio(lambda tio, x: tio.Resample(1.25)(x))),
    "TorchIO, ToCanonical": ("torchio", _torchio(lambda tio, x: tio.ToCanonical()(x))),
    "our DICOM, dcm2niix with its sidecar": ("dcm2niix", _dcm2niix(sidecar=True)),
    "our DICOM, dcm2niix, image alone": ("dcm2niix", _dcm2niix(sidecar=False)),
    "Slicer without our module, NIfTI": ("SimpleITK", slicer_saved(".nii.gz")),
    "Slicer without our module, NRRD": ("SimpleITK", slicer_saved(".nrrd")),
    "Slicer without our module, MetaImage": ("SimpleITK", slicer_saved(".mha")),
    "Slicer without our module, scene bundle": ("SimpleITK", slicer_scene),
    "Slicer without our module, its DICOM export": ("pydicom", slicer_dicom),
}


def synthetic_head() -> Volume:
    """A computed T2w image with the mark, as an engine returns it."""
    volume = analytic_head((1.0, 1.0, 2.0))["T2w"]
    return with_mark(volume.with_array(volume.array * (1000 / volume.array.max())), MODEL)


def told(trip: Trip, file: Path) -> dict[str, str]:
    """What is found after a trip, by the file's marks and by the voxels."""
    with tempfile.TemporaryDirectory() as name:
        left = trip(file, Path(name))
        try:
            mark_there = read_marks(left)
        except FileError:
            mark_there = None
        in_voxels = find_mark_of_frames(images_in(left), [MODEL])
    by_file = mark_there is not None and mark_there.certain
    return {
        "file mark": mark_there.where.split(":")[-1].strip() if by_file and mark_there else "lost",
        "pixel mark": f"{in_voxels.score:.0f}, {in_voxels.model}" if in_voxels else "lost",
    }


def rows(names: list[str]) -> dict[str, dict[str, str]]:
    """Trip -> what is found."""
    found = {}
    record = replace(RECORD, model_id=MODEL, pixel_mark=words_of(MODEL))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "marked.nii.gz"
        write_volume(synthetic_head(), file, provenance=record)
        for name in names:
            package, trip = TRIPS[name]
            here = find_spec(package) or shutil.which(package)
            found[name] = told(trip, file) if here else dict.fromkeys(
                ("file mark", "pixel mark"), MISSING
            )  # fmt: skip
            print(name, found[name], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readme", type=Path, help="put the table into its block")
    options = parser.parse_args()
    found = rows(list(TRIPS))
    answers = [row for row in found.values() if row["file mark"] != MISSING]
    kept = [row for row in answers if set(row.values()) != {"lost"}]
    columns = {
        kind: {name: row[kind] for name, row in found.items()}
        for kind in ("file mark", "pixel mark")
    }
    by_file = sum(row["file mark"] != "lost" for row in answers)
    text = (
        f"{len(kept)} of {len(answers)} trips made leave a mark, {by_file} of them one in the "
        f"file; {len(found) - len(answers)} of {len(found)} trips could not be made here.\n\n"
        + table("trip", columns)
    )
    print(text)
    if options.readme:
        put_into_block(options.readme, COMMAND, text)


if __name__ == "__main__":
    main()
