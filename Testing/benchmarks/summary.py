"""The speed tables of the README, from the CSV files that one ``make bench`` left.

    python -m Testing.benchmarks.summary out/bench [--readme README.md]

Prints them, and with ``--readme`` puts them between its marks ``<!-- bench -->``.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from MambaSynthLib.errors import FileError
from MambaSynthTraining.evaluation.marked_text import put_between_marks

MARK = "bench"  # in a README, <!-- bench --> and <!-- /bench -->
RATIOS = ("times F1", "times plain", "times ours")
TABLES: dict[str, Sequence[str]] = {  # title of a report -> its columns that are shown
    "network ngf 64 256x256 threads 1": (*RATIOS, "peak MB", "max error"),
    "network ngf 64 256x256 threads 2": (*RATIOS, "peak MB", "max error"),
    "scan CRAViM threads 1": ("times ours", "peak MB", "relative error"),
    "scan CRAViM threads 2": ("times ours", "peak MB", "relative error"),
    "scan long threads 1": ("times ours", "peak MB", "relative error"),
    "scan long threads 2": ("times ours", "peak MB", "relative error"),
    "volume ngf 16 steps 1 threads 1": ("s", "ms per slice", "less source and result"),
    "volume ngf 16 steps 1 threads 2": ("s", "ms per slice", "less source and result"),
    "volume ngf 16 steps 1 threads 1 by pixels": ("s", "ms per slice", "less source and result"),
    "training ngf 8 batch 1 64x64 cpu": ("times ResNet", "times fp32", "peak MB"),
    "cine threads 1": ("frames", "field computations", "s", "peak MB", "folding %"),
    "steps demo head": ("time", "SSIM", "PSNR", "NMI"),
    "int8": ("time", "largest difference", "SSIM lost", "kept"),
    "startup": ("s", "fastest s"),
}


def machine() -> str:
    """The kind of machine, without its name."""
    threads = os.cpu_count() or 1
    capability = torch.backends.cpu.get_cpu_capability()
    torch_version = torch.__version__.partition("+")[0]
    kind = f"{platform.system()}, {platform.machine()}, {capability}, {threads} cores"
    return f"{kind}, PyTorch {torch_version}"


def summary(folder: Path) -> str:
    """Every table of ``folder`` as Markdown. Raises FileError when one is missing."""
    parts = [f"Measured on: {machine()}. Ratios carry over to other machines, times do not."]
    for title, columns in TABLES.items():
        path = folder / f"{title.replace(' ', '_')}.csv"
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            raise FileError(
                f"{path}: cannot be read ({error.strerror}); measure it by make bench."
            ) from error
        parts.append(markdown(rows, columns, title))
    return "\n\n".join(parts)


def markdown(rows: Sequence[dict[str, str]], columns: Sequence[str], title: str) -> str:
    """The first column and ``columns`` of ``rows``, headed by ``title``."""
    names = [next(iter(rows[0])), *columns]
    lines = [f"| {' | '.join([f'`{title}`', *columns])} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(shown(row[name]) for name in names)} |" for row in rows]
    return "\n".join(lines)


def shown(cell: str) -> str:
    """A number with three digits, anything else as it is."""
    try:
        value = float(cell)
    except ValueError:
        return cell or "-"
    if cell.lstrip("-").isdigit() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if "e" in cell or len(cell) > 7 else cell


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readme", type=Path)
    options = parser.parse_args()
    try:
        text = summary(options.folder)
        print(text)
        if options.readme:
            put_between_marks(options.readme, MARK, text)
    except FileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
