"""``mambasynth synthesize``: a volume file in, a synthetic volume file out."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.commands.options import (
    add_remote_options,
    add_synthesis_options,
    remote_engine,
)
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.installation import how_to_install

if TYPE_CHECKING:
    from MambaSynthLib.engine import Synthesis
    from MambaSynthLib.image.volume import Volume
    from MambaSynthLib.io.atomic import Outputs
    from MambaSynthLib.io.dicom_series import Series
    from MambaSynthLib.model.card import ModelCard
    from MambaSynthLib.model.package import ModelPackage
    from MambaSynthLib.provenance import Provenance


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "synthesize", help="make a volume of a contrast that was not acquired"
    )
    add = parser.add_argument
    add("input", type=Path, metavar="INPUT",
        help="acquired volume (.nii .nii.gz .nrrd .mha ...) or folder of DICOM")  # fmt: skip
    add("--to", required=True, metavar="CONTRAST", help="target contrast, for example T2w")
    add("--from", dest="source", metavar="CONTRAST", help="contrast of INPUT, for example T1w")
    add("--with", dest="others", type=_named_file, action="append", default=[],
        metavar="CONTRAST=FILE", help="a further source, on the grid of INPUT")  # fmt: skip
    add("--model", metavar="ID|FOLDER",
        help="model package (default: see 'mambasynth models list')")  # fmt: skip
    add("-o", "--output", type=Path, required=True, metavar="OUT",
        help=".nii .nii.gz .nrrd .mha; or a folder (no suffix) for DICOM from DICOM")  # fmt: skip
    add("--slices", type=slice_range, metavar="A:B", help="only these slices of the model's axis")
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    add("--report", type=Path, metavar="PNG", help="picture of source and synthetic volume")
    add("--reference", type=Path, metavar="FILE", help="acquired target to show in the report")
    add("--uncertainty", type=Path, metavar="OUT",
        help="map of how wrong the image may be: half-width of its 90 %% interval, or of models "
        "with noise the spread over --samples")  # fmt: skip
    add("--allow-synthetic-input", action="store_true", help="accept a synthetic INPUT")
    add("--json", action="store_true", help="print the result as JSON")
    add_synthesis_options(parser)
    add_remote_options(parser)
    parser.set_defaults(run=run)


def slice_range(text: str) -> tuple[int, int]:
    """'10:20' -> (10, 20)."""
    first, colon, last = text.partition(":")
    if not (colon and first.strip().isdigit() and last.strip().isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not A:B with whole numbers such as 40:60")
    return int(first), int(last)


def run(options: argparse.Namespace) -> int:
    """Check everything that can be checked, compute, then write."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.commands.remote_synthesis import synthesize_remotely
    from MambaSynthLib.model.registry import choose_model

    remote = remote_engine(options)
    _check_outputs(options)
    series = _series(options)
    source, others, reference = _read(options, series)
    package = choose_model(options.model, options.source, options.to, _suits(options))
    _check_uncertainty(options, package)
    own = [name for name in package.card.source_contrasts if name not in others]
    given = {options.source or next(iter(own), "INPUT"): source, **others}
    if remote:
        synthesis, seconds = synthesize_remotely(options, remote, package, given)
    else:
        synthesis, seconds = _synthesize(options, package, given)
    files = _write(options, source, reference, synthesis, series)
    record = {
        "output": str(options.output),
        "files": [str(file) for file in files],
        "seconds": round(seconds, 1),
        "provenance": synthesis.record_of(options.to).to_bids(),
    }
    written = dict.fromkeys(file.parent if file.suffix == ".dcm" else file for file in files)
    lines = [f"wrote {file}" for file in written] + [synthesis.record_of(options.to).sentence()]
    with console.after_writing():
        console.result(record, lines, options.json)
    return 0


def _synthesize(
    options: argparse.Namespace, package: ModelPackage, given: dict[str, Volume]
) -> tuple[Synthesis, float]:
    """On this computer; and how many seconds it took."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.engine import Engine
    from MambaSynthLib.gate.admission import BY_OPTION, admit_all

    sources = admit_all(
        given, forced=options.force, insist=BY_OPTION, synthetic=options.allow_synthetic_input
    )
    engine = Engine(package, options.device, options.backend)
    for name, warning in engine.warnings(sources):
        console.note(f"warning: {name}: {warning}")
    started = time.monotonic()
    with console.slice_progress(f"synthesizing {options.to}") as progress:
        synthesis = engine.synthesize(
            sources,
            steps=options.steps,
            samples=options.samples,
            seed=options.seed,
            noise=options.noise,
            slices=options.slices,
            batch=options.batch,
            planes=options.planes,
            pixel_mark=options.pixel_mark,
            progress=progress,
        )
    return synthesis, time.monotonic() - started


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse what cannot be written, before any computing."""
    from MambaSynthLib.io.dicom_writing import means_dicom
    from MambaSynthLib.io.files import check_output
    from MambaSynthLib.io.output import check_new_folder

    others = [path for _, path in options.others]
    inputs = [path for path in (options.input, *others, options.reference) if path]
    for path in filter(None, (options.output, options.uncertainty)):
        if means_dicom(path, options.input):
            check_new_folder(path)
        else:
            check_output(path, overwrite=options.overwrite, inputs=inputs)
    if options.uncertainty:
        if means_dicom(options.uncertainty, options.input) and find_spec("highdicom") is None:
            raise RequestError(
                f"--uncertainty as DICOM needs highdicom; {how_to_install('dicom')}."
            )
        if _place(options.uncertainty) == _place(options.output):
            raise RequestError(
                f"{options.uncertainty}: would share its name or sidecar with {options.output}; "
                "give --uncertainty a name of its own."
            )
    if options.reference and not options.report:
        raise RequestError("--reference is shown in the report; add --report PNG.")
    if options.report:
        _check_report(options.report, options.overwrite)


