"""One subject, from its files to its place in the prepared folder.

    read --axis order--> [N4] --register--> [mask] --> slices --> zarr, volumes, contact sheet

A subject already there with the same fingerprint (hashes of its files, and all that the result
depends on) is left as it is, which makes an interrupted preparation go on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import FileError, MambaSynthError, VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.contact_sheet import write_sheet
from MambaSynthTraining.data.found import Found, Reading
from MambaSynthTraining.data.label_map import LABELS, LabelMap
from MambaSynthTraining.data.masking import mask_out
from MambaSynthTraining.data.n4 import remove_bias
from MambaSynthTraining.data.orientation import orient, same_grid
from MambaSynthTraining.data.pixels import Pixels, pixels_of, with_pixels
from MambaSynthTraining.data.prepared import PreparedSubject, sheet_path, volume_path
from MambaSynthTraining.data.prepared_writing import write_subject
from MambaSynthTraining.data.registration import register
from MambaSynthTraining.data.stacks import SliceRule, Stacks, cut

STEPS_VERSION = 1  # to be raised when the steps here give other numbers


@dataclass(frozen=True)
class Steps:
    """What happens to the images of a subject."""

    grid: GridSpec
    intensity: IntensitySpec
    rule: SliceRule
    reading: Reading
    register: str  # 'all', 'needed' (where grids differ), 'pixels' (their size only) or 'none'
    transform: str  # 'rigid' or 'affine'
    n4: bool
    pairs: bool  # whether slices that do not correspond are a reason to skip the subject
    first: str = ""  # 'pixels': the contrast whose pixel size all others get, and that size for
    pixels: Pixels | None = None  # people who lack the contrast


@dataclass(frozen=True)
class Outcome:
    """How it went: ``problem`` is why a subject was skipped, ``''`` where it was prepared."""

    subject: str
    problem: str = ""
    slices: int = 0
    kept: bool = False  # it was there already
    notes: tuple[str, ...] = ()


def make_subject(folder: Path, found: Found, hashes: Mapping[str, str], steps: Steps) -> Outcome:
    """Make one subject in ``folder``; a user's problem with it becomes its ``problem``.

    ``hashes`` are the sha256 of its source files, by name.
    """
    fingerprint = fingerprint_of(found, hashes, steps)
    kept = _already_there(folder, found, fingerprint)
    if kept is not None:
        return kept
    try:
        volumes, about = _volumes(found, steps)
        paired = about["paired"]
        stacks = cut(volumes, steps.grid, steps.intensity, steps.rule, paired)
        notes = sorted({note for volume in volumes.values() for note in volume.notes})
        notes += stacks.notes
        attributes = _attributes(found, volumes, stacks, about)
        labels = _labels(found, steps, next(iter(volumes.values())))
        attributes |= {"fingerprint": fingerprint, "sources": dict(hashes), "notes": notes}
        attributes |= {LABELS: {str(n): name for n, name in labels.names.items()}} if labels else {}
        kept_volumes = volumes | ({LABELS: labels.volume} if labels else {})
        write_subject(folder, found.id, stacks.slices, kept_volumes, attributes)
        title = _title(found.id, attributes)
        write_sheet(sheet_path(folder, found.id), title, stacks.slices, paired)
    except MambaSynthError as error:
        return Outcome(found.id, str(error))
    return Outcome(found.id, slices=_count(stacks.slices), notes=tuple(notes))


def fingerprint_of(found: Found, hashes: Mapping[str, str], steps: Steps) -> str:
    """sha256 of everything that the prepared subject depends on."""
    record = [STEPS_VERSION, found.id, found.settings(), dict(hashes), found.contrasts]
    values = asdict(steps)
    if steps.register != "pixels":
        del values["first"], values["pixels"]  # without a meaning
    text = json.dumps([*record, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _already_there(folder: Path, found: Found, fingerprint: str) -> Outcome | None:
    subject = PreparedSubject(folder, found.id, "")
    files = [volume_path(folder, found.id, contrast) for contrast in found.contrasts]
    if not all(path.exists() for path in [*files, sheet_path(folder, found.id)]):
        return None
    try:
        attributes = subject.attributes
    except FileError:
        return None
    if attributes.get("fingerprint") != fingerprint:
        return None
    count = max(len(indices) for indices in attributes["slices"].values())
    return Outcome(found.id, slices=count, kept=True, notes=tuple(attributes["notes"]))


def _volumes(found: Found, steps: Steps) -> tuple[dict[str, Volume], dict[str, Any]]:
    """The volumes of all contrasts, on one grid where possible, and what was done to them."""
    codes = steps.grid.axis_codes
    read = found.read(steps.reading)
    volumes = {contrast: orient(volume, codes) for contrast, volume in read.items()}
    if steps.n4:
        volumes = {contrast: remove_bias(volume) for contrast, volume in volumes.items()}
    volumes, transforms = _registered(volumes, steps)
    first, *others = volumes.values()
    paired = bool(others) and all(same_grid(first, other) for other in others)
    paired = paired and found.settings().get("paired", True)
    if steps.pairs and not others:
        raise VolumeError(f"{found.id}: has only {found.contrasts[0]}, but pairs are needed here.")
    if steps.pairs and not paired:
        raise VolumeError(
            f"{found.id}: its contrasts lie on different grids; register them with --register "
            "needed."
        )
    mask = found.read_mask(steps.reading)
    if mask is not None:
        volumes = mask_out(volumes, orient(mask, codes))
    return volumes, {"paired": paired, "transform": transforms, "n4": steps.n4}


def _labels(found: Found, steps: Steps, first: Volume) -> LabelMap | None:
    """The labels in the view of the first contrast; none where its grid was changed."""
    labels = found.read_labels(steps.reading)
    if labels is None:
        return None
    oriented = orient(labels.volume, steps.grid.axis_codes)
    return replace(labels, volume=oriented) if same_grid(oriented, first) else None


def _registered(
    volumes: dict[str, Volume], steps: Steps
) -> tuple[dict[str, Volume], dict[str, Any]]:
    """All volumes on the grid of the first, and the record of each registration."""
    (first, fixed), *others = volumes.items()
    result = {first: fixed}
    records: dict[str, Any] = {}
    if steps.register == "pixels":
        wanted = pixels_of(fixed) if first == steps.first else steps.pixels or pixels_of(fixed)
        return {c: with_pixels(volume, wanted) for c, volume in volumes.items()}, records
    for contrast, moving in others:
        if steps.register == "none" or steps.register == "needed" and same_grid(fixed, moving):
            result[contrast] = moving
            continue
        registration = register(fixed, moving, steps.transform)
        result[contrast] = registration.apply(moving, fixed)
        records[contrast] = registration.record()
    return result, records


def _attributes(
    found: Found, volumes: Mapping[str, Volume], stacks: Stacks, about: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "patient": found.patient,
        "site": found.site,
        "slices": stacks.indices,
        "spacing": {contrast: volume.spacing.tolist() for contrast, volume in volumes.items()},
        "affine": {contrast: volume.affine.tolist() for contrast, volume in volumes.items()},
        "settings": found.settings(),
        **about,
    }


def _title(subject: str, attributes: Mapping[str, Any]) -> str:
    kind = "paired" if attributes["paired"] else "unpaired"
    count = max(len(indices) for indices in attributes["slices"].values())
    title = f"{subject}: {count} slices, {kind}"
    for contrast, record in attributes["transform"].items():
        metric = f"{-record['metric_before']:.3f} -> {-record['metric_after']:.3f}"
        title += f"; {contrast} {record['kind']}, mutual information {metric}"
    return title


def _count(slices: Mapping[str, Any]) -> int:
    return max(len(stack) for stack in slices.values())
