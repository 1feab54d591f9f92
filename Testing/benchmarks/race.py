"""Interleaved timing, and what every benchmark leaves: a printed table, a CSV file and a plot.

Absolute times hold for one machine in one hour. Ratios hold longer, so contestants take turns and
each is compared by the median of its rounds. With one thread the time is that of the process on
the processor, which neighbors on a shared machine disturb least.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

Row = Mapping[str, object]


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    return parser


def race(
    contestants: Mapping[str, Callable[[], object]], rounds: int, threads: int, device: str = "cpu"
) -> dict[str, float]:
    """Name -> median seconds of ``rounds`` turns, after one turn that does not count."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 and device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            wait_for(device)
            start = clock()
            run()
            wait_for(device)
            if turn:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def wait_for(device: str) -> None:
    """Until a GPU has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def peak_memory(run: Callable[[], object]) -> float | None:
    """MB that the process grows by during ``run``; None where Linux is not there to tell."""
    try:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free goes back to the system
        Path("/proc/self/clear_refs").write_text("5")  # the peak up to now is forgotten
    except (OSError, AttributeError):
        return None
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith(field)).split()[1]) / 1024


def report(title: str, rows: Sequence[Row], out: Path, bars: str) -> None:
    """Print ``rows``, write them to ``out``/<title>.csv and plot the column ``bars``."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="right" if name in list(rows[0])[1:] else "left")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    Console(width=120).print(table)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{title.replace(' ', '_')}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    if find_spec("matplotlib") is None:
        print("matplotlib is not installed: no plot")
    else:
        _plot(title, rows, bars, path.with_suffix(".png"))


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _plot(title: str, rows: Sequence[Row], bars: str, path: Path) -> None:
    import matplotlib.pyplot as plt

    shown = [row for row in rows if row[bars] is not None]
    labels = [str(next(iter(row.values()))) for row in shown]
    figure, axes = plt.subplots(figsize=(7, 1 + 0.4 * len(shown)), layout="constrained")
    drawn = axes.barh(labels, [float(str(row[bars])) for row in shown], color="#3b6ea5")
    axes.bar_label(drawn, fmt="%.3g", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title=title, xlabel=bars)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