def _place(path: Path) -> Path:
    """Equal for two outputs that would get the same sidecar."""
    from MambaSynthLib.io.marks import sidecar_of

    return sidecar_of(path.resolve())


def _check_report(path: Path, overwrite: bool) -> None:
    if path.suffix.lower() != ".png":
        raise FileError(f"{path}: a report is a PNG picture; name it *.png.")
    if not path.parent.is_dir():
        raise FileError(f"{path.parent}: is no folder; create it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise FileError(f"{path.parent}: is read-only; choose another folder for the report.")
    if path.is_dir():
        raise FileError(f"{path}: is a folder; choose another name for the report.")
    if find_spec("matplotlib") is None:
        raise RequestError(f"--report needs matplotlib; {how_to_install('report')}.")
    if path.exists() and not overwrite:
        raise FileError(f"{path}: exists already; add --overwrite to replace it.")


def _check_uncertainty(options: argparse.Namespace, package: ModelPackage) -> None:
    from MambaSynthLib.model.card import ContrastCard

    card, samples = package.card, options.samples
    if not options.uncertainty or not isinstance(card, ContrastCard) or card.intervals:
        return
    if (card.sampling.default_samples if samples is None else samples) < 2:
        raise RequestError(
            f"--uncertainty of {card.id} is the spread over noise draws; add --samples 4, for "
            "example."
        )


def _suits(options: argparse.Namespace) -> Callable[[ModelCard], bool]:
    """Of several models: one with noise where draws are asked for."""
    from MambaSynthLib.model.card import ContrastCard

    draws = max(options.samples or 1, options.steps or 1) > 1

    def suits(card: ModelCard) -> bool:
        if not isinstance(card, ContrastCard):
            return False
        uncertain = card.noisy or card.intervals or not options.uncertainty
        return uncertain and (card.noisy or not draws)

    return suits


def _named_file(text: str) -> tuple[str, Path]:
    contrast, _, file = text.partition("=")
    if not contrast or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not CONTRAST=FILE, such as PDw=pd.nii.gz")
    return contrast, Path(file)


def _series(options: argparse.Namespace) -> Series | None:
    """The input as a DICOM series that others can refer to, where an output is to be one."""
    from MambaSynthLib.io.dicom_attributes import check_source
    from MambaSynthLib.io.dicom_series import open_series
    from MambaSynthLib.io.dicom_writing import means_dicom

    outputs = filter(None, (options.output, options.uncertainty))
    if not any(means_dicom(path, options.input) for path in outputs):
        return None
    series = open_series(options.input, allow_synthetic=options.allow_synthetic_input)
    check_source(series)
    return series


def _read(
    options: argparse.Namespace, series: Series | None
) -> tuple[Volume, dict[str, Volume], Volume | None]:
    """The source, the further ones by contrast, and the reference if there is one, on one grid."""
    from MambaSynthLib.image.volume import check_same_grid
    from MambaSynthLib.io.files import read_volume

    def read(path: Path) -> Volume:
        return read_volume(
            path,
            prefer=options.prefer,
            nan_as_zero=options.nan_as_zero,
            allow_synthetic=options.allow_synthetic_input,
        )

    source = series.volume() if series else read(options.input)
    others = {contrast: read(path) for contrast, path in options.others}
    if not options.reference:
        return source, others, None
    reference = read_volume(options.reference, prefer=options.prefer)
    check_same_grid(source, reference)
    return source, others, reference


def _write(
    options: argparse.Namespace,
    source: Volume,
    reference: Volume | None,
    synthesis: Synthesis,
    series: Series | None,
) -> list[Path]:
    """All files that were asked for, or none of them."""
    from MambaSynthLib.io.atomic import together
    from MambaSynthLib.io.dicom_writing import means_dicom, write_dicom
    from MambaSynthLib.io.files import write_volume

    made = synthesis.record_of(options.to)
    volumes = [(synthesis.volumes[options.to], options.output, made)]
    if options.uncertainty:
        volumes.append((synthesis.spreads[options.to], options.uncertainty, made.of_spread()))
    written: list[Path] = []
    with together() as files:
        for volume, path, provenance in volumes:
            if series and means_dicom(path, options.input):
                written += write_dicom([volume], path, series, provenance, into=files)
                continue
            written += write_volume(
                volume, path, provenance=provenance, overwrite=options.overwrite, into=files
            )
        if options.report:
            _write_report(files, options.report, source, volumes[0][0], reference, made)
            written.append(options.report)
    return written


def _write_report(
    files: Outputs,
    path: Path,
    source: Volume,
    synthetic: Volume,
    reference: Volume | None,
    made: Provenance,
) -> None:
    from MambaSynthLib.report.head import write_report

    write_report(
        path,
        into=files,
        source=source,
        synthetic=synthetic,
        reference=reference,
        title=f"{made.source_contrast} -> {made.target_contrast}: {source.name}",
        caption=(
            f"{made.software}, model {made.model_id} {made.model_version}, weights "
            f"{made.weights_sha256[:12]}, seed {made.seed}, steps {made.steps}, samples "
            f"{made.samples}",
        ),
        contrasts=(made.source_contrast, made.target_contrast),
    )
