"""``mambasynth verify``: is this file synthetic, and by what.

Exit codes: 0 it carries a mark of synthesis; 3 it carries none; 2 it cannot be read, or its voxels
are not those that were written.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

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
    if mark is None:
        record: dict[str, Any] = {"file": str(options.file), "synthetic": None}
        lines = [f"{options.file}: carries no mark of synthesis; that does not prove it acquired."]
    else:
        record = {
            "file": str(options.file),
            "synthetic": True if mark.certain else "suspected",
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
        lines.append(f"{options.file}: {VOXELS[as_written]}")
    console.result(record, lines, options.json)
    if as_written is False:
        return EXIT_CHANGED
    return EXIT_MARKED if mark is not None and mark.certain else EXIT_UNMARKED
