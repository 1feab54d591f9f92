"""Registered pairs of heads and phantoms become the data set that ``cravim-heads`` learns from.

    heads.json       the pairs: id, person, share, where the slices lie, license and citation
    ID.npz           source, target (N,H,W) float16 in [-1,1]; weight (N,H,W) in percent;
                     spacing (3,) of slices, rows, columns in mm
    ID.png           what a person looks at: axial, coronal, sagittal, both contrasts

Every pair goes through the Engine's own preparation, so that a network is trained on what it will
be given. A whole head of which a brain mask is found is written twice, with and without skull; a
brain once more in each of some heads whose T2w is not known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.commands.console import note
from MambaSynthLib.errors import FileError, VolumeError
from MambaSynthLib.image.intensity import EMPTY, middle_of_head
from MambaSynthLib.image.preparation import Preparation, prepare
from MambaSynthLib.image.tone import white_over_gray
from MambaSynthLib.image.volume import Volume, check_same_grid, same_grid
from MambaSynthLib.io.atomic import telling, write_whole
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data import head_eyes, head_lesions, head_necks
from MambaSynthTraining.data.dataset_files import read_json
from MambaSynthTraining.data.head_cord import follow
from MambaSynthTraining.data.head_registration import onto_source
from MambaSynthTraining.data.head_transplants import transplanted
from MambaSynthTraining.data.heads_list import HeadPair
from MambaSynthTraining.data.heads_picture import write_picture

LIST = "heads.json"
FORMAT = 1
GRID = GridSpec("LPS", 1.0, (192, 160), 8, in_plane_tolerance=0.15)
INTENSITY = IntensitySpec("median", 99.5, (0.0, 1000.0))
HIDDEN, SHOWN = 25, 500  # percent, of lesions: what T1w does not show cannot be learned from it
LESION_SHARE = 0.2  # how often a brain with pasted lesions is drawn, of the share of its own
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
BrainMask = Callable[[Volume], Mask]
Counted = tuple[Mask, int]  # voxels, and what they weigh in percent
BRAIN = 100  # percent, of a brain in another head


@dataclass(frozen=True)
class Entry:
    """One element of heads.json."""

    id: str
    person: str
    share: float
    whole: bool  # with its skull
    license: str
    citation: str
    neck: bool = False  # T1w alone: T2w is computed, and nothing of the brain is learned
    host: str = ""  # of a brain in another head, whose that is; T2w is computed around the brain
    source_model: str = ""  # that made T1w, where T2w alone was acquired

    @property
    def persons(self) -> set[str]:
        """Who is seen in it."""
        return {self.person, self.host} - {""}

    @property
    def computed(self) -> bool:
        """Whether something of it is no acquired value."""
        return self.neck or bool(self.host or self.source_model)


def make_pair(
    folder: Path, data: Path, pair: HeadPair, brain_mask: BrainMask | None
) -> list[Entry]:
    """Write one pair, as it is and, where ``brain_mask`` is given, without skull.

    Raises FileError, VolumeError: a volume or transform cannot be used.
    """
    source = read_volume(data / pair.source)
    target = onto_source(source, read_volume(data / pair.target), data, pair)
    return write_pair(folder, data, pair, (source, target), brain_mask)


def write_pair(
    folder: Path,
    data: Path,
    pair: HeadPair,
    volumes: tuple[Volume, Volume],
    brain_mask: BrainMask | None,
    source_model: str = "",
) -> list[Entry]:
    """Write T1w and T2w on one grid as ``make_pair``; T1w may be what a model of that name made.

    Raises FileError, VolumeError: a volume cannot be used.
    """
    source, target = volumes
    lesions = (_lesions(source, data / pair.lesions), HIDDEN) if pair.lesions else None
    preparation = prepare(source, GRID, INTENSITY)
    entries = [_write(folder, pair, pair.id, preparation, target, lesions, pair.has_skull)]
    _tell_contrast(source, pair.id)
    if brain_mask is not None:
        mask = brain_mask(source)
        brain = _marked(preparation, source.with_array(mask.astype(np.float32), "brain"))
        stacks = preparation.stack(), preparation.stack_of(target)
        outside = head_necks.outside_brain(*stacks, brain, _slice_mm(preparation))
        told = ", ".join("-" if np.isnan(value) else f"{value:.2f}" for value in outside)
        where = ", ".join(map(str, head_necks.AT))
        note(f"{pair.id}: outside the brain T2w is {told} medians where T1w is {where}")
        a, b = (v.with_array(np.where(mask, v.array, v.array.min())) for v in (source, target))
        stripped = prepare(a, GRID, INTENSITY)
        entries.append(_write(folder, pair, pair.stripped_id, stripped, b, lesions, False))
    return [replace(entry, source_model=source_model) for entry in entries]


def _tell_contrast(source: Volume, name: str) -> None:
    """What a recipe's ``white_over_gray`` would change in it."""
    low, values = middle_of_head(source)
    ratio = white_over_gray(values - low)
    note(f"{name}: white matter is {ratio:.2f} times as bright as gray in T1w")


