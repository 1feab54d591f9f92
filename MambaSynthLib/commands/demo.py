"""``mambasynth demo``: a head's T1w volume, its synthetic T2w volume, a picture and scores."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEVER_SAW_PERSON = "cravim-t1w-t2w-compact"  # the default model was trained on the public pair
COMPUTED = (
    "This score is on a computed head: the signal equations gave both images of it, around the "
    "template's brain, so its T2w image is known exactly; 'mambasynth demo --real' scores an "
    "earlier model on a person whom it never saw."
)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "demo", help="synthesize the T2w volume of a head, with a picture and scores"
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("out/demo"), metavar="FOLDER")
    add("--real", action="store_true",
        help="on a person's head instead, whose images are fetched once (8 MB, CC-BY)")  # fmt: skip
    add("--device", default="auto", metavar="auto|cpu|cuda|mps")
    add("--backend", default="auto", metavar="auto|torch|onnxruntime")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthLib.errors import FileError

    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{options.out}: cannot be made ({error.strerror}); name another folder with --out."
        ) from error
    return _of_a_person(options) if options.real else _of_the_template(options)


def _of_the_template(options: argparse.Namespace) -> int:
    """The template, for the eye; then the head computed around it, with scores."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.io.files import write_volume
    from MambaSynthLib.phantom.template import template_file, template_head

    template = template_file()
    console.note("computing a head around the template's brain by the signal equations ...")
    files = {}
    for contrast, volume in template_head().items():
        files[contrast] = options.out / f"computed_{contrast}.nii.gz"
        write_volume(volume, files[contrast], overwrite=True)
    code = _synthesize(options, template, "template")
    if not code:
        print()
        code = _synthesize_and_score(options, files, "computed", lambda synthetic: COMPUTED)
    return code


def _of_a_person(options: argparse.Namespace) -> int:
    """A pair from a public data set, fetched where it is not here yet, with scores."""
    from MambaSynthLib.commands import console
    from MambaSynthLib.install.public_pair import CITATION, PERSON, fetch_pair, pair_folder
    from MambaSynthLib.io.files import read_marks
    from MambaSynthLib.model.registry import find_model

    with console.slice_progress(f"fetching {PERSON}", "kB") as progress:
        files = fetch_pair(lambda here, whole: progress(here // 1000, whole // 1000))
    console.say(f"{PERSON}, kept in {pair_folder()}\n{CITATION}\n")

    def remark(synthetic: Path) -> str:
        mark = read_marks(synthetic)
        made = mark.provenance if mark else None
        card = find_model(made.model_id).card if made else None
        trained = f" What {card.id} was trained on: {card.trained_on}" if card else ""
        return f"The head is that of {PERSON}.{trained}"

    return _synthesize_and_score(options, files, "sub-19", remark, "--model", NEVER_SAW_PERSON)


def _synthesize_and_score(
    options: argparse.Namespace,
    files: dict[str, Path],
    name: str,
    remark: Callable[[Path], str],
    *more: str,
) -> int:
    """Print the scores of the T2w volume synthesized from ``files["T1w"]``, and a remark on it."""
    from MambaSynthLib.cli import main
    from MambaSynthLib.commands import console

    code = _synthesize(options, files["T1w"], name, "--reference", str(files["T2w"]), *more)
    if code:
        return code
    print("\nScores against the true T2w volume, beside answers that need no model:\n")
    synthetic = _synthetic(options, name)
    code = main(["evaluate", str(synthetic), str(files["T2w"]), "--source", str(files["T1w"])])
    console.say(f"\n{remark(synthetic)}\n")
    console.say(f"Look at the pictures in {options.out.resolve()}")
    console.say(f"Open {synthetic.resolve()} in any viewer, for example Slicer.")
    return code


def _synthesize(options: argparse.Namespace, source: Path, name: str, *more: str) -> int:
    from MambaSynthLib.cli import main

    return main(
        ["synthesize", str(source), "--from", "T1w", "--to", "T2w", "--overwrite",
         "-o", str(_synthetic(options, name)), "--report", str(options.out / f"{name}.png"),
         "--device", options.device, "--backend", options.backend, *more]
    )  # fmt: skip


def _synthetic(options: argparse.Namespace, name: str) -> Path:
    out: Path = options.out
    return out / f"{name}_desc-synthetic_T2w.nii.gz"
