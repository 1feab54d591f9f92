"""Draw the extension's icon: a head, half in T1w greys, half in T2w greys, a snake between.

    python Resources/make_icon.py

The left half has the greys of a T1w image (bright white matter, dark ventricle), the right half
those of a T2w image (dark white matter, bright ventricle): one head, two contrasts. The wave that
divides them is the mamba. Few, large shapes, so that it can be read at 24 pixels.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse
from matplotlib.path import Path as Outline

PIXELS = 128
ROOT = Path(__file__).resolve().parent.parent
TARGETS = (
    ROOT / "Resources" / "MambaSynth.png",
    ROOT / "MambaSynth" / "Resources" / "Icons" / "MambaSynth.png",
)
# (centre x, centre y, width, height, T1w grey, T2w grey) from outside in; unit square
TISSUES = (
    (0.50, 0.50, 0.92, 0.98, "#6d7b88", "#6d7b88"),  # skull
    (0.50, 0.50, 0.78, 0.84, "#f4f6f7", "#333c45"),  # white matter
    (0.29, 0.50, 0.15, 0.30, "#333c45", "#333c45"),  # ventricle, dark in T1w
    (0.71, 0.50, 0.15, 0.30, "#f4f6f7", "#f4f6f7"),  # ventricle, bright in T2w
)
SNAKE, EDGE = "#f2a900", "#1d2329"


def wave(count: int = 200) -> np.ndarray:
    """(count,2) the snake's line from top to bottom."""
    y = np.linspace(0.84, 0.06, count)
    return np.stack([0.5 - 0.07 * np.sin(2 * np.pi * (y - 0.06) / 0.78), y], axis=1)


def side(line: np.ndarray, edge: float) -> Outline:
    """The part of the square between the snake and the left (0) or right (1) edge."""
    ends = [(line[0][0], 1.0), *line, (line[-1][0], 0.0)]
    return Outline([(edge, 1.0), *ends, (edge, 0.0), (edge, 1.0)])


def draw() -> plt.Figure:
    figure = plt.figure(figsize=(1, 1), dpi=PIXELS)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    line = wave()
    for edge, column in ((0.0, 4), (1.0, 5)):
        for tissue in TISSUES:
            ellipse = Ellipse(tissue[:2], tissue[2], tissue[3], color=tissue[column], linewidth=0)
            axes.add_patch(ellipse)
            ellipse.set_clip_path(side(line, edge), axes.transData)
    for color, grown in ((EDGE, 0.05), (SNAKE, 0.0)):  # the outline first
        axes.plot(*line.T, color=color, linewidth=72 * (0.085 + grown), solid_capstyle="round")
        head = Ellipse(line[0], 0.19 + grown, 0.25 + grown, color=color, linewidth=0, zorder=3)
        axes.add_patch(head)
    for x in (-0.045, 0.045):
        axes.add_patch(Ellipse(line[0] + [x, 0.03], 0.045, 0.06, color=EDGE, zorder=4))
    return figure


if __name__ == "__main__":
    for target in TARGETS:
        draw().savefig(target, transparent=True, metadata={"Software": None})
