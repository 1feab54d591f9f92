"""Draw the README's picture: a head and a heart, both computed, through the shipped models.

    python Resources/make_head_and_heart.py

The head is the one of ``mambasynth demo`` (it needs nilearn's files, as the demo does): T1w,
synthetic T2w, true T2w, difference. The heart is a short axis of smooth shapes at end-diastole and
end-systole, whose wall thickens as its area stays; between the two stand three synthetic frames.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.cine.engine import CineEngine
from MambaSynthLib.engine import Engine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.registry import cine_model, model_for
from MambaSynthLib.phantom.template import template_head

TARGET = Path(__file__).resolve().parent / "Screenshots" / "head_and_heart.png"
FRAMES = 5  # of the heart, ED and ES among them
SHAPE, SPACING = (112, 112, 9), (1.5, 1.5, 8.0)  # voxels, mm
ED_MM, ES_MM, WALL_MM = 24.0, 16.0, 9.0  # radius of the pool, and of the wall at ED
INK, PAPER, GOLD = "#cdd4da", "#101214", "#ffc83d"
MARK = "SYNTHETIC - not for diagnosis"
Image = NDArray[np.floating]


def heart(pool_mm: float, name: str) -> Volume:
    """A stack of short-axis slices whose left ventricle has a pool of this radius in the middle."""
    i, j, k = (s * (np.arange(n) - (n - 1) / 2) for n, s in zip(SHAPE, SPACING, strict=True))
    x, y, z = np.meshgrid(i, j, k, indexing="ij")  # mm
    taper = np.sqrt(np.clip(1 - (z / 52) ** 2, 0.2, 1))
    wall_area = (ED_MM + WALL_MM) ** 2 - ED_MM**2
    outer = np.sqrt(pool_mm**2 + wall_area) * taper
    inner = pool_mm * taper
    left = np.hypot(x, y)
    right = np.hypot((x + 34) / 1.1, y / 1.35)  # the right ventricle, a crescent
    body = np.hypot(x / 78, y / 74)
    image = 60 + 130 * inside(body - 1, 0.03) * 0.45
    image = blend(image, 20, inside(np.hypot((x - 58) / 22, (y + 12) / 46) - 1, 0.05))  # lung
    image = blend(image, 230, inside(right - (26 * pool_mm / ED_MM) ** 0.98, 1.2))
    image = blend(image, 85, inside(left - outer, 1.0))
    image = blend(image, 250, inside(left - inner, 1.0))
    for angle in (0.6, 2.4):  # papillary muscles
        cx, cy = (0.6 * inner * f(angle) for f in (np.cos, np.sin))
        image = blend(image, 95, inside(np.hypot(x - cx, y - cy) - 3.2 * taper, 0.8))
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), (1, 1, 0))
    return Volume(
        np.float32(image + 10 * texture / texture.std()), np.diag([-1.5, -1.5, 8, 1]), name
    )


def inside(distance: Image, softness: float) -> Image:
    return 1 / (1 + np.exp(np.clip(distance / softness, -50, 50)))


def blend(image: Image, value: float, share: Image) -> Image:
    return image * (1 - share) + value * share


def head_columns() -> list[tuple[str, Image]]:
    head = template_head()
    engine = Engine(model_for("T1w", "T2w"))
    synthetic = engine.synthesize({"T1w": head["T1w"]}, seed=0).volumes["T2w"]
    volumes = {
        "T1w, computed": head["T1w"], f"T2w, {MARK}": synthetic, "T2w, true": head["T2w"],
    }  # fmt: skip
    shown = {title: axial(volume) for title, volume in volumes.items()}
    _, made, true = shown.values()
    return [*shown.items(), ("difference", abs(made - true))]


def axial(volume: Volume) -> Image:
    """The middle axial slice, upside up, from 0 to 1."""
    array = np.moveaxis(volume.array, 2, 0)[round(0.52 * volume.shape[2])].T[::-1]
    low, high = np.percentile(volume.array, [0.5, 99.7])
    return np.clip((array - low) / (high - low), 0, 1)


def heart_columns() -> list[tuple[str, Image]]:
    ends = heart(ED_MM, "ED"), heart(ES_MM, "ES")
    fractions = np.linspace(0, 1, FRAMES)
    made = CineEngine(cine_model()).synthesize(*ends, list(fractions))
    middle = SHAPE[2] // 2
    low, high = np.percentile(ends[0].array, [0.5, 99.5])
    titles = ["ED, computed", *[MARK] * (FRAMES - 2), "ES, computed"]
    return [
        (title, np.clip((frame.array[..., middle].T - low) / (high - low), 0, 1))
        for title, frame in zip(titles, made.frames, strict=True)
    ]


def draw() -> None:
    figure = plt.figure(figsize=(10, 5.4), facecolor=PAPER)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.28, 1))
    for part, columns in ((upper, head_columns()), (lower, heart_columns())):
        part.set_facecolor(PAPER)
        axes = part.subplots(1, len(columns))
        for axis, (title, image) in zip(axes, columns, strict=True):
            axis.imshow(image, cmap="inferno" if title == "difference" else "gray", vmin=0, vmax=1)
            axis.set_title(title, fontsize=7.5, color=GOLD if "SYNTHETIC" in title else INK)
            axis.axis("off")
        part.subplots_adjust(0.01, 0.01, 0.99, 0.91, wspace=0.03)
    figure.savefig(TARGET, dpi=100, facecolor=PAPER, metadata={"Description": MARK})
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    draw()
