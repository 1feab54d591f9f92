"""What the options of ``mambasynth dataset`` mean: whom to look for, and what to do with them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MambaSynthTraining.data.found import Layout
    from MambaSynthTraining.data.set_making import SetOptions

GLOBS = {"t1": "T1w", "t2": "T2w", "pd": "PDw", "flair": "FLAIR"}
CONTRASTS = ("T1w", "T2w")
REGISTER = {"ixi": "all", "paired": "needed", "unpaired": "evaluation"}  # others: none
SPLIT = {"ixi": "first40"}  # others: random
PHANTOMS = "phantoms"  # the group of those that widen a data set


def set_options(options: argparse.Namespace) -> SetOptions:
    from MambaSynthLib.model.card import GridSpec, IntensitySpec
    from MambaSynthTraining.data.found import Reading
    from MambaSynthTraining.data.set_making import SetOptions
    from MambaSynthTraining.data.stacks import SliceRule
    from MambaSynthTraining.data.subject_making import Steps

    own = vars(options)
    steps = Steps(
        grid=GridSpec("LPS", options.spacing, tuple(options.size)),
        intensity=IntensitySpec("percentile", _upper_percentile(options.layout), (0.0, 1000.0)),
        rule=SliceRule(options.tissue, options.slices),
        reading=Reading(own.get("prefer"), own.get("nan_as_zero", False)),
        register=own.get("register", "none"),
        transform=own.get("transform", "rigid"),
        n4=own.get("n4", False),
        pairs=options.layout in ("ixi", "brats2018", "paired", "phantom"),
    )
    unrecorded = {"command", "run", "debug", "out", "jobs", "json", "folder", "labels", "strict"}
    recorded = {key: own[key] for key in sorted(own) if key not in unrecorded}
    return SetOptions(
        name=options.layout,
        contrasts=_contrasts(options),
        steps=steps,
        register=steps.register,
        split=own.get("split", "given"),
        seed=own.get("seed", 0),
        by_site=own.get("by_site", False),
        limit=0 if options.layout == "phantom" else own.get("subjects", 0),
        strict=options.strict,
        options={key: list(v) if isinstance(v, tuple) else v for key, v in recorded.items()},
        shares={PHANTOMS: own["share"]} if own.get("phantoms") else {},
    )


def _upper_percentile(layout: str) -> float:
    """Slices that others have scaled to a range keep it; scanners' units are cut at 99.5 %."""
    return 100.0 if layout in ("folders", "reggan-npy") else 99.5


def _contrasts(options: argparse.Namespace) -> tuple[str, ...]:
    if options.layout in ("paired", "unpaired"):
        return tuple(c for name, c in GLOBS.items() if getattr(options, name))
    return tuple(options.contrasts)


def find_layout(options: argparse.Namespace) -> Layout:
    from MambaSynthTraining.data import brats2018, globbed, ixi, phantom_subjects, slice_folders
    from MambaSynthTraining.data.phantom_config import PhantomConfig

    contrasts = _contrasts(options)
    mask = globbed.Glob(options.mask) if getattr(options, "mask", None) else None
    if options.layout == "ixi":
        return ixi.find(options.folder, contrasts, mask)
    if options.layout == "brats2018":
        return brats2018.find(options.folder, contrasts)
    if options.layout in ("paired", "unpaired"):
        globs = {c: globbed.Glob(getattr(options, name)) for name, c in GLOBS.items()
                 if getattr(options, name)}  # fmt: skip
        people = globbed.find(globs, paired=options.layout == "paired", masks=mask)
        return _widened(people, options) if getattr(options, "phantoms", None) else people
    if options.layout == "phantom":
        config = PhantomConfig(
            lesions=not options.no_lesions, flip=not options.no_flips, field_tesla=options.field
        )
        return phantom_subjects.find(
            options.labels, options.subjects, options.seed, contrasts, config, options.skull
        )
    kind: Any = "images" if options.layout == "folders" else "arrays"
    return slice_folders.find(options.folder, contrasts, kind)


def _widened(people: Layout, options: argparse.Namespace) -> Layout:
    """With phantoms that train only, as a group of their own."""
    from dataclasses import replace

    from MambaSynthTraining.data.found import Layout
    from MambaSynthTraining.data.phantom_config import PhantomConfig
    from MambaSynthTraining.data.phantom_subjects import find

    found: Any = find(
        options.labels, options.phantoms, options.seed, _contrasts(options), PhantomConfig(),
        options.skull or 0.0,
    ).subjects  # fmt: skip
    phantoms = [replace(plan, split="train") for plan in found]
    groups = {one.id: PHANTOMS for one in phantoms}
    return Layout([*people.subjects, *phantoms], people.skipped, groups)
