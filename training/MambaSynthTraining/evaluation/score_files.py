"""The files of one scored candidate.

per_slice.csv     subject, seed, slice, then the measures in the native frame (frame.py)
per_canvas.csv    the same on the canvas
per_subject.csv   subject, seed, number of slices, then the means of both over the slices
per_tissue.csv    subject, seed, tissue, mean error; see ``tissues.py``
scores.json       what was scored on what, means, spreads, conventions
examples.npz      a few slices as (source, synthetic, acquired) for the pictures
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.io.atomic import write_json
from MambaSynthTraining.data.prepared import PreparedData
from MambaSynthTraining.evaluation.candidates import Candidate
from MambaSynthTraining.evaluation.distribution import distances
from MambaSynthTraining.evaluation.measures import CANVAS, MEASURES, NOT_COMPUTED, PAPER
from MambaSynthTraining.evaluation.scoring import Scored, SliceRow
from MambaSynthTraining.evaluation.tissues import tissue_means
from MambaSynthTraining.evaluation.writing import write_csv

DOWNSTREAM = "downstream.csv"  # written after these by ``downstream.py``
FORMAT = 1


def write_scores(
    folder: Path,
    candidate: Candidate,
    data: PreparedData,
    split: str,
    scored: Scored,
    command: str,
) -> dict[str, Any]:
    """The four files; ``scores.json``, which is also returned, comes last and marks them whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in ("scores.json", DOWNSTREAM):
        (folder / earlier).unlink(missing_ok=True)
    names = [measure.name for measure in MEASURES]
    usable = [row for row in scored.rows if row.measures]
    on_canvas = [row for row in scored.canvas if row.measures]
    for file, rows in (("per_slice.csv", usable), ("per_canvas.csv", on_canvas)):
        own = [name for name in names if name.startswith(CANVAS) == (rows is on_canvas)]
        written = [{"subject": r.subject, "seed": r.seed, "slice": r.slice, **r.measures}
                   for r in rows if r.measures]  # fmt: skip
        write_csv(folder / file, ["subject", "seed", "slice", *own], written)
    per_subject = subject_means(usable, on_canvas)
    write_csv(folder / "per_subject.csv", ["subject", "seed", "n_slices", *names], per_subject)
    write_csv(folder / "per_tissue.csv", ["subject", "seed", "tissue", "error"], _by_tissue(scored))
    np.savez_compressed(folder / "examples.npz", **scored.examples.images)  # type: ignore[arg-type]
    record = {
        "format": FORMAT,
        "name": candidate.name,
        "about": candidate.about,
        "random": candidate.random,  # else one seed tells all
        "data": {
            "name": data.name,
            "split": split,
            "contrasts": list(data.contrasts[:2]),
            "subjects": scored_subjects(data, split),
        },
        "seeds": sorted({row.seed for row in rows}),
        "slices": {
            "scored": len(usable),
            "constant": len(scored.rows) - len(usable),
            "canvas": len(on_canvas),
            "canvas_size": list(data.grid.size),
        },
        "mean_over_slices": _means(
            [row.measures for row in (*usable, *on_canvas) if row.measures], names
        ),
        "mean_over_subjects": _means(per_subject, names),
        "distribution": [
            {"seed": seed, **distances(seen)} for seed, seen in sorted(scored.features.items())
        ],
        "tissues": tissue_means(scored.tissues),
        "lpips": scored.lpips,
        "conventions": {measure.name: measure.convention for measure in MEASURES},
        "command": command,
    }
    write_json(folder / "scores.json", record)
    return record


def _by_tissue(scored: Scored) -> list[dict[str, Any]]:
    return [
        {"subject": row.subject, "seed": row.seed, "tissue": name, "error": error}
        for row in scored.tissues
        for name, error in row.errors.items()
    ]


def scored_subjects(data: PreparedData, split: str) -> list[dict[str, str]]:
    """Whom scores are of, and of which slices."""
    return [{"subject": one.id, "sha256": one.sha256} for one in data.subjects(split)]


def subject_means(
    rows: Sequence[SliceRow], canvas: Sequence[SliceRow] = ()
) -> list[dict[str, Any]]:
    """One dictionary for each subject and seed: means over the slices, and the number of those in
    the native frame.
    """
    keys = dict.fromkeys((row.subject, row.seed) for row in rows)
    names = [measure.name for measure in MEASURES]
    means = []
    for subject, seed in keys:
        own = [r for r in (*rows, *canvas) if (r.subject, r.seed) == (subject, seed)]
        found = [r.measures for r in own if r.measures]
        count = sum(not any(name.startswith(CANVAS) for name in one) for one in found)
        means.append({"subject": subject, "seed": seed, "n_slices": count,
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
