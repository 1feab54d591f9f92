"""Source, synthetic and acquired heads beside each other, in three views and in the worst slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.io.atomic import telling
from MambaSynthTraining.evaluation.head_measures import fitted

Floats = NDArray[np.float32]


def worst_slice(made: Floats, acquired: Floats, region: NDArray[np.bool_]) -> int:
    """The axial slice with the largest mean squared error, of those that show enough."""
    error = np.where(region, fitted(made, acquired, region) - acquired, 0) ** 2
    counts = region.sum(axis=(0, 1))
    means = error.sum(axis=(0, 1)) / np.maximum(counts, 1)
    return int(np.argmax(np.where(counts > counts.max() / 4, means, -1)))


def write_views(
    path: Path, title: str, images: dict[str, Floats], spacing: NDArray[np.float64],
    region: NDArray[np.bool_],
) -> None:  # fmt: skip
    """One row a volume, the acquired one last: middle axial, coronal, sagittal, worst axial slice.

    Volumes (I,J,K) grow to the right, front and head; all but the first are fitted to the last.
    """
    from matplotlib.figure import Figure

    names, acquired = list(images), list(images.values())[-1]
    worst = worst_slice(images[names[-2]], acquired, region)
    figure = Figure(figsize=(12, 3 * len(images)), layout="constrained")
    axes = figure.subplots(len(images), 4)
    for row, (name, array) in zip(axes, images.items(), strict=True):
        source = name == names[0]
        shown = array if source else fitted(array, acquired, np.ones_like(region))
        top = np.percentile((shown if source else acquired)[region], 99.5)
        i, j, k = (n // 2 for n in shown.shape)
        views = [shown[:, :, k], shown[:, j], shown[i], shown[:, :, worst]]
        edges = [(0, 1), (0, 2), (1, 2), (0, 1)]
        for axis, view, (a, b) in zip(row, views, edges, strict=True):
            axis.imshow(view.T[::-1], cmap="gray", vmin=0, vmax=top, aspect=spacing[b] / spacing[a])
            axis.set_axis_off()
        row[0].set_title(name, fontsize=9)
    figure.suptitle(f"{title}; right: the worst axial slice of {names[-2]}, {worst}")
    with telling(path):
        figure.savefig(path, dpi=75)
