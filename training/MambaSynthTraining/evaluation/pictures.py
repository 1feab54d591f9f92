"""What the numbers of a table look like: points for every subject, and slices.

table.png            every subject's value of each row, by measure
examples.png         the same slice of each subject, as every row makes it
best_and_worst.png   of each row, the slices with the highest and the lowest SSIM
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MambaSynthLib.io.atomic import telling
from MambaSynthTraining.evaluation.measures import BY_NAME, CANVAS
from MambaSynthTraining.evaluation.results import Result, frame_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = ("ssim", "nmi", "mse")
FRAMES = {CANVAS: "canvas, as in the first table", "": "native"}
MOST_SUBJECTS = 6  # in examples.png
PANEL_INCHES, ROW_INCHES, CAPTION_INCHES, DPI = 1.25, 0.3, 0.25, 120
MARK = "SYNTHETIC unless titled source or acquired - not for diagnosis"
TITLES = ("source", "synthetic", "acquired")


def draw_table(results: Sequence[Result], path: Path) -> None:
    """Points for subjects, a bar for their mean, in the frame of the first table; one panel for
    each measure.
    """
    import matplotlib.pyplot as plt

    frame = frame_of(results)
    height = 1.0 + ROW_INCHES * len(results)
    figure, axes = plt.subplots(1, len(DRAWN), figsize=(11, height), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], DRAWN, strict=True):
        measure = BY_NAME[name]
        for n, result in enumerate(results):
            values = np.array([*result.of_subjects(frame + name).values()]) * measure.scale
            if len(values):
                axis.plot(values, np.full(len(values), n), "o", ms=4, alpha=0.5, color="C0")
                axis.plot(values.mean(), n, "|", ms=14, mew=2, color="black")
        better = "higher" if measure.higher_is_better else "lower"
        axis.set_title(f"{measure.title} ({better} is better)", fontsize=9)
        axis.grid(axis="x", alpha=0.3)
    axes[0, 0].set_yticks(range(len(results)), [result.name for result in results], fontsize=8)
    axes[0, 0].invert_yaxis()
    people = len(results[0].subjects)
    _save(figure, path, f"every point a subject, n = {people}; frame: {FRAMES[frame]}")


def draw_examples(results: Sequence[Result], path: Path) -> None:
    """One line of panels for each row, one column for each subject."""
    import matplotlib.pyplot as plt

    shown = [_of_kind(result, "middle") for result in results]
    labels = [*shown[0]][:MOST_SUBJECTS]
    lines: list[tuple[str, list[Any]]] = [
        ("source", [shown[0][label][0] for label in labels]),
        ("acquired", [shown[0][label][2] for label in labels]),
    ]
    for result, examples in zip(results, shown, strict=True):
        lines.append((result.name, [examples[label][1] for label in labels]))
    size = (1.9 + PANEL_INCHES * len(labels), PANEL_INCHES * len(lines) + 0.4)
    figure, axes = plt.subplots(len(lines), len(labels), figsize=size, squeeze=False)
    for row, (title, images) in zip(axes, lines, strict=True):
        _label(row[0], title)
        for axis, image in zip(row, images, strict=True):
            _show(axis, image)
    for axis, label in zip(axes[0], labels, strict=True):
        axis.set_title(textwrap.fill(label, 16), fontsize=6)
    _save(figure, path, MARK)


def draw_best_and_worst(results: Sequence[Result], path: Path) -> None:
    """Three panels (source, synthetic, acquired) of the best slice, then of the worst."""
    import matplotlib.pyplot as plt

    size = (1.9 + PANEL_INCHES * 6, PANEL_INCHES * 1.2 * len(results) + 0.4)
    figure, axes = plt.subplots(len(results), 6, figsize=size, squeeze=False)
    for row, result in zip(axes, results, strict=True):
        _label(row[0], result.name)
        for kind, panels in (("best", row[:3]), ("worst", row[3:])):
            for axis in panels:
                axis.set_axis_off()
            for label, images in _of_kind(result, kind).items():
                for axis, image in zip(panels, images, strict=True):
                    _show(axis, image)
                panels[1].set_title(f"{kind}: {label}", fontsize=6)
    for axis, title in zip(axes[0], TITLES * 2, strict=True):
        axis.text(0.03, 0.92, title, fontsize=5, color="#7fc4ff", transform=axis.transAxes)
    _save(figure, path, MARK)


def _of_kind(result: Result, kind: str) -> dict[str, Any]:
    """Label -> (3,H,W) of the examples of one kind."""
    return {
        name.partition(":")[2]: images
        for name, images in result.examples().items()
        if name.startswith(f"{kind}:")
    }


def _show(axis: Axes, image: Any) -> None:
    axis.imshow(image, cmap="gray", vmin=-1, vmax=1)
    axis.set_axis_off()


def _label(axis: Axes, text: str) -> None:
    """The row's name at its left."""
    axis.text(-0.08, 0.5, textwrap.fill(text, 18), fontsize=7, ha="right", va="center",
              transform=axis.transAxes)  # fmt: skip


def _save(figure: Figure, path: Path, caption: str) -> None:
    """A PNG, whole or not at all."""
    import io

    import matplotlib.pyplot as plt

    from MambaSynthLib.io.atomic import write_whole

    height = figure.get_size_inches()[1]
    figure.text(0.5, 0.06 / height, caption, fontsize=7, ha="center", va="bottom")
    figure.tight_layout(pad=0.4, rect=(0, CAPTION_INCHES / height, 1, 1))
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    with telling(path):
        write_whole(path, data.getvalue())
