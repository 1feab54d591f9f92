"""``mambasynth cine``: ED and ES, or a coarse cine, in; a cine with more frames out."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.commands.options import (
    add_motion_options,
    add_pixel_mark_option,
    motion_options,
)
from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    from MambaSynthLib.cine.timeline import Timeline
    from MambaSynthLib.image.cine import Cine
    from MambaSynthLib.io.dicom_series import Series


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "cine", help="make the frames of a beating heart that were not acquired"
    )
    add = parser.add_argument
    add("inputs", type=Path, nargs="+", metavar="INPUT",
        help="ED and ES; or one cine: 4-D file, folder of frames or of DICOM")  # fmt: skip
    add("--frames", type=int, required=True, metavar="N",
        help="how many frames the cine is to have, the acquired ones included")  # fmt: skip
    add("-o", "--output", type=Path, required=True, metavar="OUT",
        help=".nii.gz .nii .seq.nrrd, or a folder (no suffix)")  # fmt: skip
    add("--dicom", action="store_true",
        help="OUT is a new folder with a DICOM series, beside the one that is INPUT")  # fmt: skip
    add("--ed", type=int, metavar="N", help="number of the ED frame, from 1 (default: found)")
    add("--es", type=int, metavar="N", help="number of the ES frame, from 1 (default: found)")
    add("--only-ed-es", action="store_true", help="from ED to ES, not using the frames between")
    add("--times", type=float, nargs=2, metavar="MS", help="trigger times of two volumes in ms")
    add("--seed", type=int, default=0, metavar="S", help="kept in the record (default: 0)")
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    add("--report", type=Path, metavar="FILE", help="moving picture (.gif .mp4) or montage (.png)")
    add("--prefer", choices=("sform", "qform"), help="which of two disagreeing NIfTI forms counts")
    add("--nan-as-zero", action="store_true", help="read NaN and infinite voxels as zero")
    add("--allow-synthetic-input", action="store_true", help="accept synthetic input")
    add("--json", action="store_true", help="print the result as JSON")
    add_motion_options(parser)
    add_pixel_mark_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check everything that can be checked, then compute and write frame by frame."""
    from MambaSynthLib.cine.cine_record import provenance_of
    from MambaSynthLib.cine.engine import CineEngine
    from MambaSynthLib.cine.upsampling import plan, solve, upsample
    from MambaSynthLib.commands import console
    from MambaSynthLib.io.atomic import together
    from MambaSynthLib.io.cine_writing import write_cine
    from MambaSynthLib.io.dicom_writing import write_dicom
    from MambaSynthLib.model.registry import cine_model

    _check_request(options)
    how = motion_options(options)
    package = cine_model(options.model)
    series = _series(options)
    cine = _admitted(series.cine() if series else _read(options), options)
    timeline = plan(
        cine, options.frames, ed=options.ed, es=options.es, only_phases=options.only_ed_es
    )
    _check_outputs(options, cine)
    engine = CineEngine(package, options.device, options.backend)
    started = time.monotonic()
    with console.slice_progress("finding the motion", "steps") as progress:
        solved = solve(engine, cine, timeline, how, progress=progress)
    provenance = provenance_of(solved, seed=options.seed)
    for warning in provenance.warnings:
        console.note(f"warning: {cine.name}: {warning}")
    film = _film(options, timeline)
    with together() as outputs:
        with console.slice_progress("synthesizing frames", "frames") as progress:
            frames = upsample(solved, progress=progress)
            shots = film.watching(frames) if film else frames
            if series:
                files = write_dicom(list(shots), options.output, series, provenance, into=outputs)
            else:
                files = write_cine(
                    shots, options.output, provenance, overwrite=options.overwrite, into=outputs
                )
        if film:
            film.write(options.report, into=outputs)
            files.append(options.report)
    record = {
        "output": str(options.output),
        "files": [str(file) for file in files],
        "seconds": round(time.monotonic() - started, 1),
        "times_ms": list(timeline.times_ms),
        "acquired": list(provenance.acquired),
        "phases": provenance.phases,
        "provenance": provenance.to_bids(),
    }
    written = files if options.output.is_file() else [options.output, *files[-1:] * bool(film)]
    lines = [f"wrote {file}" for file in written] + [f"{provenance.phases}."]
    with console.after_writing():
        console.result(record, [*lines, provenance.sentence()], options.json)
    return 0


def _check_request(options: argparse.Namespace) -> None:
    if len(options.inputs) > 2:
        raise RequestError(
            f"{len(options.inputs)} inputs were given; give an ED and an ES volume, or one cine (a "
            "folder for frames in files)."
        )
    if len(options.inputs) == 2 and (options.ed or options.es):
        raise RequestError("--ed and --es number the frames of one cine; two inputs are ED and ES.")
    if options.times and len(options.inputs) == 1:
        raise RequestError("--times are those of an ED and an ES volume; one cine has its own.")
    if options.dicom and len(options.inputs) == 2:
        raise RequestError("--dicom refers to one series; give one cine that is DICOM.")
    if options.seed < 0:
        raise RequestError(f"seed is {options.seed}; give 0 or more.")
    if options.report:
        from MambaSynthLib.report.film import check_report

        check_report(options.report, options.overwrite)


def _series(options: argparse.Namespace) -> Series | None:
    """The input as a DICOM series that others can refer to, where the output is to be one."""
    from MambaSynthLib.io.dicom_attributes import check_source
    from MambaSynthLib.io.dicom_series import open_series

    if not options.dicom:
        return None
    series = open_series(options.inputs[0], allow_synthetic=options.allow_synthetic_input)
    check_source(series)
    return series


def _read(options: argparse.Namespace) -> Cine:
    from MambaSynthLib.image.cine import of_frames
    from MambaSynthLib.io.cine_files import read_cine
    from MambaSynthLib.io.files import read_volume

    how = {
        "prefer": options.prefer,
        "nan_as_zero": options.nan_as_zero,
        "allow_synthetic": options.allow_synthetic_input,
    }
    if len(options.inputs) == 1:
        return read_cine(options.inputs[0], **how)
    return of_frames([read_volume(path, **how) for path in options.inputs], options.times)


def _admitted(cine: Cine, options: argparse.Namespace) -> Cine:
    """The cine, with what is to be said against it. Raises RequestError for a synthetic one."""
    from MambaSynthLib.cine.doubts import with_doubt
    from MambaSynthLib.gate.admission import admit_cine

    allowed = options.allow_synthetic_input
    return with_doubt(admit_cine(cine, synthetic=allowed, insist="add --allow-synthetic-input"))


def _check_outputs(options: argparse.Namespace, cine: Cine) -> None:
    """Refuse what cannot be written, before any computing."""
    from MambaSynthLib.io.cine_writing import check_cine_output
    from MambaSynthLib.io.output import check_new_folder

    room = 4 * cine.frames[0].array.size * options.frames
    if options.dicom:
        check_new_folder(options.output, room=room)
        return
    check_cine_output(options.output, overwrite=options.overwrite, inputs=options.inputs, room=room)


def _film(options: argparse.Namespace, timeline: Timeline) -> Any:
    if not options.report:
        return None
    from MambaSynthLib.report.film import Film

    return Film(timeline.times_ms, tuple(frame is not None for frame in timeline.acquired))