def _lesions(source: Volume, path: Path) -> Mask:
    """Raises VolumeError: they lie on another grid."""
    labels = read_volume(path)
    check_same_grid(labels, source)
    return labels.array > 0


def make_lesioned(folder: Path, data: Path, pair: HeadPair, shapes: list[Volume]) -> list[Entry]:
    """Write a brain again, each time with other lesions; none where ``shapes`` lie on another grid.

    Raises FileError, VolumeError: a volume cannot be used.
    """
    source = read_volume(data / pair.source)
    shapes = [shape for shape in shapes if same_grid(shape, source)]
    if not shapes:
        return []
    target = onto_source(source, read_volume(data / pair.target), data, pair)
    entries = []
    for name in pair.lesioned_ids:
        a, b, there = head_lesions.pasted(
            source, target, shapes, np.random.default_rng(list(name.encode()))
        )
        preparation = prepare(a, GRID, INTENSITY)
        entries.append(_write(folder, pair, name, preparation, b, (there, SHOWN), whole=False))
    return entries


def make_neck(folder: Path, data: Path, pair: HeadPair, brain_mask: BrainMask) -> Entry:
    """Write a T1w head without T2w: weight 0 in and near its brain, see ``head_necks``.

    Raises FileError, VolumeError: the volume cannot be used, or shows no brain.
    """
    source = read_volume(data / pair.source)
    _tell_contrast(source, pair.id)
    preparation = prepare(source, GRID, INTENSITY)
    brain = _marked(preparation, source.with_array(brain_mask(source).astype(np.float32), "brain"))
    try:
        images = _around_brain(preparation, brain, pair.id)
    except VolumeError as error:
        raise VolumeError(f"{data / pair.source}: {error}") from error
    _save(folder, pair.id, *images, _slice_mm(preparation))
    return Entry(pair.id, pair.person, pair.share, True, pair.license, pair.citation, neck=True)


def make_transplant(
    folder: Path, data: Path, pair: HeadPair, host: HeadPair, brain_mask: BrainMask, share: float
) -> Entry:
    """Write a brain in the head of another person: the acquired T2w of the brain, around it what
    ``head_necks`` computes.

    Raises FileError, VolumeError: a volume cannot be used.
    """
    source, around = read_volume(data / pair.source), read_volume(data / host.source)
    target = onto_source(source, read_volume(data / pair.target), data, pair)
    name = pair.transplant_id(host)
    try:
        head, mask = transplanted(source, around, brain_mask(around))
        preparation = prepare(head, GRID, INTENSITY)
        brain = _marked(preparation, head.with_array(mask.astype(np.float32), "brain"))
        a, b, weight = _around_brain(preparation, brain, name)
    except VolumeError as error:
        raise VolumeError(f"{data / pair.source} in {data / host.source}: {error}") from error
    bare = target.with_array(np.where(mask, target.array, target.array.min()), target.name)
    b, weight = np.where(brain, preparation.stack_of(bare), b), np.where(brain, BRAIN, weight)
    if pair.lesions:
        there = _lesions(source, data / pair.lesions).astype(np.float32)
        weight[_marked(preparation, head.with_array(there, "lesions")) & brain] = HIDDEN
    _save(folder, name, a, b, weight.astype(np.uint16), _slice_mm(preparation))
    made = f"{pair.citation}; {host.citation}", f"{pair.license}, {host.license}"
    return Entry(name, pair.person, share, True, made[1], made[0], host=host.person)


