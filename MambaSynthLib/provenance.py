"""Where a synthetic image comes from, in the two shapes that files can hold.

A :class:`Provenance` becomes a nested dictionary for JSON (a BIDS sidecar, a NIfTI header
extension) or flat text tags (NRRD and MHA key/values, MRML attributes), and comes back unchanged
from both. It holds no time stamp unless asked, so that the same seed and settings give the same
file to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from MambaSynthLib import __version__
from MambaSynthLib.errors import FileError

MARK = "SYNTHETIC - NOT FOR DIAGNOSIS"
UNCERTAINTY = "uncertainty map"
HALF_WIDTH = (
    "half-width of the interval around the image in which 90 % of the acquired values are "
    "expected; the model's card says how many were, on people it had not seen"
)
TAG_PREFIX = "MambaSynth."
BIDS_KEYS = {
    "method": "Method",
    "model_id": "Model",
    "model_version": "ModelVersion",
    "weights_sha256": "WeightsSHA256",
    "package_sha256": "PackageSHA256",
    "source_contrast": "SourceContrast",
    "target_contrast": "TargetContrast",
    "source_sha256": "SourceSHA256",
    "taken_for": "TakenFor",
    "seed": "Seed",
    "steps": "Steps",
    "samples": "Samples",
    "noise": "Noise",
    "backend": "Backend",
    "device": "Device",
    "precision": "Precision",
    "quantity": "Description",
    "units": "Units",
    "slices": "Slices",
    "planes": "Planes",
    "times_ms": "TriggerTimesMs",
    "acquired": "AcquiredFrames",
    "phases": "Phases",
    "refinement": "Refinement",
    "timing": "Timing",
    "created": "Created",
    "pixel_mark": "PixelMark",
    "limits": "Limits",
    "warnings": "Warnings",
}  # software and source_name have places of their own in BIDS: GeneratedBy and Sources
NUMBERS = ("seed", "steps", "samples")
LISTS = {"slices": (int,), "times_ms": (int, float), "acquired": (int,), "warnings": (str,)}


@dataclass(frozen=True)
class Place:
    """Where a network computes (cuda:0, mps, cpu, ...) and in which numbers.

    precision: of convolutions and matrix products: fp32, tf32, fp16 or bf16; see the backends.
    """

    device: str
    precision: str


@dataclass(frozen=True)
class Provenance:
    """What made a synthetic image, and from what.

    Parameters
    ----------
    method: name of the synthesis method, e.g. ``cravim``.
    model_id, model_version, weights_sha256: the model package and the weights that were loaded.
    source_contrast, target_contrast: BIDS spelling, e.g. ``T1w`` and ``T2w``.
    source_name: base name of the source file, or name of the source node; never a path.
    source_sha256: hash of the source's voxels, see ``io.files.sha256_of``.
    taken_for: whether the source was seen as a head or as a brain, and how large, where the model
        knows both; None elsewhere, and in records of versions that kept it among the warnings.
    seed, steps, samples: of the sampler; ``samples`` is how many noise draws were averaged.
    noise: ``per-slice`` or ``shared``.
    backend, device, precision: what the networks really ran on, e.g. ``torch``, ``cuda``, ``tf32``.
        Two devices ("cuda, cpu") where the first one's memory ended on the way; ``precision`` then
        has theirs in the same order. None in records of versions that did not keep it.
    package_sha256: of the model's card, which holds the hash of the weights; None as ``precision``.
    quantity, units: what the voxels of a map say that is no image, and in which units; None for an
        image. BIDS has Description and Units for them.
    slices: first and one-past-last synthesized slice, where not the whole volume was.
    planes: in which the volume was cut to slices, whose images were averaged. None of a model that
        knows one plane alone.
    times_ms: trigger time of each frame of a cine.
    acquired: numbers, from 1, of the frames that are acquired; the others are synthetic.
    phases: which acquired frames are ED and ES, and by which rule.
    refinement: how the motion of a cine was found on its own frames, and what it explains.
    timing: by which course the motion of a cine was spread over time.
    created: ISO 8601 UTC, or None (the default) to keep files reproducible.
    pixel_mark: of the mark in the voxels, how and with which code; or why there is none. None in
        records of versions that had no such mark.
    limits: what no such image can show, in a sentence without its full stop.
    warnings: named warnings of reading and synthesis.
    software: name and version of the program.
    """

    method: str
    model_id: str
    model_version: str
    weights_sha256: str
    source_contrast: str
    target_contrast: str
    source_name: str
    source_sha256: str
    seed: int
    steps: int
    samples: int
    noise: str
    backend: str
    device: str
    precision: str | None = None
    package_sha256: str | None = None
    taken_for: str | None = None
    quantity: str | None = None
    units: str | None = None
    slices: tuple[int, int] | None = None
    planes: str | None = None
    times_ms: tuple[float, ...] = ()
    acquired: tuple[int, ...] = ()
    phases: str | None = None
    refinement: str | None = None
    timing: str | None = None
    created: str | None = None
    pixel_mark: str | None = None
    limits: str | None = None
    warnings: tuple[str, ...] = ()
    software: str = f"MambaSynth {__version__}"

    def of_spread(self) -> Provenance:
        """The record of the uncertainty map that was made together with this image."""
        draws = (
            f"standard deviation over {self.samples} noise draws of the model; it tells how far "
            "its answers differ, not how wrong they are"
        )
        return replace(
            self,
            quantity=f"{UNCERTAINTY}: {draws if self.samples > 1 else HALF_WIDTH}",
            units=f"those of the synthetic {self.target_contrast} image",
            pixel_mark="none: a map is no image",
        )

    def to_bids(self) -> dict[str, Any]:
        """The record for a BIDS JSON sidecar (BIDS derivatives: GeneratedBy, Sources)."""
        name, _, version = self.software.rpartition(" ")
        record: dict[str, Any] = {
            "Synthetic": True,
            "Warning": MARK,
            "GeneratedBy": [{"Name": name, "Version": version}],
            "Sources": [self.source_name],
        }
        for field, key in BIDS_KEYS.items():
            value = getattr(self, field)
            if value not in (None, ()):
                record[key] = list(value) if field in LISTS else value
        return record

    @classmethod
    def from_bids(cls, record: Mapping[str, Any]) -> Provenance:
        """Undo :meth:`to_bids`. Raises FileError where the record is not one of ours."""
        try:
            made_by = record["GeneratedBy"][0]
            found: dict[str, Any] = {
                "software": f"{made_by['Name']} {made_by['Version']}",
                "source_name": record["Sources"][0],
            }
        except (KeyError, IndexError, TypeError) as error:
            raise FileError(
                "The provenance record lacks GeneratedBy or Sources; it was not written by "
                "MambaSynth or has been edited."
            ) from error
        found |= {field: record[key] for field, key in BIDS_KEYS.items() if key in record}
        return cls._checked(found)

    def to_tags(self) -> dict[str, str]:
        """Flat ``MambaSynth.<field>`` -> one line of printable ASCII."""
        tags = {TAG_PREFIX + "mark": MARK}
        for field in fields(self):
            value = getattr(self, field.name)
            if value in (None, ()):
                continue
            text = json.dumps(value) if field.name in LISTS else str(value)
            tags[TAG_PREFIX + field.name] = text.encode("unicode_escape").decode("ascii")
        return tags

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Provenance:
        """Undo :meth:`to_tags`; foreign tags are ignored. Raises FileError as from_bids does."""
        found: dict[str, Any] = {}
        for field in (field.name for field in fields(cls)):
            text = tags.get(TAG_PREFIX + field)
            if text is None:
                continue
            try:
                text = text.encode("ascii").decode("unicode_escape")
                found[field] = json.loads(text) if field in (*NUMBERS, *LISTS) else text
            except ValueError as error:
                raise FileError(
                    f"The provenance tag {TAG_PREFIX}{field} is damaged: {text[:40]!r}."
                ) from error
        return cls._checked(found)

    def sentence(self) -> str:
        """The record in words, for a caption or ``mambasynth verify``."""
        steps = f"{self.steps} step{'s' * (self.steps != 1)}"
        samples = f"{self.samples} sample{'s' * (self.samples != 1)}"
        if self.times_ms:
            return (
                f"{MARK}: cine of {len(self.times_ms)} frames from {self.source_name} by "
                f"{self.software}, model {self.model_id} {self.model_version} ({self.method}); "
                f"acquired: frames {', '.join(map(str, self.acquired)) or 'none'}; all others are "
                "synthetic."
            )
        part = f", slices {self.slices[0]} to {self.slices[1] - 1} only" if self.slices else ""
        limits = f" {self.limits}." if self.limits else ""
        seen = f", taken for {self.taken_for.partition(',')[0]}," if self.taken_for else ""
        what = f"{self.quantity}; units: {self.units}. It belongs to the " if self.quantity else ""
        return (
            f"{MARK}: {what}{self.target_contrast} synthesized from {self.source_contrast} "
            f"{self.source_name}{seen} by {self.software}, "
            f"model {self.model_id} {self.model_version} "
            f"({self.method}, seed {self.seed}, {steps}, {samples}{part}).{limits}"
        )

    def computing(self) -> str:
        """What computed it, in words."""
        precision = f" in {self.precision}" if self.precision else ""
        return f"computed by {self.backend} on {self.device}{precision}"

    @classmethod
    def _checked(cls, found: dict[str, Any]) -> Provenance:
        """Build from untrusted values: every field there and of its declared kind."""
        optional = {field.name for field in fields(cls) if field.default is not MISSING} - {
            "software"
        }
        for field in (field.name for field in fields(cls)):
            if field not in found:
                if field in optional:
                    continue
                raise FileError(f"The provenance record lacks {field}; it has been edited.")
            if not _fits(field, found[field]):
                raise FileError(f"The provenance record has {field} = {found[field]!r:.60}.")
        for field in LISTS:
            if field in found:
                found[field] = tuple(found[field])
        return cls(**found)


def fallback_warnings(places: Sequence[Place], wanted: str) -> tuple[str, ...]:
    """What the user should know where another device than the ``wanted`` one computed."""
    return tuple(
        f"memory: that of {wanted} was not enough, so {place.device} computed instead"
        for place in places
        if place.device != wanted
    )


def _fits(field: str, value: Any) -> bool:
    """Whether ``value`` is of the kind that ``field`` holds."""
    if field in NUMBERS:
        return type(value) is int
    if field not in LISTS:
        return isinstance(value, str)
    items = isinstance(value, list) and all(type(item) in LISTS[field] for item in value)
    return items and (field != "slices" or len(value) == 2)
