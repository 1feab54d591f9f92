"""What lies in the place of an output: nothing, what would be made now, or something else.

A result is finished when it can be read to its last voxel, lies on its source's grid, holds the
voxels that were written, and its own record names the same source voxels, weights and settings; so
a killed run goes on where it was.
One that was made otherwise is whole, too, and cost as much: it is not replaced unasked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from MambaSynthLib.engine import Request
from MambaSynthLib.errors import FileError, VolumeError
from MambaSynthLib.image.planes import planes_for
from MambaSynthLib.image.volume import Volume, check_same_grid
from MambaSynthLib.io.files import VOXELS, read_marks, read_volume, sha256_of
from MambaSynthLib.io.marks import mark_in_sidecar, read_record, sidecar_of
from MambaSynthLib.io.payload import shown
from MambaSynthLib.model.package import ModelPackage
from MambaSynthLib.provenance import Provenance
from MambaSynthLib.watermark.marking import OFF


@dataclass(frozen=True)
class Settings:
    """What ``Engine.synthesize`` and ``read_volume`` are asked for, the same for all files.

    overwrite: whether a finished result of other settings, weights or voxels is made again.
    force: whether a source that the input gate refuses is synthesized from all the same.
    """

    steps: int
    samples: int
    seed: int = 0
    noise: str = "per-slice"
    batch: int | None = None
    prefer: Any = None
    nan_as_zero: bool = False
    overwrite: bool = False
    force: bool = False
    pixel_mark: bool = True
    planes: str = "auto"

    def check(self) -> None:
        """Raises RequestError for a value that no file could be synthesized with."""
        Request(self.steps, self.samples, self.seed, self.noise, None, self.batch or 1, self.planes)


def read_source(path: Path, settings: Settings) -> Volume:
    """The acquired volume to synthesize from. Raises FileError, also for a synthetic one."""
    return read_volume(
        path, prefer=settings.prefer, nan_as_zero=settings.nan_as_zero, allow_synthetic=False
    )


@dataclass(frozen=True)
class Existing:
    """What is there, and in words what is wrong with it."""

    kind: Literal["missing", "finished", "damaged", "made otherwise"]
    reason: str = ""


def existing_result(
    output: Path, source: Volume, package: ModelPackage, settings: Settings
) -> Existing:
    """What lies in the place of ``output``, compared with what would be made of ``source`` now.

    Raises FileError for a file of that name that MambaSynth did not make, or cannot tell it did:
    it is never replaced.
    """
    if not output.exists():
        return Existing("missing")
    try:
        made = _record(output)
        volume = read_volume(output)
    except FileError as error:
        if mark_in_sidecar(output) is None:
            raise
        return Existing("damaged", str(error))  # ours by its sidecar
    differences = _differences(made, source, package, settings)
    record = read_record(sidecar_of(output))
    if not record:
        differences.append("without the sidecar that belongs to it")
    elif record.get(VOXELS, sha256_of(volume)) != sha256_of(volume):  # earlier ones lack it
        differences.append("with other voxels than it has now")
    try:
        check_same_grid(volume, source)
    except VolumeError:
        differences.append(f"on another grid than {source.name} has now")
    if not differences:
        return Existing("finished")
    return Existing("made otherwise", f"{shown(output)}: was made {', '.join(differences)}")


def _record(output: Path) -> Provenance:
    mark = read_marks(output)
    if mark is None or mark.provenance is None:
        raise FileError(
            f"{shown(output)}: was not made by MambaSynth; move it or choose another folder."
        )
    return mark.provenance


def _differences(
    made: Provenance, source: Volume, package: ModelPackage, settings: Settings
) -> list[str]:
    wanted = {name: getattr(settings, name) for name in ("seed", "steps", "samples", "noise")}
    found = [
        f"with {name} {getattr(made, name)}, not {value}"
        for name, value in wanted.items()
        if getattr(made, name) != value
    ]
    if made.weights_sha256 != package.weights_sha256:
        found.append(f"with other weights (of {made.model_id} {made.model_version})")
    elif made.package_sha256 not in (None, package.sha256):  # earlier records lack it
        found.append(f"with another card (of {made.model_id} {made.model_version})")
    if made.source_sha256 != sha256_of(source):
        found.append(f"from other voxels than {source.name} has now")
    if made.pixel_mark is not None and (made.pixel_mark == OFF) == settings.pixel_mark:
        found.append(
            f"{'with' if settings.pixel_mark is False else 'without'} a mark in its voxels"
        )
    if made.quantity is not None:
        found.append("as another quantity")
    if made.planes not in (None, ", ".join(planes_for(source, settings.planes))):
        found.append(f"of {made.planes} slices")
    if made.slices is not None:
        found.append(f"of slices {made.slices[0]} to {made.slices[1] - 1} only")
    return found
