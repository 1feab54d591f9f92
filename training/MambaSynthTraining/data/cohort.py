"""A whole data set: duplicates, split, all subjects in parallel, and what is said at the end.

Rules for what is wrong. With one subject (a missing contrast, a damaged file, forms of a header
that disagree, a nearly empty image, a copy of another subject): it is skipped and named at the end,
or with ``strict`` the data set is refused. With the whole (no subjects, a person in two splits, a
split that ends up empty): refused; what is prepared by then stays for the next attempt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import FileError, MambaSynthError, RequestError
from MambaSynthLib.io.atomic import telling
from MambaSynthTraining.data.found import Found, Layout
from MambaSynthTraining.data.orientation import oriented
from MambaSynthTraining.data.pixels import pixels_of
from MambaSynthTraining.data.prepared import DATASET, SPLITS, SPLITS_FILE, read_json, write_dataset
from MambaSynthTraining.data.preparing import Outcome, Steps, prepare_subject
from MambaSynthTraining.data.split import at_random, check_disjoint, first_in_order, from_file

OURS = {DATASET, SPLITS_FILE, "subjects", "volumes", "sheets"}
Task = tuple[Found, Mapping[str, str], Steps]


@dataclass(frozen=True)
class Request:
    """What was asked for, besides the layout."""

    name: str
    contrasts: tuple[str, ...]
    steps: Steps
    register: str  # 'all', 'needed', 'evaluation' (validation and test only) or 'none'
    split: str  # 'first40', 'random', one of SPLITS, or the name of a JSON file
    seed: int
    by_site: bool
    limit: int  # how many of the subjects to use; 0 for all
    strict: bool
    options: dict[str, Any]  # for dataset.json


@dataclass(frozen=True)
class Summary:
    """What ``mambasynth prepare`` reports."""

    folder: Path
    splits: dict[str, list[str]]
    outcomes: dict[str, Outcome]
    skipped: list[tuple[str, str]]

    @property
    def slices(self) -> int:
        return sum(self.outcomes[one].slices for ids in self.splits.values() for one in ids)


def prepare_set(
    folder: Path,
    layout: Layout,
    request: Request,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Prepare the subjects of ``layout`` into ``folder``, in ``jobs`` processes.

    Raises
    ------
    RequestError: the whole cannot be prepared as asked for; see the rules above.
    FileError: the folder holds something else, or cannot be written.
    """
    check_folder(folder, request)
    found, skipped = list(layout.subjects), list(layout.skipped)
    _check_names(found)
    hashes = _hashes(found)
    found, copies = _without_copies(found, hashes)
    skipped += copies
    if not found:
        raise RequestError(f"no subject can be used{_listed(skipped)}.")
    split_of = _split(found[: request.limit or None], request)
    request = replace(request, steps=_with_pixels(request, found))
    tasks: list[Task] = [
        (one, hashes[one.id], _steps_for(split_of[one.patient], request))
        for one in found
        if one.patient in split_of
    ]
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, Outcome] = {}
    progress(0, len(tasks))
    for outcome in _run(folder, tasks, jobs):
        outcomes[outcome.subject] = outcome
        progress(len(outcomes), len(tasks))
    skipped += [(o.subject, o.problem) for o in outcomes.values() if o.problem]
    return _finish(folder, request, [task[0] for task in tasks], split_of, outcomes, skipped)


def check_folder(folder: Path, request: Request) -> None:
    """Raises FileError when ``folder`` is no place for the data set."""
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder}: is a file; name another output folder.")
    strangers = {path.name for path in folder.iterdir()} - OURS if folder.exists() else set()
    if strangers:
        raise FileError(
            f"{folder}: holds other things ({', '.join(sorted(strangers)[:3])}); name a new output "
            "folder."
        )
    if (folder / DATASET).exists():
        before = read_json(folder / DATASET)
        changed = [
            key for key, value in request.options.items()
            if before.get("options", {}).get(key) != value
        ]  # fmt: skip
        if changed or before.get("name") != request.name:
            raise FileError(
                f"{folder}: holds a data set prepared with other options "
                f"({', '.join(changed) or 'name'}); name a new output folder."
            )


def _check_names(found: Sequence[Found]) -> None:
    seen = set()
    for one in found:
        if one.id in seen:
            raise RequestError(f"{one.id}: is the name of two subjects; rename one of them.")
        seen.add(one.id)


def _hashes(found: Sequence[Found]) -> dict[str, dict[str, str]]:
    """Subject -> folder/file -> sha256 of its bytes; '' for a file that cannot be read."""
    with ThreadPoolExecutor(4) as pool:
        listed = pool.map(
            lambda one: {f"{p.parent.name}/{p.name}": _sha256(p) for p in one.sources()}, found
        )
        return {one.id: hashes for one, hashes in zip(found, listed, strict=True)}


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""  # reading it will say why


