"""Many volumes through one model: which files there are, which are finished, and one at a time.

    IN/sub-01/anat/sub-01_T1w.nii.gz -> OUT/sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz

An output is finished when it can be read to its last voxel, lies on its source's grid, and its own
record names the same source voxels, weights and settings; so a killed run goes on where it was.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from MambaSynthLib.engine import Engine, Request
from MambaSynthLib.errors import FileError, MambaSynthError, RequestError
from MambaSynthLib.image.volume import Volume, check_same_grid
from MambaSynthLib.io.files import READABLE, read_marks, read_volume, sha256_of, write_volume
from MambaSynthLib.io.marks import sidecar_of, suffix_of
from MambaSynthLib.model.package import ModelPackage
from MambaSynthLib.provenance import Provenance

DESCRIPTION = "desc-synthetic"
NOT_SEARCHED = "derivatives"  # of BIDS trees: images that were computed, not acquired
# (rank, number of processes, rank on this machine) as torchrun and SLURM tell a process
PLACES = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))


@dataclass(frozen=True)
class Task:
    """One file to synthesize from, and where the result goes."""

    source: Path
    output: Path


@dataclass(frozen=True)
class Settings:
    """What ``Engine.synthesize`` and ``read_volume`` are asked for, the same for all files."""

    steps: int
    samples: int
    seed: int = 0
    noise: str = "per-slice"
    batch: int | None = None
    prefer: Any = None
    nan_as_zero: bool = False

    def check(self) -> None:
        """Raises RequestError for a value that no file could be synthesized with."""
        Request(self.steps, self.samples, self.seed, self.noise, None, self.batch or 1)


@dataclass(frozen=True)
class Outcome:
    """What became of one task: 'done', 'finished before' or 'failed'."""

    source: str
    output: str
    status: str
    seconds: float
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def find_tasks(
    folder: Path, out: Path, contrasts: tuple[str, str], pattern: str | None = None
) -> list[Task]:
    """The acquired volumes of the source contrast below ``folder``, sorted, with their outputs.

    ``pattern`` is a glob relative to ``folder``; by default ``**/*_T1w.*`` for the source contrast
    T1w, as BIDS names files. Hidden files, ``derivatives``, what lies in ``out`` and what is named
    synthetic are not searched.

    Raises
    ------
    FileError: there is no such folder, or no such file in it.
    RequestError: two files would have the same output, or the pattern is none.
    """
    if not folder.is_dir():
        raise FileError(f"{folder}: is no folder; name the folder that holds the volumes.")
    pattern = pattern or f"**/*_{contrasts[0]}.*"
    try:
        found = sorted(path for path in folder.glob(pattern) if _is_source(path, folder, out))
    except (ValueError, NotImplementedError) as error:  # empty or absolute
        raise RequestError(f"{pattern!r}: is no pattern inside {folder} ({error}).") from error
    if not found:
        raise FileError(f"{folder}: holds no volume that matches {pattern}; give --glob PATTERN.")
    tasks = [Task(path, out / output_name(path.relative_to(folder), contrasts)) for path in found]
    first: dict[Path, Path] = {}
    for task in tasks:
        other = first.setdefault(task.output, task.source)
        if other != task.source:
            raise RequestError(
                f"{other} and {task.source} would both become {task.output}; choose one of them "
                "with --glob PATTERN."
            )
    return tasks


def _is_source(path: Path, folder: Path, out: Path) -> bool:
    parts = path.relative_to(folder).parts
    return (
        suffix_of(path) in READABLE
        and path.is_file()
        and DESCRIPTION not in path.name
        and NOT_SEARCHED not in parts
        and not any(part.startswith(".") for part in parts)
        and not path.resolve().is_relative_to(out.resolve())
    )


