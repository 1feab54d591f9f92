"""``mambasynth heads``: the data set that models of whole heads and brains are trained on."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from MambaSynthTraining.data.heads_list import HeadPair
    from MambaSynthTraining.data.heads_set import Entry
    from MambaSynthTraining.data.phantom_subjects import PhantomPlan
    from MambaSynthTraining.source_model import SourceModel


SKULLS = 0.75  # share of the phantoms that keep theirs


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "heads",
        help="make the data set of whole heads and brains",
        description="Register the pairs of a list, strip whole heads once more of their skull, "
        "put brains into other heads, compute phantoms. What is there already is kept: the same "
        "command with another --leave-out takes a second.",
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="the folder that the list's paths start from")
    add("--list", type=Path, required=True, metavar="TSV",
        help="pairs; see training/recipes/heads/open-heads.tsv")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FOLDER")
    add("--leave-out", nargs="*", default=[], metavar="PERSON", help="not to be trained on")
    add("--brain-teacher", type=Path, metavar="ONNX|own", help="brainchop's mindgrab.onnx, or the "
        "mask model, to add each whole head of the list without its skull, too")  # fmt: skip
    add("--source-model", type=Path, metavar="FOLDER", help="a package or run of T2w -> T1w, to "
        "make the T1w of heads without source; without it these are not used")  # fmt: skip
    add("--lesions", type=Path, nargs="+", default=[], metavar="MASK", help="lesions of other "
        "people: brains on the grid of the masks are added thrice more with some of "
        "them")  # fmt: skip
    add("--transplants", type=int, default=0, metavar="N", help="heads without target that each "
        "brain of the list is put into, too; needs --brain-teacher")  # fmt: skip
    add("--transplant-share", type=float, default=0.35, metavar="SHARE",
        help="how often each is drawn, in the unit of the list's shares")  # fmt: skip
    add("--labels", type=Path, metavar="FOLDER", help="label maps of the phantoms")
    add("--phantoms", type=int, default=20, metavar="N")
    add("--phantom-share", type=float, default=0.125, metavar="SHARE",
        help="how often each is drawn, in the unit of the list's shares")  # fmt: skip
    add("--seed", type=int, default=0)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import tempfile

    from MambaSynthLib.io.files import read_volume
    from MambaSynthTraining.data.brain_teacher import brain_masks
    from MambaSynthTraining.data.heads_list import read_list
    from MambaSynthTraining.data.heads_making import HeadsMaking, known, person_of
    from MambaSynthTraining.data.heads_set import check_left_out, write_list

    teacher = brain_masks(options.brain_teacher) if options.brain_teacher else None
    there = known(options.out)
    pairs = _usable(options, read_list(options.list))
    shapes = [read_volume(path) for path in options.lesions]
    plans = _plans(options) if options.labels else []
    check_left_out(options.leave_out, [*(p.person for p in pairs), *map(person_of, plans)])
    _check_necks(options, pairs, there)
    transplants = _transplants(options, pairs)
    with tempfile.TemporaryDirectory() as drafts:
        model = _source_model(options, pairs, Path(drafts))
        making = HeadsMaking(options.out, options.data, teacher, model, there)
        entries = [e for pair in pairs for e in making.pair(pair)]
    entries += [e for pair in pairs if shapes for e in making.lesioned(pair, shapes)]
    entries += [making.transplant(*two, options.transplant_share) for two in transplants]
    entries += [making.phantom(plan, options.phantom_share) for plan in plans]
    write_list(options.out, entries, options.leave_out)
    left_out = ", ".join(options.leave_out) or "none"
    print(f"{options.out}: {len(entries)} heads, left out: {left_out}")
    print(f"look at the pictures in {options.out}")
    return 0


def _check_necks(
    options: argparse.Namespace, pairs: Iterable[HeadPair], known: dict[str, Entry]
) -> None:
    """Raises RequestError: nothing says where the brain of a head without target is."""
    from MambaSynthLib.errors import RequestError

    for pair in pairs:
        if not (pair.target or pair.id in known or options.brain_teacher):
            raise RequestError(
                f"{options.list}: {pair.id} has no target, so that only what lies below its brain "
                "is learned; give --brain-teacher own, or remove its line."
            )


def _usable(options: argparse.Namespace, pairs: list[HeadPair]) -> list[HeadPair]:
    """Without a model, those that have a source: whoever trains the first model has none.

    Raises RequestError: no line is left, or there is a model that none needs.
    """
    from MambaSynthLib.commands.console import note
    from MambaSynthLib.errors import RequestError

    lacking = [pair.id for pair in pairs if not pair.source]
    if options.source_model:
        if lacking:
            return pairs
        raise RequestError(
            f"--source-model: every line of {options.list} has a source; leave the model out."
        )
    if lacking:
        note(f"{', '.join(lacking)}: not used, as no --source-model makes their T1w")
    if len(lacking) == len(pairs):
        raise RequestError(f"{options.list}: no line has a source; add --source-model.")
    return [pair for pair in pairs if pair.source]


def _source_model(
    options: argparse.Namespace, pairs: list[HeadPair], drafts: Path
) -> SourceModel | None:
    """What makes the sources that are missing. Raises RequestError: it knows who is left out."""
    from MambaSynthTraining.source_model import source_model

    if not options.source_model:
        return None
    model = source_model(options.source_model, drafts)
    model.check_unseen(pairs, options.leave_out)
    return model


def _transplants(
    options: argparse.Namespace, pairs: list[HeadPair]
) -> list[tuple[HeadPair, HeadPair]]:
    """Brains and the heads that they are put into, these in turn.

    Raises RequestError: there are too few, nothing says where their brains are, or the share is no
    positive number.
    """
    from itertools import cycle, islice

    from MambaSynthLib.errors import RequestError

    count = options.transplants
    brains = [pair for pair in pairs if pair.is_brain]
    hosts = [pair for pair in pairs if not pair.target]
    if not 0 <= count <= len(hosts):
        raise RequestError(
            f"--transplants {count}: {options.list} has {len(hosts)} heads without target; give 0 "
            f"to {len(hosts)}."
        )
    if count and not options.brain_teacher:
        raise RequestError(
            f"--transplants {count}: nothing says where the brains of the heads without target "
            "are; add --brain-teacher own."
        )
    _check_share("--transplant-share", options.transplant_share)
    turn = cycle(hosts)
    return [(brain, host) for brain in brains for host in islice(turn, count)]


def _check_share(option: str, share: float) -> None:
    """Raises RequestError: it is no positive number."""
    from MambaSynthLib.errors import RequestError

    if not (share > 0 and math.isfinite(share)):
        raise RequestError(f"{option} {share}: give a positive number.")


def _plans(options: argparse.Namespace) -> list[PhantomPlan]:
    """Phantoms of the label maps in turn, three of four with their skull.

    Raises RequestError as ``find``, and for a share that is no positive number.
    """
    from MambaSynthTraining.data.phantom_config import PhantomConfig
    from MambaSynthTraining.data.phantom_subjects import PhantomPlan, find

    _check_share("--phantom-share", options.phantom_share)
    contrasts, count = ("T1w", "T2w"), options.phantoms
    found = find(options.labels, count, options.seed, contrasts, PhantomConfig(), SKULLS)
    return [plan for plan in found.subjects if isinstance(plan, PhantomPlan)]
