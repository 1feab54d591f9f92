"""``mambasynth heads``: the data set that models of whole heads and brains are trained on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MambaSynthTraining.data.heads_list import HeadPair
    from MambaSynthTraining.data.heads_set import BrainMask, Entry


SKULLS = 0.75  # share of the phantoms that keep theirs


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "heads",
        help="make the data set of whole heads and brains",
        description="Register the pairs of a list, strip whole heads once more of their skull, "
        "compute phantoms. What is there already is kept: the same command with another "
        "--leave-out takes a second.",
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="the folder that the list's paths start from")
    add("--list", type=Path, required=True, metavar="TSV",
        help="pairs; see training/recipes/heads/open-heads.tsv")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FOLDER")
    add("--leave-out", nargs="*", default=[], metavar="PERSON", help="not to be trained on")
    add("--brain-teacher", type=Path, metavar="ONNX|own", help="brainchop's mindgrab.onnx, or the "
        "mask model, to add each whole head of the list without its skull, too")  # fmt: skip
    add("--labels", type=Path, metavar="FOLDER", help="label maps of the phantoms")
    add("--phantoms", type=int, default=10, metavar="N")
    add("--phantom-share", type=float, default=0.25, metavar="SHARE",
        help="how often each is drawn, in the unit of the list's shares")  # fmt: skip
    add("--seed", type=int, default=0)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from MambaSynthTraining.data.brain_teacher import brain_masks
    from MambaSynthTraining.data.heads_list import read_list
    from MambaSynthTraining.data.heads_set import write_list

    teacher = brain_masks(options.brain_teacher) if options.brain_teacher else None
    known = _known(options.out)
    entries = [e for pair in read_list(options.list) for e in _pair(options, pair, teacher, known)]
    if options.labels:
        entries += _phantoms(options, known)
    write_list(options.out, entries, options.leave_out)
    left_out = ", ".join(options.leave_out) or "none"
    print(f"{options.out}: {len(entries)} heads, left out: {left_out}")
    print(f"look at the pictures in {options.out}")
    return 0


def _known(folder: Path) -> dict[str, Entry]:
    """What an earlier run has made."""
    from MambaSynthTraining.data.heads_set import LIST, read_list_of

    if not (folder / LIST).exists():
        return {}
    return {entry.id: entry for entry in read_list_of(folder)[1]}


def _pair(
    options: argparse.Namespace, pair: HeadPair, teacher: BrainMask | None, known: dict[str, Entry]
) -> list[Entry]:
    from dataclasses import replace

    from MambaSynthLib.commands.console import note
    from MambaSynthTraining.data.heads_set import make_pair

    if not pair.target:
        return [_neck(options, pair, teacher, known)]
    registered_by_text = bool(pair.source_to_common)
    mask = teacher if registered_by_text else None
    names = [pair.id, f"{pair.id}-brain"] if mask else [pair.id]
    if all(name in known for name in names):
        return [replace(known[name], share=pair.share, person=pair.person) for name in names]
    note(f"{pair.id}: making")
    return make_pair(options.out, options.data, pair, mask)


def _neck(
    options: argparse.Namespace, pair: HeadPair, teacher: BrainMask | None, known: dict[str, Entry]
) -> Entry:
    """A head without target. Raises RequestError: nothing says where its brain is."""
    from dataclasses import replace

    from MambaSynthLib.commands.console import note
    from MambaSynthLib.errors import RequestError
    from MambaSynthTraining.data.heads_set import make_neck

    if pair.id in known:
        return replace(known[pair.id], share=pair.share, person=pair.person)
    if teacher is None:
        raise RequestError(
            f"{options.list}: {pair.id} has no target, so that only what lies below its brain is "
            "learned; give --brain-teacher own, or remove its line."
        )
    note(f"{pair.id}: making")
    return make_neck(options.out, options.data, pair, teacher)


def _phantoms(options: argparse.Namespace, known: dict[str, Entry]) -> list[Entry]:
    """Phantoms of the label maps in turn, three of four with their skull."""
    from dataclasses import replace

    from MambaSynthLib.commands.console import note
    from MambaSynthTraining.data.found import Reading
    from MambaSynthTraining.data.heads_set import make_phantom
    from MambaSynthTraining.data.phantom_config import PhantomConfig
    from MambaSynthTraining.data.phantom_subjects import find

    contrasts, count = ("T1w", "T2w"), options.phantoms
    plans = find(options.labels, count, options.seed, contrasts, PhantomConfig(), SKULLS)
    entries = []
    for plan in plans.subjects:
        if plan.id in known:
            entries.append(replace(known[plan.id], share=options.phantom_share))
            continue
        note(f"{plan.id}: making")
        volumes = plan.read(Reading())
        whole = bool(plan.settings()["phantom"]["skull"])
        entries.append(
            make_phantom(
                options.out, plan.id, f"phantom of {plan.patient}", options.phantom_share, volumes,
                whole,
            )
        )  # fmt: skip
    return entries
