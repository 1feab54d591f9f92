"""``mambasynth serve``: the engine as the child process of 3D Slicer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="for programs: JSON lines on stdin and stdout (see MambaSynthLib/server/serve.py)",
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="folder of exchanged volumes, removed at the end"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.server.serve import serve

    serve(options.folder)
    return 0
