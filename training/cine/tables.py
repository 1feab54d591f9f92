"""Train, score and compare all cine methods: ``make tables-cine``.

    python -m training.cine.tables --out OUT (--stacks scd_lvsegs.npz | --data DATA)
        [--rows ROW ...] [--seeds 5] [--share 1] [--device cuda] [--jobs N] [--small]

Whatever is done already (data in OUT/data, runs in OUT/runs, scores) is not done again, so that
training and scoring may have happened on another machine. ``--small`` is the setting for a CPU:
one training per row of about as many CPU minutes (``training.cine.train``), and the noise of the
test images drawn five times in the place of five trainings. Writes OUT/table.md, table.csv, and
table.png with frames of the first test subject.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from MambaSynthLib.errors import MambaSynthError, RequestError
from MambaSynthLib.io.atomic import commit, staged
from training.cine.comparison import (
    FRAME_COLUMNS,
    SUBJECT_COLUMNS,
    TESTED,
    RowScores,
    p_values,
    row_scores,
)
from training.cine.rows import COMPACT, ROWS, row
from training.cine.score import score_all
from training.cine.table_picture import draw_table_picture
from training.cine.train import train_all, trainable
from training.data.heart_cine import read_split, read_subject

REFERENCE = "mstg+"  # every other row is tested against it
SMALL_ROWS = (*(name for name in ROWS if name != REFERENCE), *COMPACT)
SMALL_DRAWS = 5
DIGITS = {"psnr": 2, "ssim": 4, "nmse": 4, "dice": 3, "folding": 3, "passes": 0, "seconds": 2}
HEADER = (
    "method", "PSNR dB", "SSIM", "NMSE", "PSNR dB, no padding", "SSIM, no padding",
    "NMSE, no padding", "Dice at ES", "folding %", "network passes", "CPU minutes of training",
    "p PSNR", "p SSIM",
)  # fmt: skip


def reference_of(names: Sequence[str]) -> str:
    """The row that the others are tested against."""
    return next((name for name in names if name in COMPACT), REFERENCE)


def markdown(rows: Sequence[RowScores], seeds: int, n_frames: float, draws: int = 1) -> str:
    """The table with its caption. +- is the standard deviation over subjects."""
    reference = reference_of([one.name for one in rows])
    p = {column: p_values(rows, reference, column) for column in TESTED}
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    for one in rows:
        cells = [one.title, *(_cell(one, column) for column in (*FRAME_COLUMNS, "dice", "folding"))]
        cells += [_number(one.mean("passes"), 0), _number(one.cpu_minutes, 1)]
        cells += [_p(p[column].get(one.name)) for column in TESTED]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*_caption(rows, seeds, n_frames, draws), "", *lines, ""])


def _caption(rows: Sequence[RowScores], seeds: int, n_frames: float, draws: int) -> list[str]:
    n, reference = len(rows[0].subjects), reference_of([one.name for one in rows])
    repeats = f"{seeds} training seed(s)"
    if draws > 1:
        repeats += f" and {draws} seeds of the test images' noise (not of the training)"
    return [
        f"Frames strictly between ED and ES, {n_frames:.1f} per subject; mean ± standard deviation "
        f"over n = {n} test subjects, each the mean of {repeats}. "
        "In brackets: the standard deviation of the seeds' means.",
        "",
        f"p: paired t-test over the {n} subjects against {row(reference).title}, two-sided, "
        "adjusted after Holm for the rows of the table. Dice: labels of ED carried to ES. "
        "Network passes: for all frames and ES.",
    ]


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


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def comma_separated(rows: Sequence[RowScores]) -> str:
    """One line per row, seed and subject, every column."""
    columns = (*FRAME_COLUMNS, *SUBJECT_COLUMNS)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["row", "seed", "subject", *columns])
    for one in rows:
        for seed in range(len(one.values[columns[0]])):
            for index, subject in enumerate(one.subjects):
                values = [one.values[column][seed, index] for column in columns]
                shown = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
                writer.writerow([one.name, seed, subject, *shown])
    return text.getvalue()


def write_tables(
    data: Path, runs: Path, out: Path, names: Sequence[str], seeds: int, draws: int = 1
) -> str:
    """table.md, .csv and .png of runs that are scored; returns the markdown."""
    rows = [row_scores(name, runs, seeds, draws) for name in names]
    subjects = [read_subject(data, name) for name in read_split(data, "test")]
    text = markdown(rows, seeds, sum(len(s.between) for s in subjects) / len(subjects), draws)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in (("table.md", text), ("table.csv", comma_separated(rows))):
        with staged(out / name, content.encode()) as temporary:
            commit(temporary, out / name)
    draw_table_picture(subjects[0], runs, names, out / "table.png")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.cine.tables", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stacks", type=Path, help="scd_lvsegs.npz; makes the data in OUT/data")
    parser.add_argument("--data", type=Path, help="a prepared cine data set instead")
    parser.add_argument("--rows", nargs="+", metavar="ROW")
    parser.add_argument("--seeds", type=int, help="trainings per row; default: 5, or 1 if small")
    parser.add_argument("--share", type=float, default=1.0, help="of each row's iterations")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--jobs", type=int, default=1, help="training runs at once")
    parser.add_argument("--small", action="store_true", help="the setting for a CPU")
    options = parser.parse_args(arguments)
    try:
        names = options.rows or list(SMALL_ROWS if options.small else ROWS)
        seeds = options.seeds or (1 if options.small else 5)
        data = options.data or _made_data(options.stacks, options.out / "data", options.jobs)
        draws = _draws(options.stacks, data) if options.small else 1
        runs = options.out / "runs"
        train_all(data, runs, trainable(names), seeds, device=options.device,
                  share=options.share, jobs=options.jobs, small=options.small)  # fmt: skip
        score_all(data, runs, names, seeds, options.device, draws)
        print(write_tables(data, runs, options.out, names, seeds, draws))
    except MambaSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _made_data(stacks: Path | None, folder: Path, jobs: int) -> Path:
    from training.data.beating_heart_set import write_beating_hearts
    from training.data.heart_stacks import read_stacks

    if (folder / "splits.json").exists():
        return folder
    if stacks is None:
        raise RequestError("tables: need --stacks scd_lvsegs.npz or --data FOLDER; give one.")
    write_beating_hearts(read_stacks(stacks), folder, jobs=jobs)
    return folder


def _draws(stacks: Path | None, data: Path) -> int:
    """The test subjects with every draw of noise; of a data set without stacks the one it has."""
    from training.data.beating_heart_set import redraw_noise
    from training.data.heart_stacks import read_stacks

    if stacks is None:
        return 1
    redraw_noise(read_stacks(stacks), data, SMALL_DRAWS)
    return SMALL_DRAWS


if __name__ == "__main__":
    sys.exit(main())
