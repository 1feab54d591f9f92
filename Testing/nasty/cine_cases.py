"""Cines: frames that are missing, foreign or said to be others, in files, folders and DICOM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from Testing.library.cine_hearts import beat
from Testing.library.dicom_slices import dicom_series
from Testing.nasty.case import REFUSED, WARNED, Case

GROUP = "cine"
TABLE = "file\ttime_ms\n" + "".join(f"f-{n}.nii\t{90 * n}\n" for n in range(4))


def cine(what: str, make: Callable[[Path], Any], wanted: str = REFUSED) -> Case:
    return Case(GROUP, what, make, wanted, rivals=False, command="cine")


def stacked(arrays: Sequence[Any] = [frame.array for frame in beat()], step: float = 90.0,
            beside: dict[str, str] | None = None) -> Callable[[Path], Path]:  # fmt: skip
    """A 4-D file, and texts beside it."""

    def make(folder: Path) -> Path:
        image = nibabel.Nifti1Image(np.stack(arrays, axis=-1), beat()[0].affine)
        image.header.set_xyzt_units("mm", "msec")
        image.header["pixdim"][4] = step
        nibabel.save(image, folder / "c.nii")
        for name, text in (beside or {}).items():
            (folder / name).write_text(text)
        return folder / "c.nii"

    return make


def in_folder(numbers: Sequence[int] = (0, 1, 2, 3), table: str = "",
              frames: Sequence[Volume] = beat()) -> Callable[[Path], Path]:  # fmt: skip
    def make(folder: Path) -> Path:
        inside = folder / "frames"
        inside.mkdir()
        for number, frame in zip(numbers, frames, strict=True):
            write_volume(frame, inside / f"f-{number}.nii")
        if table:
            (inside / "frames.tsv").write_text(table)
        return inside

    return make


def of_dicom(change: Callable[[Any, int, int], Any] = lambda d, k, f: True) -> Any:
    return lambda folder: dicom_series(folder / "series", change=change)


def cases() -> list[Case]:
    first, second, third, fourth = beat()
    moved = Volume(second.array, second.affine + _shift(0.5))
    smaller = Volume(second.array[1:], second.affine)
    nan = np.array(second.array)
    nan[1, 2, 3] = np.nan
    return [
        cine("four frames with times in a 4-D file", stacked(), "ok"),
        cine("four frames without times", stacked(step=0.0), WARNED),
        cine("one frame", stacked([first.array])),
        cine("a frame with NaN", stacked([first.array, nan, third.array])),
        cine("frames numbered 0, 1, 3, 4", in_folder((0, 1, 3, 4))),
        cine("the same with a table of times", in_folder((0, 1, 3, 4), TABLE.replace(
            "f-3", "f-4").replace("f-2", "f-3")), "ok"),
        cine("a frame on a grid 0.5 mm aside", in_folder(frames=(first, moved, third, fourth))),
        cine("a frame of another size", in_folder(frames=(first, smaller, third, fourth))),
        cine("a table that is no table", in_folder(table="file\ttime\nx\ty\n")),
        cine("a table that names a file that is not there",
             in_folder(table=TABLE.replace("f-2", "f-9"))),
        cine("a table whose times go back", in_folder(table=TABLE.replace("270", "60"))),
        cine("a table with a time of infinity", in_folder(table=TABLE.replace("270", "inf"))),
        cine("an empty folder", lambda folder: (folder / "e").mkdir() or folder / "e"),
        cine("Info.cfg with a number of 6,000 digits",
             stacked(beside={"Info.cfg": f"ED: {'9' * 6000}\nES: 3\n"})),
        cine("Info.cfg with one frame for ED and ES",
             stacked(beside={"Info.cfg": "ED: 2\nES: 2\n"})),
        cine("Info.cfg of another number of frames",
             stacked(beside={"Info.cfg": "ED: 1\nES: 3\nNbFrame: 30\n"}), WARNED),
        cine("DICOM with trigger times", of_dicom(), "ok"),
        cine("DICOM that lacks a time of one slice", of_dicom(lambda d, k, f: (k, f) != (2, 1))),
        cine("DICOM without times",
             of_dicom(lambda d, k, f: setattr(d, "TriggerTime", None))),
        cine("DICOM of another machine", of_dicom(lambda d, k, f: setattr(d, "Modality", "CT"))),
    ]  # fmt: skip


def _shift(millimeters: float) -> np.ndarray:
    shift = np.zeros((4, 4))
    shift[0, 3] = millimeters
    return shift
