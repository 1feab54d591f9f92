"""A data folder of beating hearts, split by subject; the form is heart_cine.py's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.beating_heart import beating_heart
from MambaSynthTraining.data.dataset_files import SPLITS, write_dataset_files
from MambaSynthTraining.data.heart_cine import HeartCine, write_subject
from MambaSynthTraining.data.heart_slices import KINDS, SINGLE
from MambaSynthTraining.data.heart_stacks import Grid, Stack

SOURCE = "Sunnybrook Cardiac Data (Radau et al. 2009), doi 10.54294/g80ruo"
LICENSE = "CC0-1.0"


def write_beating_hearts(
    stacks: Sequence[Stack],
    folder: Path,
    *,
    split: Sequence[int] = (30, 5, 10),
    seed: int = 0,
    frames: int = 16,
    grid: Grid | None = None,
    fields: bool = False,
    kinds: tuple[str, ...] = KINDS,
    jobs: int = 1,
    progress: Callable[[HeartCine], None] | None = None,
) -> dict[str, list[str]]:
    """Write one cine per patient; return the subjects of each split.

    ``split`` are the numbers of train, validation and test subjects; who goes where is drawn by
    ``seed``. ``fields`` adds the true pull fields, 25 MB per subject. ``kinds`` of slices are drawn
    from, see ``heart_slices.py``; where there are others, single slices are for training alone.
    ``jobs`` processes work at once; the result does not depend on them.

    Raises
    ------
    RequestError: the split asks for more patients than there are, or for none.
    """
    total = sum(split)
    if len(split) != len(SPLITS) or min(split) < 0 or not 0 < total <= len(stacks):
        raise RequestError(
            f"beating hearts: cannot split {len(stacks)} patients into {tuple(split)}; "
            "give numbers for train, validation and test that sum to no more."
        )
    grid = grid or Grid()
    order = np.random.default_rng(seed).permutation(len(stacks))[:total]
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    where = [name for name, count in zip(SPLITS, split, strict=True) for _ in range(count)]
    chosen = [int(index) for index in order]
    beat = partial(beating_heart, seed=seed, frames=frames, grid=grid)
    scored = tuple(kind for kind in kinds if kind != SINGLE) or kinds
    asked = [kinds if name == SPLITS[0] else scored for name in where]
    with ProcessPoolExecutor(jobs) if jobs > 1 else nullcontext() as pool:
        each = pool.map if pool else map
        patients = [stacks[index] for index in chosen]
        cines = each(_beat, [beat] * total, patients, chosen, asked)
        for cine, name in zip(cines, where, strict=True):
            write_subject(folder, cine if fields else replace(cine, fields=None))
            splits[name].append(cine.name)
            if progress is not None:
                progress(cine)
    record = {"name": "beating hearts", "source": SOURCE, "license": LICENSE, "seed": seed,
              "frames": frames, "grid": asdict(grid), "slices": list(kinds)}  # fmt: skip
    write_dataset_files(folder, record, {name: sorted(names) for name, names in splits.items()})
    return splits


def _beat(
    beat: Callable[..., HeartCine], stack: Stack, subject: int, kinds: tuple[str, ...]
) -> HeartCine:
    return beat(stack, subject, kinds=kinds)
