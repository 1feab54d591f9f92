"""Small made-up heartbeats, and recipes that train on them in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.io.atomic import write_json
from MambaSynthTraining.data.heart_cine import HeartCine, write_subject
from MambaSynthTraining.data.kinds import open_data
from MambaSynthTraining.recipe import Recipe
from MambaSynthTraining.recipe_file import recipe_of

TINY: dict[str, Any] = {
    "method": "mstg",
    "seed": 5,
    "cine": {"targets": "all", "gamma_spread": 0.1},
    "network": {
        "channels": [4, 8],
        "exact_ends": True,
        "velocity": True,
        "bidirectional": True,
    },
    "weights": {"lambda_eps": 0.0, "lambda_ncc": 1.0, "lambda_smooth": 0.1, "lambda_frame": 1.0},
    "optimization": {
        "learning_rates": {"mstg": 1e-3},
        "betas": [0.9, 0.999],
        "decay": "cosine",
        "ema": 0.5,
        "clip": 1.0,
    },
    "stages": [{"iterations": 4, "batch": 2, "crop": [16, 16, 16]}],
    "every": {"log": 1, "save": 2, "validate": 2},
}


def tiny_recipe(**changes: Any) -> Recipe:
    return recipe_of({**TINY, **changes})


def blob(radius: float, size: tuple[int, ...] = (16, 16, 16)) -> np.ndarray:
    """A bright ball on gray ground, with soft edges."""
    offsets = np.indices(size) - (np.array(size).reshape(3, 1, 1, 1) - 1) / 2
    distance = np.sqrt((offsets**2).sum(0))
    return (0.2 + 0.7 / (1 + np.exp(distance - radius))).astype(np.float32)


def shrinking(name: str, start: float = 6.0, end: float = 3.5, size: int = 16) -> HeartCine:
    """Five frames of a ball that is smallest in the frame before the last."""
    shares = [0.0, 0.2, 0.7, 1.0, 0.5]
    images = np.stack([blob(start + share * (end - start), (size,) * 3) for share in shares])
    return HeartCine(
        name=name,
        frames=images,
        times_ms=tuple(50.0 * n for n in range(5)),
        labels=(images[[0, 3]] > 0.5).astype(np.uint8),
        labeled=(0, 3),
        spacing_mm=(3.0, 1.5, 1.5),
        ed=0,
        es=3,
        valid=((0, size),) * 3,
    )


def write_cines(folder: Path) -> Path:
    """Two subjects to train on, one to validate with, two to test on."""
    splits = {"train": ["a", "b"], "validation": ["c"], "test": ["d", "e"]}
    names = [name for split in splits.values() for name in split]
    for n, name in enumerate(names):
        write_subject(folder, shrinking(name, start=16 * (0.36 + 0.01 * n)))
    write_json(folder / "splits.json", splits)
    return folder


def tiny_cines(folder: Path) -> Any:
    """The training data of a folder that is written first."""
    return open_data(tiny_recipe(), write_cines(folder))
