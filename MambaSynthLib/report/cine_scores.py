"""The referee's scores of cines as tables, a CSV with every frame, and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from MambaSynthLib.cine.verdict import FrameRow, Verdict, mean_over
from MambaSynthLib.errors import FileError
from MambaSynthLib.io.atomic import Outputs, write_json, write_whole
from MambaSynthLib.report.evaluation import markdown, number

CSV, JSON = "scores.csv", "scores.json"
COLUMNS = {  # of a verdict -> heading, digits
    "psnr": ("PSNR dB", 2),
    "ssim": ("SSIM", 4),
    "region_psnr": ("moving PSNR", 2),
    "region_ssim": ("moving SSIM", 4),
    "best_psnr": ("best PSNR", 2),
    "best_region_psnr": ("best moving PSNR", 2),
    "best_region_ssim": ("best moving SSIM", 4),
    "left": ("left", 3),
    "folding_percent": ("folding %", 3),
    "volume_error_percent": ("volume error %", 1),
}


SIDE_BY_SIDE = (
    "psnr", "ssim", "region_psnr", "region_ssim", "left", "folding_percent",
)  # fmt: skip


def tables(verdicts: Sequence[Verdict]) -> list[str]:
    """The lines of a table for each cine; of several, of their means and of all in one."""
    lines = [line for verdict in verdicts for line in (*table(verdict), "")]
    for keep in dict.fromkeys(verdict.keep for verdict in verdicts):
        alike = [verdict for verdict in verdicts if verdict.keep == keep]
        if len(alike) > 1:
            lines += [*mean_table(alike), ""]
    return lines + (side_by_side(verdicts) if len(verdicts) > 1 else [])


def table(verdict: Verdict) -> list[str]:
    """The lines of one cine's table."""
    hidden = len({row.frame for row in verdict.frames})
    given = ", ".join(map(str, verdict.given))
    lines = [f"{verdict.cine}: {_kept(verdict)} given (frames {given}), {hidden} left out; the "
             f"moving region is {verdict.region_percent:.1f} % of the voxels; noise alone leaves "
             f"{verdict.noise_db:.1f} dB.", ""]  # fmt: skip
    return lines + markdown(_rows([verdict]))


def mean_table(verdicts: Sequence[Verdict]) -> list[str]:
    """The means over cines, each counting once."""
    kept = _kept(verdicts[0])
    return [f"Mean of {len(verdicts)} cines, {kept} given:", "", *markdown(_rows(verdicts))]


def side_by_side(verdicts: Sequence[Verdict]) -> list[str]:
    """One table of all methods, cines and what is kept, with the noise of each cine."""
    header = ["cine", "given", "noise dB", "method", *(COLUMNS[c][0] for c in SIDE_BY_SIDE)]
    body = [
        [_stem(verdict.cine), _kept(verdict), f"{verdict.noise_db:.1f}", method,
         *(number(verdict.mean(method, c), COLUMNS[c][1]) for c in SIDE_BY_SIDE)]
        for verdict in verdicts
        for method in verdict.methods
    ]  # fmt: skip
    return ["All side by side:", "", *markdown([header, *body])]


def _kept(verdict: Verdict) -> str:
    return "ED and ES" if verdict.keep == "ed-es" else verdict.keep


def _stem(name: str) -> str:
    return name.partition(".")[0]


def _rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    methods = verdicts[0].methods
    values = {column: [mean_over(verdicts, m, column) for m in methods] for column in COLUMNS}
    shown = {column: found for column, found in values.items() if not all(map(math.isnan, found))}
    header = ["method", *(COLUMNS[column][0] for column in shown)]
    body = [
        [method, *(number(found[n], COLUMNS[column][1]) for column, found in shown.items())]
        for n, method in enumerate(methods)
    ]
    return [header, *body]


def check_scores_folder(folder: Path, overwrite: bool) -> None:
    """Raises FileError, before anything is computed, where scores could not be written."""
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder}: is no folder; name another one for the scores.")
    taken = [name for name in (CSV, JSON) if (folder / name).exists()]
    if taken and not overwrite:
        raise FileError(
            f"{folder / taken[0]}: exists already; choose another folder or add --overwrite."
        )


def write_scores(folder: Path, verdicts: Sequence[Verdict], into: Outputs) -> list[Path]:
    """Write scores.csv (every frame of every method) and scores.json. Raises FileError."""
    text = io.StringIO()
    names = [field.name for field in fields(FrameRow)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cine", "keep", *names])
    for verdict in verdicts:
        for row in verdict.frames:
            writer.writerow([verdict.cine, verdict.keep, *(getattr(row, n) for n in names)])
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CSV, text.getvalue().encode("utf-8"), into=into)
    write_json(folder / JSON, {"cines": [verdict.to_dict() for verdict in verdicts]}, into=into)
    return [folder / CSV, folder / JSON]