def _without_copies(
    found: Sequence[Found], hashes: Mapping[str, Mapping[str, str]]
) -> tuple[list[Found], list[tuple[str, str]]]:
    """Without subjects one of whose files is, byte for byte, that of another patient.

    Raises RequestError where the layout itself has put the two into different splits.
    """
    owner: dict[str, Found] = {}
    kept, copies = [], []
    for one in found:
        others = [owner[sha] for sha in hashes[one.id].values() if sha in owner]
        other = next((o for o in others if o.patient != one.patient), None)
        if other is None:
            kept.append(one)
            owner |= {sha: one for sha in hashes[one.id].values() if sha}
        elif other.split != one.split:
            raise RequestError(
                f"{one.id} in {one.split} and {other.id} in {other.split} are the same image; a "
                "person may be in one split only, remove the copy."
            )
        else:
            copies.append((one.id, f"is a copy of {other.id}"))
    return kept, copies


def _split(found: Sequence[Found], request: Request) -> dict[str, str]:
    """Patient -> split. Who lacks a contrast can only train."""
    if any(one.split for one in found):
        return {one.patient: one.split or "train" for one in found}
    whole = {one.patient for one in found if set(request.contrasts) <= set(one.contrasts)}
    partial = {one.patient for one in found} - whole
    if request.split in SPLITS:
        split = {request.split: sorted(whole | partial)}
    elif request.split == "first40":
        split = first_in_order(sorted(whole))
    elif request.split == "random":
        sites = {one.patient: one.site for one in found} if request.by_site else None
        split = at_random(sorted(whole), request.seed, sites)
    else:
        patient_of = {key: one.patient for one in found for key in (one.id, one.patient)}
        split = from_file(Path(request.split), patient_of)
        partial = set()
    if request.split in ("first40", "random"):
        split["train"] = [*split["train"], *sorted(partial)]
    check_disjoint(split)
    return {patient: name for name, patients in split.items() for patient in patients}


def _with_pixels(request: Request, found: Sequence[Found]) -> Steps:
    """The steps with the pixel size of whoever lacks the first contrast: that of the first person
    who has it.
    """
    first, steps = request.contrasts[0], replace(request.steps, first=request.contrasts[0])
    if request.register != "evaluation" or all(first in one.contrasts for one in found):
        return steps
    for one in found:
        if first in one.contrasts:
            try:
                volume = one.read(steps.reading)[first]
            except MambaSynthError:
                continue  # preparing the person will say why
            return replace(steps, pixels=pixels_of(oriented(volume, steps.grid.axis_codes)))
    return steps


def _steps_for(split: str, request: Request) -> Steps:
    """Scores need pairs; training under --register evaluation needs one pixel size only, which
    --spacing gives anyway.
    """
    evaluated = split != "train"
    if request.register == "evaluation":
        sized = "none" if request.steps.grid.in_plane_spacing_mm else "pixels"
        return replace(request.steps, register="all" if evaluated else sized, pairs=evaluated)
    return replace(request.steps, pairs=request.steps.pairs or evaluated)


def _run(folder: Path, tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    """The outcomes, in the order in which they are ready."""
    if jobs == 1:
        yield from (prepare_subject(folder, *task) for task in tasks)
        return
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_quiet)
    try:
        futures = [pool.submit(prepare_subject, folder, *task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise RequestError(
            "a process was killed, probably for lack of memory; run the same command with fewer "
            "--jobs, it goes on where it was."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _quiet() -> None:
    """Ctrl-C is answered by the parent, which lets running subjects finish."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _finish(
    folder: Path,
    request: Request,
    found: Sequence[Found],
    split_of: Mapping[str, str],
    outcomes: dict[str, Outcome],
    skipped: list[tuple[str, str]],
) -> Summary:
    """Write the two files that make the folder a data set."""
    if request.strict and skipped:
        raise RequestError(f"not every subject can be used{_listed(skipped)}; see --strict.")
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    for one in found:
        if not outcomes[one.id].problem:
            splits[split_of[one.patient]].append(one.id)
    for name in set(split_of.values()):
        if not splits[name]:
            raise RequestError(f"no subject of the split {name} can be used{_listed(skipped)}.")
    splits = {name: sorted(ids) for name, ids in splits.items()}
    grid, intensity = request.steps.grid, request.steps.intensity
    write_dataset(folder, request.name, request.contrasts, grid, intensity, request.options, splits)
    return Summary(folder, splits, outcomes, sorted(skipped))


def _listed(skipped: Sequence[tuple[str, str]]) -> str:
    """': a (why), b (why) and 3 more', or nothing."""
    if not skipped:
        return ""
    shown = ", ".join(f"{id} ({reason.rstrip('.')})" for id, reason in sorted(skipped)[:3])
    return f": {shown}" + (f" and {len(skipped) - 3} more" if len(skipped) > 3 else "")
