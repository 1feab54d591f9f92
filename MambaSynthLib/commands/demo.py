"""``mambasynth demo``: a real T1w head, its synthetic T2w volume and the acquired one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HEAD = Path(__file__).resolve().parents[2] / "Testing" / "data" / "head"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "demo", help="synthesize the T2w volume of a real head, with scores"
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), metavar="FOLDER")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps")
    parser.add_argument("--backend", default="auto", metavar="auto|torch|onnxruntime")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.cli import main
    from MambaSynthLib.errors import FileError

    source, reference = HEAD / "sub-19_T1w.nii.gz", HEAD / "sub-19_T2w.nii.gz"
    if not source.is_file():
        raise FileError(
            f"{source}: is missing; the demo's head comes with the source code, not with the "
            "installed package. Run 'make demo' in a checkout."
        )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{options.out}: cannot be made ({error.strerror}); name another folder with --out."
        ) from error
    synthetic, report = options.out / "sub-19_desc-synthetic_T2w.nii.gz", options.out / "report.png"
    code = main(
        ["synthesize", str(source), "--from", "T1w", "--to", "T2w", "-o", str(synthetic),
         "--report", str(report), "--reference", str(reference), "--overwrite",
         "--device", options.device, "--backend", options.backend]
    )  # fmt: skip
    if code:
        return code
    print("\nScores against the acquired T2w volume, which the model never saw:\n")
    code = main(["evaluate", str(synthetic), str(reference), "--source", str(source)])
    print(f"\nLook at {report.resolve()}")
    print(f"Open {synthetic.resolve()} in any viewer, for example Slicer.")
    return code
