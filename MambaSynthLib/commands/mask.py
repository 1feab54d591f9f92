"""``mambasynth mask``: where in a volume the brain is, or the head."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

ANY = "any of T1w, T2w and FLAIR"  # no contrast of the gate's, so that it judges all but that


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "mask",
        help="find the brain, or the head, in a T1w, T2w or FLAIR volume",
        description="Writes a volume of 1 and 0 on the grid of INPUT, with or without skull there, "
        "and beside it which model found it.",
    )
    add = parser.add_argument
    add("input", type=Path, metavar="INPUT",
        help="acquired volume (.nii .nii.gz .nrrd .mha ...) or folder of DICOM")  # fmt: skip
    add("-o", "--output", type=Path, required=True, metavar="OUT", help=".nii .nii.gz .nrrd .mha")
    add("--head", action="store_true", help="the whole head instead of the brain")
    add("--model", metavar="ID|FOLDER", help="model package (default: the first for masks)")
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    add("--device", default="auto", metavar="auto|cpu|cuda|mps", help="where to compute")
    add("--backend", default="auto", metavar="auto|torch|onnxruntime", help="what computes")
    add("--prefer", choices=("sform", "qform"), help="which of two disagreeing NIfTI forms counts")
    add("--nan-as-zero", action="store_true", help="read NaN and infinite voxels as zero")
    add("--force", action="store_true", help="go on with what the input gate refuses")
    add("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check everything that can be checked, compute, then write."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.gate.admission import BY_OPTION, admit
    from MambaSynthLib.io.atomic import together
    from MambaSynthLib.io.files import check_output, read_volume, write_volume
    from MambaSynthLib.mask.engine import MaskEngine
    from MambaSynthLib.mask.record import check_sidecar, record_of
    from MambaSynthLib.model.registry import mask_model

    check_output(options.output, overwrite=options.overwrite, inputs=[options.input], marked=False)
    sidecar = check_sidecar(options.output, options.overwrite)
    source = read_volume(options.input, prefer=options.prefer, nan_as_zero=options.nan_as_zero)
    source = admit(source, ANY, forced=options.force, insist=BY_OPTION)
    for warning in source.notes:
        console.note(f"warning: {source.name}: {warning}")
    engine = MaskEngine(mask_model(options.model), options.device, options.backend)
    started = time.monotonic()
    masks = engine.find(source)
    seconds = time.monotonic() - started
    kind = "head" if options.head else "brain"
    record = record_of(kind, masks, engine, source)
    with together() as files:
        write_volume(
            masks.head if options.head else masks.brain, options.output,
            overwrite=options.overwrite, into=files,
        )  # fmt: skip
        text = json.dumps(record, indent=2) + "\n"
        files.add(sidecar, text.encode("ascii"), replaces=options.overwrite, describes=True)
    lines = [
        f"wrote {options.output}",
        f"{kind}: {masks.milliliters(kind):.0f} ml; the volume shows {masks.shows}; by the model "
        f"{engine.card.id} {engine.card.version}",
    ]
    made = {"output": str(options.output), "seconds": round(seconds, 2), "record": record}
    with console.after_writing():
        console.result(made, lines, options.json)
    return 0
