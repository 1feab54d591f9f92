"""The speed tables, from the CSV files that benchmarks left, and three lines of them for people.

    python -m Testing.benchmarks.summary out/bench [--readme Testing/benchmarks/README.md]
    python -m Testing.benchmarks.summary --headline [--readme README.md]

The first prints the table of each CSV file in the folder and, with ``--readme``, puts it into the
block of the command that measured it; tables of other runs stay as they are. The second reads the
tables of ``Testing/benchmarks/README.md`` and says what a user wants to know.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from MambaSynthLib.errors import FileError
from MambaSynthTraining.evaluation.marked_text import blocks_of, check_block, put_into_block

TABLES_README = Path(__file__).with_name("README.md")
HEADLINE = "python -m Testing.benchmarks.summary --headline"
SCAN, NETWORK, VOLUME, HEAD, CINE = (
    "scan CRAViM",
    "network ngf 64 256x256",
    "volume ngf 16 steps 1",
    "volume cravim-head-t1w-t2w steps 1",
    "cine",
)
HEAD_SIZE = "150 x 192 x 160"  # a head of 1 mm


@dataclass(frozen=True)
class Table:
    """What a report is called, what measures it, and which of its columns are shown."""

    title: str
    command: str
    columns: Sequence[str]


THREADS = (1, 2)
NETWORK_COLUMNS = ("times F1", "times plain", "times ours", "peak MB", "max error")
SCAN_COLUMNS = ("times ours", "peak MB", "relative error")
VOLUME_COLUMNS = ("s", "ms per slice", "less source and result")
TABLES = (
    *(Table(f"{NETWORK} threads {n}", f"network --rounds 9 --others --compile --threads {n}",
            NETWORK_COLUMNS) for n in THREADS),
    *(Table(f"{SCAN} threads {n}", f"scan --threads {n}", SCAN_COLUMNS) for n in THREADS),
    *(Table(f"scan long threads {n}", f"scan --threads {n}", SCAN_COLUMNS) for n in THREADS),
    *(Table(f"{VOLUME} threads {n}", f"volume --threads {n}", VOLUME_COLUMNS) for n in THREADS),
    *(Table(f"{HEAD} threads {n} all planes", f"volume --model cravim-head-t1w-t2w --slices 150 "
            f"--pixels 192x160 --threads {n} --planes all", VOLUME_COLUMNS) for n in THREADS),
    Table(f"{HEAD} threads 2", "volume --model cravim-head-t1w-t2w --slices 150 "
          "--pixels 192x160 --threads 2", VOLUME_COLUMNS),
    Table(f"{VOLUME} threads 1 by pixels", "volume --slices 10 --pixels 128 256 512",
          VOLUME_COLUMNS),
    Table("training ngf 8 batch 1 64x64 cpu", "training",
          ("times ResNet", "times fp32", "peak MB")),
    Table(f"{CINE} threads 1", "cine",
          ("frames", "steps", "network %", "refinement %", "frames %", "s", "peak MB",
           "folding %")),
    Table("steps demo head", "steps", ("time", "SSIM", "PSNR", "NMI", "slices")),
    Table("int8", "int8", ("time", "largest difference", "SSIM lost", "kept")),
    Table("startup", "startup", ("s", "fastest s")),
    Table("crowd", "crowd", ("alone s", "beside s", "times alone")),
)  # fmt: skip


def source_of(table: Table) -> str:
    """What the block of a table is called: two tables of one command stay apart."""
    return f"python -m Testing.benchmarks.{table.command} (table '{table.title}')"


def machine() -> str:
    """The kind of machine, without its name."""
    threads = os.cpu_count() or 1
    capability = torch.backends.cpu.get_cpu_capability()
    torch_version = torch.__version__.partition("+")[0]
    kind = f"{platform.system()}, {platform.machine()}, {capability}, {threads} cores"
    return f"{kind}, PyTorch {torch_version}"


def measured(folder: Path) -> dict[Table, str]:
    """The tables whose CSV files are in ``folder``, as Markdown with the kind of machine.

    Raises FileError when there is none.
    """
    found = {}
    for table in TABLES:
        path = folder / f"{table.title.replace(' ', '_')}.csv"
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                text = markdown([*csv.DictReader(file)], table.columns, table.title)
            found[table] = f"Measured on: {machine()}.\n\n{text}"
    if not found:
        raise FileError(f"{folder}: holds no table of a benchmark; measure them by make bench.")
    return found


def markdown(rows: Sequence[dict[str, str]], columns: Sequence[str], title: str) -> str:
    """The first column and ``columns`` of ``rows``, headed by ``title``."""
    names = [next(iter(rows[0])), *columns]
    lines = [f"| {' | '.join([f'`{title}`', *columns])} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(cell_of(row[name]) for name in names)} |" for row in rows]
    return "\n".join(lines)


def cell_of(cell: str) -> str:
    """A number with three digits, anything else as it is."""
    try:
        value = float(cell)
    except ValueError:
        return cell or "-"
    if cell.lstrip("-").isdigit() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if "e" in cell or len(cell) > 7 else cell


def headline(readme: Path = TABLES_README) -> str:
    """What a slice and a head take and how much faster the network is, from the tables."""
    cells = _cells(readme)
    alone_s, both_s = (cells[f"{HEAD} threads {n} all planes", HEAD_SIZE, "s"] for n in THREADS)
    plain = cells[f"{NETWORK} threads 1", "plain", "times ours"]
    textbook = cells[f"{SCAN} threads 1", "textbook", "times ours"]
    mambapy = cells[f"{SCAN} threads 1", "mambapy", "times ours"]
    unet = cells[
        f"{NETWORK} threads 1", "U-Net of the size of NCSN++ (MONAI), 34.4 M", "times ours"
    ]
    axial_s = cells[f"{HEAD} threads 2", HEAD_SIZE, "s"]
    memory = cells[f"{HEAD} threads 2 all planes", HEAD_SIZE, "less source and result"]
    cine_s, frames = (
        cells[f"{CINE} threads 1", "128 x 128 x 32", name] for name in ("s", "frames")
    )
    return "\n".join(
        [
            f"* a head of {HEAD_SIZE} voxels in {float(alone_s):.0f} s on one CPU core, in "
            f"{float(both_s):.0f} s on two, with {float(memory):.0f} MB of memory beside source "
            f"and result; in axial slices alone in {float(axial_s):.0f} s on two; "
            f"{frames} frames of a 128 x 128 x 32 heart in {float(cine_s):.1f} s on "
            "one;",
            f"* at the paper's size the network is {plain} times faster than the same layers in "
            f"plain PyTorch, and {unet} times faster than a U-Net of SynDiff's size;",
            f"* its scan is {textbook} times faster than the textbook form and {mambapy} times "
            "faster than mambapy's.",
        ]
    )


def _cells(readme: Path) -> dict[tuple[str, str, str], str]:
    """(title, row, column) -> cell, of every table in the blocks of ``readme``."""
    cells = {}
    for block in blocks_of(readme.read_text(encoding="utf-8"), readme.name):
        lines = [line.strip("| ").split(" | ") for line in block.text.splitlines() if "|" in line]
        for row in lines[2:]:
            for name, cell in zip(lines[0][1:], row[1:], strict=True):
                cells[lines[0][0].strip("`"), row[0], name] = cell
    return cells


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("out/bench"))
    parser.add_argument("--headline", action="store_true")
    parser.add_argument("--readme", type=Path)
    options = parser.parse_args()
    try:
        if options.headline:
            found = {HEADLINE: headline()}
        else:
            found = {source_of(table): text for table, text in measured(options.folder).items()}
        print("\n\n".join(found.values()))
        if options.readme:
            for source in found:
                check_block(options.readme, source)
            for source, text in found.items():
                put_into_block(options.readme, source, text)
    except FileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
