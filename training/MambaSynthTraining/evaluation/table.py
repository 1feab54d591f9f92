"""The paper's table from scored candidates: Markdown for people, CSV for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.trivial import SHIFTED
from MambaSynthLib.report.evaluation import markdown
from MambaSynthTraining.evaluation.further_table import further_table
from MambaSynthTraining.evaluation.measures import (
    BY_NAME,
    CANVAS,
    MEASURES,
    NOT_COMPUTED,
    PAPER,
    Measure,
)
from MambaSynthTraining.evaluation.papers import Numbers, cell, printed
from MambaSynthTraining.evaluation.results import Result, frame_of
from MambaSynthTraining.evaluation.statistics import NO_TEST, Test, holm, paired_t_test
from MambaSynthTraining.evaluation.writing import p_text, write_csv

SHOWN = (*PAPER, "psnr")  # in the frame of ``frame_of``
FRAMES = {
    CANVAS: "Frame: canvas, the data set's slices of {size} pixels, as the papers score them.",
    "": "Frame: native, the slices of the acquired volumes.",
}
PRINTED = (
    "* paper: what CRAViM's paper prints for this data set and direction (training/recipes/"
    "papers.yaml); - is no row of it, or a number that we do not have."
)


@dataclass(frozen=True)
class Comparison:
    """One row against the main one, by one measure."""

    test: Test
    p_holm: float | None


def main_row(results: Sequence[Result], name: str | None) -> Result:
    """The row that the others are tested against: the named one, or the first.

    Raises RequestError where no row has that name.
    """
    found = next((r for r in results if name is None or r.name == name), None)
    if found is None:
        known = ", ".join(result.name for result in results)
        raise RequestError(f"{name}: is no row of this table; choose one of {known}.")
    return found


def comparisons(results: Sequence[Result], main: Result, measure: str) -> dict[str, Comparison]:
    """Row name -> its test against ``main``; Holm's family is all rows but the shifted targets."""
    rows = [r for r in results if r is not main and not r.name.startswith(SHIFTED)]
    tests = [paired_t_test(main.of_subjects(measure), row.of_subjects(measure)) for row in rows]
    corrected = holm([test.p for test in tests])
    return {
        row.name: Comparison(test, p) for row, test, p in zip(rows, tests, corrected, strict=True)
    }


def to_markdown(results: Sequence[Result], main: Result, remarks: Sequence[str] = ()) -> str:
    """The table, and beneath it everything that a reader needs to judge it, ``remarks`` first."""
    frame = frame_of(results)
    shown = [frame + name for name in SHOWN]
    tested = {name: comparisons(results, main, frame + name) for name in ("ssim", "mse")}
    header = [
        "row",
        *(BY_NAME[name].title for name in shown),
        "p (SSIM)",
        "p (MSE)",
        "parameters",
        "minutes",
    ]
    paper = _printed(results)
    header += [f"paper: {' / '.join(BY_NAME[name].title for name in PAPER)}"] if paper else []
    lines = [header]
    for result in results:
        about = result.record["about"]
        cells = [_cell(result, BY_NAME[name]) for name in shown]
        ps = [_p(result, main, found) for found in tested.values()]
        size = f"{about['parameters']:,}" if "parameters" in about else "-"
        minutes = f"{about['minutes']:.1f}" if "minutes" in about else "-"
        lines.append([result.name, *cells, *ps, size, minutes])
        lines[-1] += [cell(paper.get(result.name), PAPER)] if paper else []
    remarked = [line for remark in remarks for line in (remark, "")]
    notes = remarked + _notes(results, main) + ([PRINTED] if paper else [])
    further = further_table(results)
    return "\n".join([*markdown(lines), "", *notes, "", *further, *([""] if further else [])])


def _printed(results: Sequence[Result]) -> dict[str, Numbers]:
    """Row name -> what the paper prints for it on these data and in this direction."""
    found = {}
    for result in results:
        data, recipe = result.record["data"], result.record["about"].get("recipe", "")
        numbers = printed(recipe, data["name"], " -> ".join(data["contrasts"]))
        if numbers is not None:
            found[result.name] = numbers
    return found


