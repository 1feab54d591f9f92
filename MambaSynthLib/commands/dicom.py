"""``mambasynth dicom``: a synthetic volume or cine as a DICOM series beside its source."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import FileError

if TYPE_CHECKING:
    from MambaSynthLib.provenance import Provenance


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "dicom", help="write a synthetic volume, cine or uncertainty map as a DICOM series"
    )
    add = parser.add_argument
    add("volume", type=Path, metavar="VOLUME",
        help="what synthesize or cine wrote, with its marks (.nii.gz .nrrd ...)")  # fmt: skip
    add("--source", type=Path, required=True, metavar="SERIES",
        help="the DICOM series it was made from: a folder, or a file of Enhanced MR")  # fmt: skip
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="new folder")
    add("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read both, then write all files or none."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.io.cine_files import read_cine
    from MambaSynthLib.io.dicom_series import open_series
    from MambaSynthLib.io.dicom_writing import write_dicom
    from MambaSynthLib.io.files import read_volume
    from MambaSynthLib.io.output import check_new_folder

    check_new_folder(options.output)
    provenance = _provenance(options.volume)
    source = open_series(options.source, allow_synthetic=False)
    cine = bool(provenance.times_ms)
    images = read_cine(options.volume).frames if cine else (read_volume(options.volume),)
    files = write_dicom(images, options.output, source, provenance)
    record = {
        "output": str(options.output),
        "files": [str(file) for file in files],
        "provenance": provenance.to_bids(),
    }
    lines = [f"wrote {options.output} ({len(files)} files)", provenance.sentence()]
    with console.after_writing():
        console.result(record, lines, options.json)
    return 0


def _provenance(path: Path) -> Provenance:
    """What made the volume. Raises FileError for one without our record: DICOM says who made it."""
    from MambaSynthLib.io.files import read_marks
    from MambaSynthLib.io.payload import shown

    mark = read_marks(path)
    if mark is None or mark.provenance is None:
        raise FileError(
            f"{shown(path)}: does not say which model made it, as a synthetic DICOM series must; "
            "give the file that mambasynth wrote, with its sidecar."
        )
    return mark.provenance
