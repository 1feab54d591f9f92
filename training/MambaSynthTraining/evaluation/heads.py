"""Scores of people who were left out: whole heads, their brains, and the brains alone.

    pair of the list --onto the source's grid--> source, acquired --Engine--> synthetic --> measures

A whole head is given twice, as it is, scored in the head and in the brain, and without its skull,
scored in the brain and tissue by tissue. A brain is given as it is and, where there is a host, in
the head of that person, who has no T2w: a whole head of thin slices, scored in the brain.
The trivial rival is the source itself, under the best linear map.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import FileError
from MambaSynthLib.image.head import air_around
from MambaSynthLib.image.volume import Volume, check_same_grid
from MambaSynthLib.io.files import read_volume, write_volume
from MambaSynthTraining.data.head_registration import onto_source
from MambaSynthTraining.data.head_tissues import tissues_of
from MambaSynthTraining.data.head_transplants import transplanted
from MambaSynthTraining.data.heads_list import HeadPair
from MambaSynthTraining.data.orientation import orient
from MambaSynthTraining.evaluation.head_measures import (
    LEVELS,
    head_scores,
    interval_factors,
    share_in_air,
)

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]
CSV = "heads.csv"
TEXTS = ("head", "person", "input", "region", "candidate")
FACTORS = tuple(f"factor of {level:g}" for level in LEVELS)  # of the interval; without one empty
COLUMNS = (
    *TEXTS, "psnr", "ssim", "nmi", "r", "detail", "jitter", "air",
    "seconds", *FACTORS,
)  # fmt: skip
TRIVIAL = "source, best linear map"
INSERTED = "inserted"  # into another head
SEVERAL = ", "  # between the planes of a record
CODES = "RAS"  # slices along the last axis


@dataclass(frozen=True)
class Given:
    """One input: what is synthesized from, what it is compared with, and where."""

    id: str
    person: str
    input: str  # whole, stripped or INSERTED
    source: Volume
    acquired: Volume
    regions: dict[str, Mask]
    air: Mask


def inputs_of(
    pair: HeadPair,
    data: Path,
    source: str,
    brain_mask: Callable[[Volume], Mask] | None,
    host: Volume | None = None,
) -> Iterator[Given]:
    """The inputs that a pair of the list makes; ``source`` is T1w or T2w.

    Without ``brain_mask`` pairs with a skull are given and scored as whole heads only. ``host`` is
    the T1w head of a person nobody was trained on; it needs ``brain_mask``, and T1w as source.
    """
    t1 = read_volume(data / pair.source)
    t2 = onto_source(t1, read_volume(data / pair.target), data, pair)
    given, acquired = (orient(v, CODES) for v in ((t1, t2) if source == "T1w" else (t2, t1)))
    air = air_around(given)
    if not pair.has_skull:
        regions = {"brain": ~air}
        yield Given(pair.id, pair.person, "stripped", given, acquired, regions, air)
        if host is not None and brain_mask is not None:
            head, brain = transplanted(given, host, brain_mask(host))
            regions = {"brain": brain & ~air}
            outside = air_around(head)
            yield Given(pair.id, pair.person, INSERTED, head, acquired, regions, outside)
        return
    shown = acquired.array > 0  # where the acquired volume's own field of view ends
    if brain_mask is None:
        regions = {"head": ~air & shown}
        yield Given(pair.id, pair.person, "whole", given, acquired, regions, air)
        return
    brain = brain_mask(orient(t1, CODES))
    regions = {"head": ~air & shown, "brain": brain & shown}
    yield Given(pair.id, pair.person, "whole", given, acquired, regions, air)
    bare = given.with_array(np.where(brain, given.array, given.array.min()), given.name)
    regions = {"brain": brain & shown}
    yield Given(pair.id, pair.person, "stripped", bare, acquired, regions, ~brain)


def score(
    given: Given, candidates: Mapping[str, Engine | Path], source: str, volumes: Path
) -> Iterator[dict[str, Any]]:
    """One row for each candidate and region. A candidate that is a folder holds volumes made
    elsewhere, named as those that this writes: ID-INPUT.nii.gz.

    Raises FileError, VolumeError: one of those is missing, or lies on another grid.
    """
    name = f"{given.id}-{given.input}.nii.gz"
    for folder in ("source", "acquired", *candidates):
        (volumes / folder).mkdir(parents=True, exist_ok=True)
    write_volume(given.source, volumes / "source" / name, overwrite=True)
    write_volume(given.acquired, volumes / "acquired" / name, overwrite=True)
    rows: list[tuple[str, Floats, Floats | None, float]] = [(TRIVIAL, given.source.array, None, 0)]
    for candidate, maker in candidates.items():
        started, half_width = time.monotonic(), None
        if isinstance(maker, Engine):
            synthesis = maker.synthesize({source: given.source}, pixel_mark=False)
            made = next(iter(synthesis.volumes.values()))
            if maker.card.intervals:
                half_width = next(iter(synthesis.spreads.values())).array
            write_volume(made, volumes / candidate / name, overwrite=True)
        else:
            made = orient(read_volume(maker / name), CODES)
            check_same_grid(made, given.source)
        rows.append((candidate, made.array, half_width, time.monotonic() - started))
        if isinstance(maker, Engine) and SEVERAL in (synthesis.provenance.planes or ""):
            rows.append(_in_one_plane(candidate, maker, given, source))
    tissues: dict[str, Mask] = {}
    if given.input == "stripped":
        t1 = given.source if source == "T1w" else given.acquired
        tissues = tissues_of(t1.array, given.regions["brain"])
    acquired = given.acquired.array
    for candidate, array, width, seconds in rows:
        about = {"head": given.id, "person": given.person, "input": given.input}
        about["candidate"] = candidate
        for region, mask in given.regions.items():
            yield {
                **about, "region": region, **head_scores(array, acquired, mask),
                "air": share_in_air(array, given.air), "seconds": float(seconds),
                **_factors(array, width, acquired, mask),
            }  # fmt: skip
        for tissue, mask in tissues.items():
            if width is not None and mask.any():
                brain = given.regions["brain"]
                factors = _factors(array, width, acquired, brain, mask)
                yield {**about, "region": tissue, **factors}


def _in_one_plane(
    candidate: str, engine: Engine, given: Given, source: str
) -> tuple[str, Floats, None, float]:
    """What the mean over planes is worth, the volume being made without it."""
    started = time.monotonic()
    synthesis = engine.synthesize({source: given.source}, planes="one", pixel_mark=False)
    made = next(iter(synthesis.volumes.values()))
    name = f"{candidate.removesuffix(' (ours)')}, {synthesis.provenance.planes} slices alone"
    return name, made.array, None, time.monotonic() - started


def _factors(
    made: Floats, width: Floats | None, acquired: Floats, region: Mask, tissue: Mask | None = None
) -> dict[str, float]:
    if width is None:
        return {}
    found = interval_factors(made, width, acquired, region, tissue)
    return dict(zip(FACTORS, found, strict=True))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """The table as it is stored."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder of ``score-heads``, without what is empty. Raises FileError where there
    are none.
    """
    try:
        with open(folder / CSV, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return [
            {k: v if k in TEXTS else float(v) for k, v in row.items() if v != ""} for row in rows
        ]
    except (OSError, ValueError, TypeError) as error:
        raise FileError(f"{folder / CSV}: is no table of 'mambasynth score-heads'.") from error