def _around_brain(
    preparation: Preparation, brain: Mask, name: str
) -> tuple[Floats, Floats, NDArray[np.uint16]]:
    """(N,H,W) each: T1w as some coil sees it, the T2w computed of it and its weights, of a head
    with that brain. The coil is drawn by the head's name. Raises VolumeError: it has no brain.
    """
    stack, slice_mm = preparation.stack(), _slice_mm(preparation)
    cord = follow(stack, brain, slice_mm)
    eyes = head_eyes.find(stack, brain, slice_mm)
    weight = head_necks.weights(stack, brain, slice_mm, cord, eyes)
    rng = np.random.default_rng(list(name.encode()))
    stack = head_necks.faded(stack, brain, slice_mm, rng)
    return stack, head_necks.target(stack, slice_mm, cord, eyes), weight


def make_phantom(
    folder: Path, name: str, person: str, share: float, volumes: dict[str, Volume], whole: bool
) -> Entry:
    """Write one phantom, T1w and T2w."""
    made = ("Apache-2.0", "label maps of SynthSeg, Billot et al., Med Image Anal 2023")
    skull = "yes" if whole else "no"
    pair = HeadPair(name, person, share, "", "", skull, "", "", "", *made)
    preparation = prepare(volumes["T1w"], GRID, INTENSITY)
    return _write(folder, pair, name, preparation, volumes["T2w"], None, whole)


def check_left_out(left_out: Iterable[str], persons: Iterable[str]) -> None:
    """Raises FileError for a person who is not there."""
    there = set(persons)
    if strangers := sorted(set(left_out) - there):
        raise FileError(
            f"{', '.join(strangers)}: is no person of these heads; leave out one of "
            f"{', '.join(sorted(there))}."
        )


def write_list(folder: Path, entries: list[Entry], left_out: list[str]) -> None:
    """Write ``heads.json``: the persons ``left_out`` are looked at, and not learned from.

    Raises FileError for a person who is not there.
    """
    check_left_out(left_out, {person for entry in entries for person in entry.persons})
    record = {
        "format": FORMAT,
        "contrasts": ["T1w", "T2w"],
        "grid": asdict(GRID),
        "intensity": asdict(INTENSITY),
        "left_out": sorted(left_out),
        "heads": [asdict(entry) for entry in entries],
    }
    write_whole(folder / LIST, (json.dumps(record, indent=1) + "\n").encode())


def read_list_of(folder: Path) -> tuple[dict[str, Any], list[Entry]]:
    """What ``write_list`` wrote. Raises FileError where there is no such data set."""
    record = read_json(folder / LIST)
    if record.get("format") != FORMAT:
        raise FileError(f"{folder / LIST}: is of another format; run 'mambasynth heads' again.")
    return record, [Entry(**entry) for entry in record["heads"]]


def _write(
    folder: Path,
    pair: HeadPair,
    name: str,
    preparation: Preparation,
    target: Volume,
    lesions: Counted | None,
    whole: bool,
) -> Entry:
    a, b = preparation.stack(), preparation.stack_of(target)
    weight = np.full(a.shape, 100, dtype=np.uint16)
    if lesions is not None:
        there = target.with_array(lesions[0].astype(np.float32), "lesions")
        weight[_marked(preparation, there)] = lesions[1]
    _save(folder, name, a, b, weight, _slice_mm(preparation))
    return Entry(name, pair.person, pair.share, whole, pair.license, pair.citation)


def _slice_mm(preparation: Preparation) -> float:
    return float(preparation.volume.spacing[preparation.reorientation.order[0]])


def _marked(preparation: Preparation, mask: Volume) -> Mask:
    """(N,H,W): a mask of 0 and 1 on the source's grid, as the network sees the source."""
    placed = preparation.resampling.apply(preparation.reorientation.apply(mask.array))
    marked: Mask = preparation.canvas.apply(placed, 0.0) > 0
    return marked


def _save(
    folder: Path, name: str, a: Floats, b: Floats, weight: NDArray[Any], slice_mm: float
) -> None:
    """The slices that show something, and their picture."""
    used = np.flatnonzero((a > EMPTY).any(axis=(1, 2)))
    part = slice(used[0], used[-1] + 1)
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / f"{name}.npz", source=a[part].astype(np.float16),
            target=b[part].astype(np.float16), weight=weight[part],
            spacing=np.array([slice_mm, 1.0, 1.0]),
        )  # fmt: skip
    write_picture(folder / f"{name}.png", name, a[part], b[part], slice_mm)