def output_name(path: Path, contrasts: tuple[str, str]) -> Path:
    """The derivative's name by BIDS: ``sub-01_desc-x_T1w.mha`` -> ``sub-01_desc-synthetic_T2w...``.

    A name without the source contrast at its end keeps all of itself.
    """
    source, target = contrasts
    stem = path.name[: len(path.name) - len(suffix_of(path))]
    stem = re.sub(r"_desc-[A-Za-z0-9]+(?=_)", "", stem.removesuffix(f"_{source}") + "_")
    return path.with_name(f"{stem}{DESCRIPTION}_{target}.nii.gz")


def place_of(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """(rank, processes, rank on this machine) of this process; (0, 1, 0) when it is alone.

    Raises RequestError where the variables of torchrun or SLURM make no sense.
    """
    for names in PLACES:
        if names[0] in environment and names[1] in environment:
            texts = [environment.get(name, "0") for name in names]
            if all(text.isdigit() for text in texts) and int(texts[0]) < int(texts[1]):
                return int(texts[0]), int(texts[1]), int(texts[2])
            raise RequestError(f"{', '.join(names)} are {', '.join(texts)}; unset them.")
    return 0, 1, 0


def share_of(tasks: Sequence[Task], rank: int, processes: int) -> Sequence[Task]:
    """Every task belongs to one rank."""
    return tasks[rank::processes]


def outcomes(engine: Engine, tasks: Sequence[Task], settings: Settings) -> Iterator[Outcome]:
    """The outcome of every task in turn; no file's trouble stops the others."""
    for task in tasks:
        yield outcome_of(engine, task, settings)


def outcome_of(engine: Engine, task: Task, settings: Settings) -> Outcome:
    """Synthesize one file unless it is finished."""
    started = time.monotonic()

    def outcome(status: str, message: str = "") -> Outcome:
        seconds = round(time.monotonic() - started, 1)
        return Outcome(str(task.source), str(task.output), status, seconds, message)

    try:
        made = _synthesize(engine, task, settings)
    except (MambaSynthError, OSError, MemoryError) as error:
        return outcome("failed", str(error) or "the memory of this machine is not enough")
    except Exception as error:  # one file, whatever is wrong with it, must not stop the rest
        return outcome("failed", f"a bug in MambaSynth ({type(error).__name__}: {error})")
    return outcome("done" if made else "finished before")


def _synthesize(engine: Engine, task: Task, settings: Settings) -> bool:
    """Whether there was anything to do."""
    source = read_volume(
        task.source, prefer=settings.prefer, nan_as_zero=settings.nan_as_zero, allow_synthetic=False
    )
    card = engine.package.card
    if is_finished(task.output, source, engine.package, settings):
        return False
    task.output.parent.mkdir(parents=True, exist_ok=True)
    synthesis = engine.synthesize(
        {card.source_contrasts[0]: source},
        steps=settings.steps,
        samples=settings.samples,
        seed=settings.seed,
        noise=settings.noise,
        batch=settings.batch,
    )
    volume = synthesis.volumes[card.target_contrasts[0]]
    write_volume(volume, task.output, provenance=synthesis.provenance, overwrite=True)
    return True


def is_finished(output: Path, source: Volume, package: ModelPackage, settings: Settings) -> bool:
    """Whether ``output`` is what would be made now.

    Raises FileError for a file of that name that MambaSynth did not make, or cannot tell it did:
    it is not replaced.
    """
    if not output.exists():
        return False
    try:
        made = _provenance(output)
        check_same_grid(read_volume(output), source)
    except MambaSynthError:
        if sidecar_of(output).exists():  # ours, but damaged or of another source
            return False
        raise
    return (
        made.source_sha256 == sha256_of(source)
        and made.weights_sha256 == package.weights_sha256
        and (made.steps, made.samples) == (settings.steps, settings.samples)
        and (made.seed, made.noise) == (settings.seed, settings.noise)
        and made.slices is None
    )


def _provenance(output: Path) -> Provenance:
    mark = read_marks(output)
    if mark is None or mark.provenance is None:
        raise FileError(f"{output}: was not made by MambaSynth; move it or choose another folder.")
    return mark.provenance
