"""A pair of heads in three views, for a person to look at before anything is learned from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.io.atomic import telling


def write_picture(
    path: Path, title: str, a: NDArray[np.float32], b: NDArray[np.float32], slice_mm: float
) -> None:
    """Source above target, (N,H,W) in [-1,1] each; and a checkerboard of both, whose edges break
    where the two do not fit.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9), layout="constrained")
    axes = figure.subplots(3, 3)
    checked = np.where(_board(a.shape), a, b)
    for row, stack in zip(axes, (a, b, checked), strict=True):
        n, h, w = (size // 2 for size in stack.shape)
        views = [(stack[n], 1.0), (stack[::-1, h], slice_mm), (stack[::-1, :, w], slice_mm)]
        for axis, (view, aspect) in zip(row, views, strict=True):
            axis.imshow(view, cmap="gray", vmin=-1, vmax=0.4, aspect=aspect)
            axis.axis("off")
    figure.suptitle(title)
    with telling(path):
        figure.savefig(path, dpi=70)


def _board(shape: tuple[int, ...], side: int = 24) -> NDArray[np.bool_]:
    n, h, w = np.ogrid[tuple(map(slice, shape))]
    return (n // 12 + h // side + w // side) % 2 == 0
