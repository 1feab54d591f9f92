"""The table of cine methods as Markdown, as CSV, and as an entry of a model card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from MambaSynthLib.report.evaluation import markdown, number
from MambaSynthTraining.evaluation.cine.comparison import (
    FRAME_COLUMNS,
    SUBJECT_COLUMNS,
    TESTED,
    RowScores,
    p_values,
)
from MambaSynthTraining.evaluation.papers import cell, printed
from MambaSynthTraining.evaluation.writing import p_text

PRINTED = ("nmse", "psnr", "ssim")  # the columns of MSTG's Table 1
DIRECTION = "ED -> ES"
DIGITS = {"psnr": 2, "ssim": 4, "nmse": 4, "dice": 3, "folding": 3, "passes": 0, "seconds": 2}
HEADER = (
    "method", "PSNR dB", "SSIM", "NMSE", "PSNR dB, no padding", "SSIM, no padding",
    "NMSE, no padding", "Dice at ES", "folding %", "network passes", "CPU minutes of training",
    "p PSNR", "p SSIM",
)  # fmt: skip
ON_CARD = {
    **{column: column for column in FRAME_COLUMNS if column != "nmse_unpadded"},
    "dice": "dice",
    "folding": "folding_percent",
}


def to_markdown(rows: Sequence[RowScores], seeds: int, n_frames: float, data: str = "") -> str:
    """The table with its caption. +- is the standard deviation over subjects.

    What the paper prints stands beside it where ``data``, the name of the data set, is its own.
    """
    p = {column: p_values(rows, rows[-1].name, column) for column in TESTED}
    paper = {one.name: printed(one.name, data, DIRECTION) for one in rows}
    shown = any(paper.values())
    lines = [[*HEADER, *(["paper: NMSE / PSNR dB / SSIM"] if shown else [])]]
    for one in rows:
        cells = [one.title, *(_cell(one, column) for column in (*FRAME_COLUMNS, "dice", "folding"))]
        cells += [number(one.mean("passes"), 0), number(one.cpu_minutes, 1)]
        cells += [p_text(p[c][one.name]) if one.name in p[c] else "-" for c in TESTED]
        cells += [cell(paper[one.name], PRINTED)] if shown else []
        lines.append(cells)
    return "\n".join([*_caption(rows, seeds, n_frames), "", *markdown(lines), ""])


def _caption(rows: Sequence[RowScores], seeds: int, n_frames: float) -> list[str]:
    n = len(rows[0].subjects)
    return [
        f"Frames strictly between ED and ES, {n_frames:.1f} per subject; mean ± standard deviation "
        f"over n = {n} test subjects, each the mean of {_trainings(seeds)}. In brackets: the "
        "standard deviation of the trainings' means.",
        "",
        f"p: paired t-test over the {n} subjects against {rows[-1].title}, two-sided, adjusted "
        "after Holm for the rows of the table. Dice: labels of ED carried to ES. Network passes: "
        "for all frames and ES. CPU minutes: of one training.",
    ]


def _trainings(seeds: int) -> str:
    return f"{seeds} trainings with different seeds" if seeds > 1 else "one training"


def _cell(one: RowScores, column: str) -> str:
    digits = DIGITS[column.removesuffix("_unpadded")]
    if math.isnan(one.mean(column)):
        return "-"
    cell = f"{one.mean(column):.{digits}f}"
    if not math.isnan(one.over_subjects(column)):
        cell += f" ± {one.over_subjects(column):.{digits}f}"
    if not math.isnan(one.over_seeds(column)):
        cell += f" ({one.over_seeds(column):.{digits}f})"
    return cell


def csv_rows(rows: Sequence[RowScores]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns, and a line for each row, seed and subject."""
    columns = (*FRAME_COLUMNS, *SUBJECT_COLUMNS)
    lines = [
        {"row": one.name, "seed": seed, "subject": subject}
        | {column: float(one.values[column][seed, index]) for column in columns}
        for one in rows
        for seed in range(len(one.values[columns[0]]))
        for index, subject in enumerate(one.subjects)
    ]
    return ["row", "seed", "subject", *columns], lines


def card_entry(rows: Sequence[RowScores], seeds: int) -> dict[str, Any]:
    """What a model card's ``scores`` lists: means over the test subjects and the trainings."""
    p = {column: p_values(rows, rows[-1].name, column) for column in TESTED}
    return {
        "data": f"{len(rows[0].subjects)} held-out subjects, frames strictly between ED and ES, "
        f"mean of {_trainings(seeds)}; p: paired t-test over the subjects against "
        f"{rows[-1].title}, after Holm",
        "command": "make tables-cine",
        "rows": [_card_row(one, p) for one in rows],
    }


def _card_row(one: RowScores, p: dict[str, dict[str, float]]) -> dict[str, Any]:
    numbers = {
        name: round(one.mean(column), DIGITS[column.removesuffix("_unpadded")])
        for column, name in ON_CARD.items()
    }
    for column in TESTED:
        numbers[f"p_{column}"] = float(f"{p[column].get(one.name, math.nan):.2g}")
    return {"name": one.title} | {k: v for k, v in numbers.items() if not math.isnan(v)}
