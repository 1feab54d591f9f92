"""A whole data set: duplicates, split, all subjects in parallel, and what is said at the end.

Rules for what is wrong. With one subject (a missing contrast, a damaged file, forms of a header
that disagree, a nearly empty image, a copy of another subject): it is skipped and named at the end,
or with ``strict`` the data set is refused. With the whole (no subjects, a person in two splits, a
split that ends up empty): refused; what is prepared by then stays for the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from MambaSynthLib.errors import FileError, MambaSynthError, RequestError
from MambaSynthLib.io.atomic import telling
from MambaSynthTraining.data.dataset_files import DATASET, SPLITS, SPLITS_FILE, read_json
from MambaSynthTraining.data.found import Found, Layout
from MambaSynthTraining.data.orientation import orient
from MambaSynthTraining.data.people import check_names, hash_sources, leave_copies_out, split_people
from MambaSynthTraining.data.pixels import pixels_of
from MambaSynthTraining.data.prepared_writing import write_dataset
from MambaSynthTraining.data.set_options import SetOptions
from MambaSynthTraining.data.subject_making import Outcome, Steps, make_subject

OURS = {DATASET, SPLITS_FILE, "subjects", "volumes", "sheets"}
Task = tuple[Found, Mapping[str, str], Steps]


@dataclass(frozen=True)
class Summary:
    """What ``mambasynth dataset`` reports."""

    folder: Path
    splits: dict[str, list[str]]
    outcomes: dict[str, Outcome]
    skipped: list[tuple[str, str]]

    @property
    def slices(self) -> int:
        return sum(self.outcomes[one].slices for ids in self.splits.values() for one in ids)


def make_set(
    folder: Path,
    layout: Layout,
    request: SetOptions,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Make the subjects of ``layout`` into ``folder``, in ``jobs`` processes.

    Raises
    ------
    RequestError: the whole cannot be made as asked for; see the rules above.
    FileError: the folder holds something else, or cannot be written.
    """
    check_folder(folder, request)
    found, skipped = list(layout.subjects), list(layout.skipped)
    check_names(found)
    hashes = hash_sources(found)
    found, copies = leave_copies_out(found, hashes)
    skipped += copies
    if not found:
        raise RequestError(f"no subject can be used{_listed(skipped)}.")
    split_of = split_people(found, request)
    request = replace(request, steps=_size_pixels(request, found))
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
    prepared = Layout([task[0] for task in tasks], skipped, layout.groups)
    try:
        return _finish(folder, request, prepared, split_of, outcomes)
    except RequestError:
        with suppress(OSError):  # what was made is kept, an empty folder is not
            folder.rmdir()
        raise


def check_folder(folder: Path, request: SetOptions) -> None:
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
                f"{folder}: holds a data set made with other options "
                f"({', '.join(changed) or 'name'}); name a new output folder."
            )


def _size_pixels(request: SetOptions, found: Sequence[Found]) -> Steps:
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
                continue  # making the person will say why
            return replace(steps, pixels=pixels_of(orient(volume, steps.grid.axis_codes)))
    return steps


def _steps_for(split: str, request: SetOptions) -> Steps:
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
        yield from (make_subject(folder, *task) for task in tasks)
        return
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_quiet)
    try:
        futures = [pool.submit(make_subject, folder, *task) for task in tasks]
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
    request: SetOptions,
    layout: Layout,
    split_of: Mapping[str, str],
    outcomes: dict[str, Outcome],
) -> Summary:
    """Write the two files that make the folder a data set."""
    skipped = layout.skipped
    if request.strict and skipped:
        raise RequestError(f"not every subject can be used{_listed(skipped)}; see --strict.")
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    for one in layout.subjects:
        if not outcomes[one.id].problem:
            splits[split_of[one.patient]].append(one.id)
    for name in set(split_of.values()):
        if not splits[name]:
            raise RequestError(f"no subject of the split {name} can be used{_listed(skipped)}.")
    splits = {name: sorted(ids) for name, ids in splits.items()}
    grid, intensity = request.steps.grid, request.steps.intensity
    write_dataset(
        folder, request.name, request.contrasts, grid, intensity, request.options, splits,
        layout.groups, request.shares,
    )  # fmt: skip
    return Summary(folder, splits, outcomes, sorted(skipped))


def _listed(skipped: Sequence[tuple[str, str]]) -> str:
    """': a (why), b (why) and 3 more', or nothing."""
    if not skipped:
        return ""
    shown = ", ".join(f"{id} ({reason.rstrip('.')})" for id, reason in sorted(skipped)[:3])
    return f": {shown}" + (f" and {len(skipped) - 3} more" if len(skipped) > 3 else "")
