"""Made-up heads, and a recipe that learns from them in seconds."""

from __future__ import annotations

import numpy as np

from MambaSynthLib.image.volume import Volume
from Testing.training.made_up_heads import INTENSITY, LAS, tissues

RECIPE = {
    "method": "cravim-heads",
    "seed": 1,
    "network": {
        "ngf": 8, "n_blocks": 1, "n_attentions": 3, "input_channels": 1, "output_channels": 1,
        "neighbors": 1, "skips": 1,
    },
    "optimization": {"learning_rates": {"generator": 3.0e-3}, "ema": 0.5},
    "stages": [
        {"iterations": 6, "batch": 2, "crop": [64, 64]},
        {"iterations": 2, "batch": 2, "crop": [64, 64], "objective": "frozen"},
    ],
}  # fmt: skip


def head(contrast, seed):
    values = np.array(INTENSITY[contrast], np.float32)
    return Volume(values[tissues(seed)], LAS, contrast)
