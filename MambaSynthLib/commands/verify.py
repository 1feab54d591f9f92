"""``mambasynth verify``: is this file synthetic, and by what.

Exit codes: 0 it carries a mark of synthesis; 3 it carries none; 2 it cannot be read.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EXIT_MARKED, EXIT_UNMARKED = 0, 3
EPILOG = """\
Exit codes: 0 the file carries a mark of synthesis; 3 it carries none, which does not prove it
acquired (also where only its name says synthetic); 2 it cannot be read."""


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
    from MambaSynthLib.io.payload import printable

    mark = read_marks(options.file)
    if mark is None:
        record: dict[str, Any] = {"file": str(options.file), "synthetic": None}
        lines = [f"{options.file}: carries no mark of synthesis; that does not prove it acquired."]
    else:
        record = {
            "file": str(options.file),
            "synthetic": True if mark.certain else "suspected",
            "where": mark.where,
            "provenance": mark.provenance.to_bids() if mark.provenance else None,
        }
        made = mark.provenance.sentence() if mark.provenance else mark.text
        verdict = "is synthetic" if mark.certain else "may be synthetic"
        lines = [f"{options.file}: {verdict} ({mark.where}).", made]
        if mark.provenance:
            lines += [printable(mark.provenance.computing())]
            lines += [f"warning: {printable(text)}" for text in mark.provenance.warnings]
    console.result(record, lines, options.json)
    return EXIT_MARKED if mark is not None and mark.certain else EXIT_UNMARKED
