"""``mambasynth score-heads``: models on whole heads and brains of people whom they never saw."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from MambaSynthLib.engine import Engine
    from MambaSynthLib.image.volume import Volume
    from MambaSynthTraining.data.heads_list import HeadPair
    from MambaSynthTraining.evaluation.heads import Given

TAKEN = ("", ".", "..", "source", "acquired")  # no names of candidates


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "score-heads",
        help="score models on whole heads and brains that were left out",
        description="Writes heads.csv, the volumes and a picture of each input. Candidates are "
        "training runs, model packages, or folders of volumes made elsewhere.",
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="the folder that the list's paths start from")
    add("--list", type=Path, required=True, metavar="TSV")
    add("--persons", nargs="+", required=True, metavar="PERSON")
    add("--candidate", action="append", required=True, metavar="NAME=FOLDER",
        help="a run of 'train', a model package, or volumes ID-INPUT.nii.gz")  # fmt: skip
    add("--brain-teacher", type=Path, metavar="ONNX|own", help="brainchop's mindgrab.onnx, or "
        "the mask model, to score the brains of whole heads, too")  # fmt: skip
    add("--host", type=Path, metavar="T1W", help="a whole head of thin slices that nobody was "
        "trained on: brains of the list are given in that head, too; needs "
        "--brain-teacher")  # fmt: skip
    add("--lesions", action="append", default=[], metavar="ID=FILE",
        help="an expert's mask of lesions, on the grid of the pair's source")  # fmt: skip
    add("--source", choices=("T1w", "T2w"), default="T1w")
    add("--out", type=Path, required=True, metavar="FOLDER")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthTraining.data.brain_teacher import brain_masks
    from MambaSynthTraining.data.heads_list import read_list
    from MambaSynthTraining.evaluation.heads import CSV, inputs_of, score, write_rows
    from MambaSynthTraining.evaluation.lesions import write_lesions

    listed = [pair for pair in read_list(options.list) if pair.is_acquired]
    pairs = [pair for pair in listed if pair.person in options.persons]
    if missing := set(options.persons) - {pair.person for pair in pairs}:
        raise RequestError(f"{', '.join(sorted(missing))}: no pair of {options.list}; name others.")
    masks = dict(_mask(text, pairs, options.brain_teacher) for text in options.lesions)
    teacher = brain_masks(options.brain_teacher) if options.brain_teacher else None
    host = _host(options)
    candidates: dict[str, Engine | Path] = {}
    for text in options.candidate:
        name, maker = _candidate(text, options.out)
        if name in candidates:
            raise RequestError(f"--candidate {text}: {name} is given twice; name one otherwise.")
        candidates[name] = maker
    rows: list[dict[str, Any]] = []
    lesions: list[dict[str, Any]] = []
    for pair in pairs:
        for given in inputs_of(pair, options.data, options.source, teacher, host):
            rows += score(given, candidates, options.source, options.out / "volumes")
            write_rows(options.out / CSV, rows)
            made = _made(options.out, given, candidates)
            _picture(options.out, given, made)
            if pair.id in masks and given.input == "stripped":
                lesions += _lesions(options, given, masks[pair.id], made)
                write_lesions(options.out, lesions)
    for row in [*rows, *lesions]:
        print("  ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    return 0


def _candidate(text: str, out: Path) -> tuple[str, Engine | Path]:
    """NAME=FOLDER -> the name and an engine, or the folder of volumes made elsewhere."""
    import shutil

    from MambaSynthTraining.export import engine_of

    name, _, given = text.partition("=")
    folder = Path(given)
    if not given or not folder.is_dir():
        raise RequestError(f"--candidate {text}: give NAME=FOLDER with a folder that is there.")
    if name in TAKEN or Path(name).name != name:
        raise RequestError(f"--candidate {text}: {name!r} can name no folder of volumes here; "
                           "give another name.")  # fmt: skip
    place = out / "drafts" / name
    shutil.rmtree(place, ignore_errors=True)
    return name, engine_of(folder, place) or folder


def _host(options: argparse.Namespace) -> Volume | None:
    """Raises RequestError: nothing says where its brain is, or T2w is synthesized from."""
    from MambaSynthLib.io.files import read_volume

    if options.host is None:
        return None
    if options.source != "T1w":
        raise RequestError("--host: is a T1w head; leave it out where T1w is synthesized.")
    if not options.brain_teacher:
        raise RequestError("--host: nothing says where its brain is; add --brain-teacher own.")
    return read_volume(options.host)


def _mask(text: str, pairs: list[HeadPair], teacher: Path | None) -> tuple[str, Volume]:
    """ID=FILE -> the id and its lesions. Raises RequestError, FileError for what is not scored."""
    from MambaSynthLib.io.files import read_volume

    name, _, file = text.partition("=")
    pair = next((pair for pair in pairs if pair.id == name), None)
    if not file or pair is None:
        ids = ", ".join(sorted(pair.id for pair in pairs))
        raise RequestError(f"--lesions {text}: give ID=FILE with an ID of {ids}.")
    if pair.has_skull and teacher is None:
        raise RequestError(f"--lesions {text}: they are looked at in the brain; add "
                           "--brain-teacher own.")  # fmt: skip
    mask = read_volume(file)
    if not (mask.array > 0).any():
        raise RequestError(f"--lesions {text}: no voxel of it is above 0; leave it out.")
    return name, mask


def _made(
    out: Path, given: Given, candidates: Mapping[str, Engine | Path]
) -> dict[str, NDArray[np.float32]]:
    """The volumes of the candidates, written here or made elsewhere."""
    from MambaSynthLib.io.files import read_volume
    from MambaSynthTraining.data.orientation import orient
    from MambaSynthTraining.evaluation.heads import CODES

    file = f"{given.id}-{given.input}.nii.gz"
    places = {
        name: maker if isinstance(maker, Path) else out / "volumes" / name
        for name, maker in candidates.items()
    }
    return {name: orient(read_volume(place / file), CODES).array for name, place in places.items()}


def _lesions(
    options: argparse.Namespace, given: Given, lesions: Volume,
    made: Mapping[str, NDArray[np.float32]],
) -> list[dict[str, Any]]:  # fmt: skip
    from MambaSynthLib.image.volume import check_same_grid
    from MambaSynthTraining.data.orientation import orient
    from MambaSynthTraining.evaluation.heads import CODES
    from MambaSynthTraining.evaluation.lesions import lesion_rows

    mask = orient(lesions, CODES)
    check_same_grid(mask, given.source)
    acquired, source = given.acquired.array, given.source.array
    t1 = source if options.source == "T1w" else acquired
    images = {"acquired": acquired, "source": source, **made}
    about = {"head": given.id, "person": given.person}
    brain = given.regions["brain"]
    return [about | row for row in lesion_rows(images, t1, brain, mask.array > 0)]


def _picture(out: Path, given: Given, made: Mapping[str, NDArray[np.float32]]) -> None:
    from MambaSynthTraining.evaluation.head_pictures import write_views

    images = {"source": given.source.array, **made, "acquired": given.acquired.array}
    region = next(iter(given.regions.values()))
    file, title = f"{given.id}-{given.input}.png", f"{given.id}, {given.input}"
    write_views(out / file, title, images, given.source.spacing, region)
