"""``mambasynth verify``: is this file synthetic, by what it says and by its voxels, and by what.

Exit codes: 0 it carries a mark of synthesis; 3 it carries none; 2 it cannot be read, or its voxels
are not those that were written.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import FileError

if TYPE_CHECKING:
    from MambaSynthLib.io.marks import SyntheticMark
    from MambaSynthLib.watermark.detection import PixelMark

EXIT_MARKED, EXIT_CHANGED, EXIT_UNMARKED = 0, 2, 3
EPILOG = """\
Exit codes: 0 the file carries a mark of synthesis; 3 it carries none, which does not prove it
acquired (also where only its name says synthetic); 2 it cannot be read, or its voxels are not
those that were written, of which its sidecar keeps the hash."""
VOXELS = {
    True: "its voxels are those that were written.",
    False: "its voxels are NOT those that were written: it was changed or damaged since, or the "
    "sidecar beside it belongs to another image; make it again.",
    None: "its voxels were not checked: neither it nor a sidecar beside it keeps their hash.",
}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "verify",
        help="say whether a file is synthetic, and by what",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE",
        help="a volume, DICOM file or folder, .json sidecar, PNG or GIF report")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what is known of the file's origin."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.io.files import read_marks
    from MambaSynthLib.io.written_voxels import voxels_are_as_written

    mark = read_marks(options.file)
    as_written = voxels_are_as_written(options.file) if mark else None
    in_voxels, words = _look_at_voxels(options.file, mark)
    record: dict[str, Any] = {
        "file": str(options.file),
        "synthetic": None if mark is None else True if mark.certain else "suspected",
        "pixel_mark": asdict(in_voxels) if in_voxels else None,
    }
    lines = []
    if mark is not None:
        record |= {
            "where": mark.where,
            "voxels_as_written": as_written,
            "provenance": mark.provenance.to_bids() if mark.provenance else None,
        }
        made = mark.provenance.sentence() if mark.provenance else mark.text
        verdict = "is synthetic" if mark.certain else "may be synthetic"
        lines = [f"{options.file}: {verdict} ({mark.where}).", made]
        if mark.provenance:
            lines += [mark.provenance.computing()]
            lines += [f"warning: {text}" for text in mark.provenance.warnings]
    if in_voxels is not None:
        record["synthetic"] = True
    elif mark is None:
        lines = [f"{options.file}: carries no mark of synthesis; that does not prove it acquired."]
    lines.append(f"{options.file}: {words}")
    if mark is not None:
        lines.append(f"{options.file}: {VOXELS[as_written]}")
    console.result(record, lines, options.json)
    if as_written is False:
        return EXIT_CHANGED
    return EXIT_MARKED if record["synthetic"] is True else EXIT_UNMARKED


def _look_at_voxels(path: Path, mark: SyntheticMark | None) -> tuple[PixelMark | None, str]:
    """The mark in the voxels, and what to say of it. A file that says itself what it is, is looked
    at as it was written; others turned and resampled, too, which takes some seconds.
    """
    from MambaSynthLib.io.voxels import images_in
    from MambaSynthLib.model.registry import list_models
    from MambaSynthLib.watermark.detection import find_mark_of_frames

    certain = mark is not None and mark.certain
    known = {package.card.id for package in list_models()}
    if mark is not None and mark.provenance is not None:
        known.add(mark.provenance.model_id)
    if path.suffix.lower() == ".json":
        return None, "a sidecar has no voxels to look at."
    try:
        images = images_in(path)
    except FileError as error:
        return None, f"its voxels were not looked at ({str(error).rstrip('.')})."
    found = find_mark_of_frames(images, sorted(known), thorough=not certain)
    if found is None:
        return None, "there is no mark in its voxels."
    return found, f"{found.sentence()}."
