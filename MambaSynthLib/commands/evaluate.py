"""``mambasynth evaluate``: scores of a synthetic volume, with the trivial baselines beside them."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import FileError

if TYPE_CHECKING:
    from MambaSynthLib.image.volume import Volume


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("evaluate", help="compare a synthetic with an acquired volume")
    add = parser.add_argument
    add("synthetic", type=Path, metavar="SYNTHETIC")
    add("reference", type=Path, metavar="REFERENCE", help="the acquired target, registered")
    add("--source", type=Path, metavar="FILE",
        help="source, for the trivial baselines (default: looked for nearby)")  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--mask", type=Path, metavar="FILE",
                       help="where to score (default: not background)")  # fmt: skip
    where.add_argument("--brain", action="store_true",
                       help="score in the brain of REFERENCE, see 'mambasynth mask'")  # fmt: skip
    add("--json", action="store_true", help="print the scores as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.commands import console
    from MambaSynthLib.io.files import read_volume
    from MambaSynthLib.report.evaluation import evaluate

    synthetic = read_volume(options.synthetic)
    _check_image(options.synthetic)
    source = read_volume(options.source) if options.source else _find_source(options)
    reference = read_volume(options.reference)
    mask = read_volume(options.mask) if options.mask else None
    if options.brain:
        mask = _brain_of(reference)
    evaluation = evaluate(synthetic, reference, source=source, mask=mask)
    lines = [evaluation.to_table()]
    if source is None:
        lines.append("The trivial baselines need the source: name it with --source FILE.")
    console.result(evaluation.to_dict(), lines, options.json)
    return 0


def _check_image(path: Path) -> None:
    """Raises RequestError for an uncertainty map."""
    from MambaSynthLib.errors import RequestError
    from MambaSynthLib.io.files import read_marks
    from MambaSynthLib.provenance import UNCERTAINTY

    mark = read_marks(path)
    if mark and mark.provenance and mark.provenance.quantity:
        raise RequestError(
            f"{path}: is an {UNCERTAINTY}, no image; name the volume that it was made with."
        )


def _brain_of(reference: Volume) -> Volume:
    from MambaSynthLib.mask.engine import MaskEngine
    from MambaSynthLib.model.registry import mask_model

    return MaskEngine(mask_model()).find(reference).brain


def _find_source(options: argparse.Namespace) -> Volume | None:
    """The file that the synthetic volume names as its source, if it lies near and is that image."""
    from MambaSynthLib.io.files import read_marks, read_volume, sha256_of

    mark = read_marks(options.synthetic)
    if mark is None or mark.provenance is None:
        return None
    name = Path(mark.provenance.source_name).name
    for folder in (options.synthetic.parent, options.reference.parent):
        candidate = folder / name
        if name and candidate.is_file():
            with suppress(FileError):  # of that name, but not the source
                volume = read_volume(candidate)
                if sha256_of(volume) == mark.provenance.source_sha256:
                    return volume
    return None
