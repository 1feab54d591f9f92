"""The three ways to train CRAViM; a recipe names one and may change any value.

``released-code`` is what the published program does, ``paper`` what the text says, where the two
differ; ``plus`` is ours: averaged weights, decaying rates, a regularized discriminator, a cycle
that trains both generators, a structural loss against the source, and neighboring slices as
further inputs.
"""

from __future__ import annotations

from typing import Any

_ADAM = {"learning_rates": {"generators": 2e-4, "discriminators": 1e-4}, "betas": [0.5, 0.9]}

PRESETS: dict[str, dict[str, Any]] = {
    "released-code": {
        "seed": 1024,
        "epochs": True,
        "options": {"wiring": "official"},
        "optimization": {**_ADAM, "decay": "constant"},
    },
    "paper": {
        "seed": 1024,
        "epochs": True,
        "options": {"wiring": "paper"},
        "optimization": {
            "learning_rates": {"generators": 2e-4, "discriminators": 2e-4},
            "betas": [0.5, 0.9],
            "decay": "cosine",
            "lr_end": 1e-5,
        },
    },
    "plus": {
        "seed": 1024,
        "epochs": True,
        "run": 4,
        "augmentation": {"flip": 0.5},
        "network": {"neighbors": 1},
        "options": {"wiring": "paper", "steps": 1},
        "weights": {"lambda_r1": 1.0, "lambda_edge": 1.0},
        "optimization": {**_ADAM, "decay": "cosine", "lr_end": 1e-5, "ema": 0.999},
    },
}
