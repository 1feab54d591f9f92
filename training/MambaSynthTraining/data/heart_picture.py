"""Pictures of a cine for the eye: a montage of frames, and a moving one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthTraining.data.heart_cine import MYOCARDIUM, HeartCine

HEIGHTS = (0.25, 0.5, 0.75)  # of the acquired slices, from base to apex
ENLARGED = 4


def draw_frames(cines: Sequence[HeartCine], path: Path) -> None:
    """A PNG: for each cine a row per level (base, middle, apex) and one from the long axis.

    Columns run from ED to ES, then |ES - ED|; red are the labels' walls. Raises FileError.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [(cine, plane) for cine in cines for plane in range(len(HEIGHTS) + 1)]
    columns = max(len(cine.between) for cine in cines) + 3
    fig, axes = plt.subplots(
        len(rows), columns, squeeze=False, figsize=(1.6 * columns, 1.6 * len(rows))
    )
    for row, (cine, plane) in zip(axes, rows, strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, index in zip(row, [cine.ed, *cine.between, cine.es], strict=False):
            _show(axis, cine, index, plane)
        change = np.abs(cine.frames[cine.es] - cine.frames[cine.ed])
        row[-1].imshow(_cut(change, cine, plane), cmap="magma", vmax=0.6, aspect=_aspect(plane))
        row[0].set_title(f"{cine.name}, ED", fontsize=7)
        row[-1].set_title("|ES - ED|", fontsize=7)
    fig.tight_layout(pad=0.2)
    try:
        fig.savefig(path, dpi=90)
    except (OSError, ValueError) as error:  # ValueError: an ending matplotlib does not know
        raise FileError(f"{path}: cannot be written ({error}); give a .png path.") from error
    finally:
        plt.close(fig)


def _show(axis: Any, cine: HeartCine, index: int, plane: int) -> None:
    image = _cut(cine.frames[index], cine, plane)
    axis.imshow(image, cmap="gray", vmin=0, vmax=0.9, aspect=_aspect(plane))
    axis.set_title(f"{cine.times_ms[index]:.0f} ms", fontsize=7)
    labels = cine.labels_at(index)
    if labels is not None:
        wall = _cut(labels, cine, plane) == MYOCARDIUM
        axis.contour(wall, [0.5], colors="r", linewidths=0.4)


def _cut(volume: NDArray[np.generic], cine: HeartCine, plane: int) -> NDArray[np.generic]:
    """A short-axis slice, or the long-axis plane through the middle of the image."""
    if plane == len(HEIGHTS):
        return volume[:, volume.shape[1] // 2]
    first, end = cine.valid[0]
    return volume[int(first + HEIGHTS[plane] * (end - first))]


def _aspect(plane: int) -> float:
    return 2.1 if plane == len(HEIGHTS) else 1.0


def write_gif(cine: HeartCine, path: Path) -> None:
    """The whole cycle in three short-axis slices and a long-axis plane, at the heart's own speed.

    Raises FileError where the file cannot be written.
    """
    from PIL import Image

    pages = [Image.fromarray(_page(cine, index)) for index in range(len(cine.frames))]
    step = (cine.times_ms[1] - cine.times_ms[0]) if len(pages) > 1 else 100
    try:
        pages[0].save(
            path, save_all=True, append_images=pages[1:], duration=max(20, int(step)), loop=0
        )
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be written ({error}); give a .gif path.") from error


def _page(cine: HeartCine, index: int) -> NDArray[np.uint8]:
    short = [_cut(cine.frames[index], cine, plane) for plane in range(len(HEIGHTS))]
    long = np.repeat(_cut(cine.frames[index], cine, len(HEIGHTS)), 2, axis=0)
    pages = np.concatenate([*short, long[: short[0].shape[0]]], axis=1)
    gray = np.uint8(np.clip(pages / 0.9, 0, 1) * 255)
    return np.kron(gray, np.ones((ENLARGED, ENLARGED), dtype=np.uint8))