def _cell(result: Result, measure: Measure) -> str:
    """Mean over subjects +- standard deviation over subjects."""
    values = np.array([*result.of_subjects(measure.name).values()]) * measure.scale
    values = values[np.isfinite(values)]
    if not len(values):
        return NOT_COMPUTED
    spread = f" ± {values.std(ddof=1):.{measure.digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{measure.digits}f}{spread}"


def _p(result: Result, main: Result, found: dict[str, Comparison]) -> str:
    if result is main:
        return "main row"
    if result.name not in found:
        return "-"
    comparison = found[result.name]
    if comparison.p_holm is None:
        return comparison.test.reason
    return p_text(comparison.p_holm)


def _notes(results: Sequence[Result], main: Result) -> list[str]:
    data, n = main.record["data"], len(main.subjects)
    frame, counts, seeds = frame_of(results), main.record["slices"], main.record["seeds"]
    slices = counts["canvas" if frame else "scored"] // max(1, len(seeds))
    size = " x ".join(str(n) for n in counts.get("canvas_size", []))
    test = (
        f"p: two-sided paired t-test of each row against {main.name} over the n = {n} subjects, "
        "Holm-corrected over all rows but the shifted targets."
        if n >= 2
        else f"p: {NO_TEST} with n = {n} subject."
    )
    return [
        f"{data['contrasts'][0]} -> {data['contrasts'][1]}, {data['name']}, split {data['split']}: "
        f"n = {n} subjects, {slices} slices. {FRAMES[frame].format(size=size)} "
        "Mean ± standard deviation over subjects, each the "
        f"mean over its slices and over the sampling seeds {_span(seeds)} (methods without noise "
        f"have one){_trainings(results)}.",
        "",
        test,
        "",
        *(f"* {BY_NAME[name].title}: {BY_NAME[name].convention}." for name in SHOWN),
        f"* LPIPS here: {main.record['lpips']}.",
        "* Shifted targets: the acquired target itself, moved; what registration errors of that "
        "size cost a perfect model.",
    ]


def _trainings(results: Sequence[Result]) -> str:
    most = max(result.record.get("trainings", 1) for result in results)
    return f", of {most} trainings of each row with seeds of their own" if most > 1 else ""


def _span(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])


def write_table(
    folder: Path, results: Sequence[Result], main: Result, remarks: Sequence[str] = ()
) -> str:
    """``table.md`` and ``table.csv``; returns the Markdown."""
    from MambaSynthLib.io.atomic import write_whole

    text = to_markdown(results, main, remarks)
    write_whole(folder / "table.md", text.encode("utf-8"))
    columns = ["row", "n_subjects", "n_seeds", "parameters", "minutes"]
    endings = ("", "_std_subjects", "_std_seeds", "_mean_slices", "_p", "_p_holm")
    columns += [f"{measure.name}{ending}" for measure in MEASURES for ending in endings]
    write_csv(folder / "table.csv", columns, _records(results, main))
    return text


def _records(results: Sequence[Result], main: Result) -> list[dict[str, Any]]:
    tested = {m.name: comparisons(results, main, m.name) for m in MEASURES}
    records = []
    for result in results:
        about = result.record["about"]
        row: dict[str, Any] = {
            "row": result.name,
            "n_subjects": len(result.subjects),
            "n_seeds": len(result.record["seeds"]),
            **{key: about[key] for key in ("parameters", "minutes") if key in about},
        }
        for m in MEASURES:
            row |= _columns(result, m.name, tested[m.name].get(result.name))
        records.append(row)
    return records


def _columns(result: Result, name: str, comparison: Comparison | None) -> dict[str, float | None]:
    subjects = [*result.of_subjects(name).values()]
    seeds = [*result.of_seeds(name).values()]
    if not subjects:
        return {}
    return {
        name: float(np.mean(subjects)),
        f"{name}_std_subjects": float(np.std(subjects, ddof=1)) if len(subjects) > 1 else None,
        f"{name}_std_seeds": float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None,
        f"{name}_mean_slices": result.record["mean_over_slices"].get(name),
        f"{name}_p": comparison.test.p if comparison else None,
        f"{name}_p_holm": comparison.p_holm if comparison else None,
    }
