"""A beating heart small enough for tests, a model package for it, and networks whose motion is
known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.methods.mstg.config import MSTGConfig
from MambaSynthLib.methods.mstg.synthesis import Frame
from MambaSynthLib.model.package import ModelPackage, write_package
from MambaSynthLib.provenance import Place
from Testing.model_packages import CINE_SIZES, cine_card, random_weights

NETWORK = CINE_SIZES | {"bidirectional": True}


def oblique() -> np.ndarray:
    """(4,4) 2 x 2 x 8 mm, turned about two axes, as a short-axis stack is."""
    a, b = np.deg2rad(35), np.deg2rad(40)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-2.0, -2.0, 8.0])
    affine[:3, 3] = (12.5, -30.25, 101)
    return affine


def heart(radius: float, name: str = "heart", shape: tuple[int, int, int] = (20, 18, 4)) -> Volume:
    """A bright ventricle of ``radius`` pixels in a darker wall, off center, with a smooth edge."""
    i, j = np.meshgrid(*map(np.arange, shape[:2]), indexing="ij")
    distance = np.hypot(i - 9.0, j - 8.0)
    blood = 1 / (1 + np.exp(2 * (distance - radius)))
    wall = 1 / (1 + np.exp(2 * (distance - 7)))
    slice_ = 40 + 60 * wall + 300 * blood + 0.5 * i
    return Volume(slice_[..., None] + 3.0 * np.arange(shape[2]), oblique(), name)


def beat(radii: tuple[float, ...] = (5, 4, 3, 4)) -> tuple[Volume, ...]:
    return tuple(heart(radius, "beat") for radius in radii)


def random_package(folder: Path, **changes: Any) -> ModelPackage:
    """A package of the real method with random weights that move things by about a voxel."""
    card = cine_card(**{"network": NETWORK} | changes)
    weights = random_weights(card, seed=3)
    weights["deformation.field.weight"] = 20 * weights["deformation.field.weight"]
    return write_package(folder, card, weights, "# A tiny cine model\n")


class Shifting:
    """A network for which the heart moves ``voxels`` along the rows of the canvas in systole."""

    config = MSTGConfig(exact_ends=True, velocity=True)
    places = (Place("cpu", "fp32"),)

    def __init__(self, voxels: float = 1.0) -> None:
        self.voxels, self.motions = voxels, 0

    def motion(self, ed: np.ndarray, es: np.ndarray) -> np.ndarray:
        self.motions += 1
        return ed

    def frame(self, ed: np.ndarray, fraction: float) -> Frame:
        field = np.zeros((3, *ed.shape), np.float32)
        field[1] = self.voxels * fraction
        places = field + np.stack(np.meshgrid(*map(np.arange, ed.shape), indexing="ij"))
        return Frame(map_coordinates(ed, places, order=1, mode="nearest"), field)


class Painting:
    """A network without motion that blends its two images."""

    config = MSTGConfig(mode="image")
    places = (Place("cpu", "fp32"),)

    def motion(self, ed: np.ndarray, es: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return ed, es

    def frame(self, motion: tuple[np.ndarray, np.ndarray], fraction: float) -> Frame:
        ed, es = motion
        return Frame((1 - fraction) * ed + fraction * es, None)
