"""The picture beside the table: what each method makes of one subject, and where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthTraining.data.heart_cine import HeartCine
from MambaSynthTraining.evaluation.cine.score import EXAMPLE

LARGEST_ERROR = 0.3


def draw_table_picture(cine: HeartCine, runs: Mapping[str, Path], path: Path) -> None:
    """A row per title and scored run: its frames between ED and ES in the middle slice, then the
    error of the middle frame. On top the acquired frames. Raises FileError.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    first, end = cine.valid[0]
    level, between = (first + end) // 2, cine.between
    acquired = cine.frames[between, level]
    middle = len(between) // 2
    fig, axes = plt.subplots(
        len(runs) + 1,
        len(between) + 1,
        squeeze=False,
        figsize=(1.7 * (len(between) + 1), 1.8 * (len(runs) + 1)),
    )
    for axis in axes.flat:
        axis.set_axis_off()
    titles = ["acquired", *runs]
    shown = [acquired, *(_example(run)[:, level] for run in runs.values())]
    for line, title, frames in zip(axes, titles, shown, strict=True):
        for axis, frame, index in zip(line, frames, between, strict=False):
            axis.imshow(frame, cmap="gray", vmin=0, vmax=0.9)
            axis.set_title(f"{cine.times_ms[index]:.0f} ms", fontsize=6)
        error = np.abs(frames[middle] - acquired[middle])
        line[-1].imshow(error, cmap="magma", vmin=0, vmax=LARGEST_ERROR)
        line[-1].set_title("|error|, middle", fontsize=6)
        line[0].set_title(title, fontsize=8)
    fig.tight_layout(pad=0.3, h_pad=0.9)
    try:
        fig.savefig(path, dpi=90)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error}); choose another folder.") from error
    finally:
        plt.close(fig)


def _example(run: Path) -> np.ndarray:
    """(F,D,H,W) frames of the first test subject."""
    path = run / EXAMPLE
    try:
        return np.load(path, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be read ({error}); score the run again.") from error
