"""One candidate on all subjects of a split with all seeds: every slice's numbers, and examples.

per_slice.csv     subject, seed, slice, then the measures
per_subject.csv   subject, seed, number of slices, then their means over the slices
scores.json       what was scored on what, means, spreads, conventions
examples.npz      a few slices as (source, synthetic, acquired) for the pictures
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.metrics import foreground
from MambaSynthLib.image.preparation import scaling_of
from MambaSynthLib.image.volume import Volume, check_finite, check_same_grid
from MambaSynthLib.report.evaluation import compared_slices
from MambaSynthTraining.data.prepared import PreparedData
from MambaSynthTraining.evaluation.candidates import Candidate, Pair
from MambaSynthTraining.evaluation.lpips import NOT_COMPUTED, find_lpips
from MambaSynthTraining.evaluation.measures import MEASURES, PAPER, Lpips, slice_measures
from MambaSynthTraining.evaluation.writing import write_csv

FORMAT = 1
Progress = Callable[[int, int], None]
Images = NDArray[np.float32]


@dataclass(frozen=True)
class SliceRow:
    """The numbers of one slice, or why there are none."""

    subject: str
    seed: int
    slice: int  # along the data set's slice axis, counted from the patient's feet if axial
    measures: dict[str, float] | None  # None: one of the two slices is constant


@dataclass
class Examples:
    """Slices to look at: the middle one of each subject, and the best and worst by SSIM.

    Each is (3,H,W): source, synthetic, acquired, in the network's range. Only of the first seed.
    """

    images: dict[str, Images] = field(default_factory=dict)
    ssim: dict[str, float] = field(default_factory=dict)

    def offer(self, key: str, ssim: float, better: Callable[[float, float], bool],
              image: Images, label: str) -> None:  # fmt: skip
        """Keep ``image`` as the best or worst if it is."""
        former = next((name for name in self.images if name.startswith(f"{key}:")), None)
        if former is None or better(ssim, self.ssim[former]):
            if former is not None:
                del self.images[former], self.ssim[former]
            self.images[f"{key}:{label}"], self.ssim[f"{key}:{label}"] = image, ssim


def read_pairs(data: PreparedData, split: str) -> Iterator[Pair]:
    """The volumes of a split's subjects, one after another.

    Raises FileError or VolumeError for a subject whose volumes are missing or on two grids.
    """
    source, target = data.contrasts[:2]
    for subject in data.subjects(split):
        pair = Pair(subject.id, subject.volume(source), subject.volume(target))
        check_same_grid(pair.target, pair.source)
        yield pair


def score(
    candidate: Candidate,
    data: PreparedData,
    split: str,
    seeds: Sequence[int],
    progress: Progress = lambda done, total: None,
) -> tuple[list[SliceRow], Examples, str]:
    """Every slice of every subject and seed; examples; and what became of LPIPS.

    A candidate without randomness is scored with the first seed only.

    Raises
    ------
    RequestError: the split is empty, or not one slice of a subject can be scored.
    """
    subjects = data.subjects(split)
    if not subjects:
        raise RequestError(f"{data.name}: its split {split} has no subjects; choose another.")
    lpips, about_lpips = find_lpips()
    used = list(seeds) if candidate.random else list(seeds)[:1]
    rows: list[SliceRow] = []
    examples = Examples()
    progress(0, len(subjects) * len(used))
    for n, pair in enumerate(read_pairs(data, split)):
        for m, seed in enumerate(used):
            synthetic = candidate.synthesize(pair, seed)
            found = _score_volume(synthetic, pair, data, seed, lpips)
            rows += found
            if m == 0:
                _keep_examples(examples, found, synthetic, pair, data)
            progress(n * len(used) + m + 1, len(subjects) * len(used))
        if not any(row.measures for row in rows if row.subject == pair.subject):
            raise RequestError(
                f"{pair.subject}: none of its slices can be scored for {candidate.name}, they are "
                "constant; look at its sheet."
            )
    return rows, examples, about_lpips


def _stack(volume: Volume, array: NDArray[Any], data: PreparedData) -> NDArray[Any]:
    """(N,rows,columns) of an array on the volume's grid, in the data set's view."""
    return Reorientation.between(volume.affine, data.grid.axis_codes).apply(array)


def _score_volume(
    synthetic: Volume, pair: Pair, data: PreparedData, seed: int, lpips: Lpips | None
) -> list[SliceRow]:
    check_finite(synthetic)
    check_same_grid(synthetic, pair.target)
    scaled = scaling_of(pair.target, data.intensity).apply(pair.target.array)
    images, references, masks = (
        _stack(pair.target, array, data)
        for array in (synthetic.array, scaled, foreground(pair.target.array))
    )
    compared = compared_slices(
        np.asarray(images, np.float64), np.asarray(references, np.float64), masks,
        partial(slice_measures, lpips=lpips),
    )  # fmt: skip
    return [SliceRow(pair.subject, seed, n, found) for n, found in compared.items()]


def _keep_examples(
    examples: Examples, rows: list[SliceRow], synthetic: Volume, pair: Pair, data: PreparedData
) -> None:
    source, target = (
        np.clip(scaling_of(v, data.intensity).apply(v.array), -1, 1)
        for v in (pair.source, pair.target)
    )
    stacks = [_stack(pair.target, a, data) for a in (source, synthetic.array, target)]

    def image(n: int) -> Images:
        return np.stack([stack[n] for stack in stacks]).astype(np.float32)

    compared = [(row.measures["ssim"], row.slice) for row in rows if row.measures]
    if not compared:
        return
    middle = rows[len(rows) // 2].slice  # the same for all candidates
    examples.images[f"middle:{pair.subject}, slice {middle}"] = image(middle)
    for key, (ssim, n), better in (
        ("best", max(compared), lambda a, b: a > b),
        ("worst", min(compared), lambda a, b: a < b),
    ):
        examples.offer(key, ssim, better, image(n), f"{pair.subject}, slice {n}, SSIM {ssim:.3f}")


def write_scores(
    folder: Path,
    candidate: Candidate,
    data: PreparedData,
    split: str,
    rows: Sequence[SliceRow],
    examples: Examples,
    about_lpips: str,
    command: str,
) -> dict[str, Any]:
    """The four files; ``scores.json``, which is also returned, comes last and marks them whole."""
    from MambaSynthLib.io.atomic import write_json

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").unlink(missing_ok=True)
    names = [measure.name for measure in MEASURES]
    usable = [row for row in rows if row.measures]
    write_csv(
        folder / "per_slice.csv",
        ["subject", "seed", "slice", *names],
        [{"subject": r.subject, "seed": r.seed, "slice": r.slice, **r.measures}
         for r in usable if r.measures],
    )  # fmt: skip
    per_subject = subject_means(usable)
    write_csv(folder / "per_subject.csv", ["subject", "seed", "n_slices", *names], per_subject)
    np.savez_compressed(folder / "examples.npz", **examples.images)  # type: ignore[arg-type]
    record = {
        "format": FORMAT,
        "name": candidate.name,
        "about": candidate.about,
        "data": {
            "name": data.name,
            "split": split,
            "contrasts": list(data.contrasts[:2]),
            "subjects": scored_subjects(data, split),
        },
        "seeds": sorted({row.seed for row in rows}),
        "slices": {"scored": len(usable), "constant": len(rows) - len(usable)},
        "mean_over_slices": _means([row.measures for row in usable if row.measures], names),
        "mean_over_subjects": _means(per_subject, names),
        "lpips": about_lpips,
        "conventions": {measure.name: measure.convention for measure in MEASURES},
        "command": command,
    }
    write_json(folder / "scores.json", record)
    return record


def scored_subjects(data: PreparedData, split: str) -> list[dict[str, str]]:
    """Whom scores are of, and of which slices."""
    return [{"subject": one.id, "sha256": one.sha256} for one in data.subjects(split)]


def subject_means(rows: Sequence[SliceRow]) -> list[dict[str, Any]]:
    """One dictionary for each subject and seed: means over the slices, and their number."""
    keys = dict.fromkeys((row.subject, row.seed) for row in rows)
    names = [measure.name for measure in MEASURES]
    means = []
    for subject, seed in keys:
        found = [r.measures for r in rows if (r.subject, r.seed) == (subject, seed) and r.measures]
        means.append({"subject": subject, "seed": seed, "n_slices": len(found),
                      **_means(found, names)})  # fmt: skip
    return means


def _means(found: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """Means of the measures that were computed; PSNR of equal slices is infinite and left out."""
    means = {}
    for name in names:
        values = np.array([one[name] for one in found if name in one], dtype=float)
        values = values[np.isfinite(values)]
        if len(values):
            means[name] = float(values.mean())
    return means


def summary(record: dict[str, Any]) -> str:
    """One line for people."""
    means = record["mean_over_subjects"]
    parts = []
    for measure in MEASURES:
        if measure.name in (*PAPER, "psnr"):
            value, digits = means.get(measure.name), measure.digits
            text = NOT_COMPUTED if value is None else f"{value * measure.scale:.{digits}f}"
            parts.append(f"{measure.title} {text}")
    slices = record["slices"]["scored"] // max(1, len(record["seeds"]))
    return f"{record['name']}: {', '.join(parts)} ({slices} slices)"
