"""Which files of a folder are sources, and what their synthetic volumes are called.

IN/sub-01/anat/sub-01_T1w.nii.gz -> OUT/sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from MambaSynthLib import __version__
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.io.atomic import write_json
from MambaSynthLib.io.formats import suffix_of
from MambaSynthLib.io.payload import shown

DESCRIPTION = "desc-synthetic"
NOT_SEARCHED = "derivatives"  # of BIDS trees: images that were computed, not acquired


@dataclass(frozen=True)
class Task:
    """One file to synthesize from, and where the result goes."""

    source: Path
    output: Path


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
    RequestError: two files would have the same output, the pattern is none, or ``out`` is
        ``folder`` or holds it.
    """
    if not folder.is_dir():
        raise FileError(f"{shown(folder)}: is no folder; name the folder that holds the "
                        "volumes, and a pattern inside it by --glob.")  # fmt: skip
    if folder.resolve().is_relative_to(out.resolve()):
        what = "is" if folder.resolve() == out.resolve() else "holds"
        raise RequestError(
            f"{out}: {what} the input folder, whose files would then count as results; choose "
            f"another output folder, for example {folder / NOT_SEARCHED / 'mambasynth'}."
        )
    pattern = pattern or f"**/*_{contrasts[0]}.*"
    try:
        found = sorted(path for path in folder.glob(pattern) if _is_source(path, folder, out))
    except (ValueError, NotImplementedError) as error:  # empty or absolute
        raise RequestError(
            f"{pattern!r}: is no pattern inside {shown(folder)} ({error}); correct it."
        ) from error
    if not found:
        raise FileError(
            f"{shown(folder)}: holds no volume that matches {pattern}; give --glob PATTERN."
        )
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
        suffix_of(path) != ""
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


def describe_results(folder: Path) -> None:
    """Make the folder and its ``dataset_description.json``, which BIDS asks of derivatives.

    One that is there stays. Raises FileError where the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{shown(folder)}: cannot be made ({error.strerror}); choose another output folder."
        ) from error
    path = folder / "dataset_description.json"
    if not path.exists():
        record = {
            "Name": "Synthetic MR images, not for diagnosis",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "MambaSynth", "Version": __version__}],
        }
        write_json(path, record)
