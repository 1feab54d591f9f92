"""Small model packages for tests: valid cards, networks of random numbers."""

from __future__ import annotations

from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.methods import METHODS
from MambaSynthLib.model.package import ModelPackage, write_package

SIZES = {
    "ngf": 4, "n_blocks": 1, "n_attentions": 2, "input_channels": 2, "output_channels": 2
}  # fmt: skip
CINE_SIZES = {"channels": [4, 4], "exact_ends": True, "velocity": True}
COMMON: dict[str, Any] = {
    "format": 1,
    "version": "1.2.3",
    "title": "A random network for tests",
    "license": "Apache-2.0",
    "intended_use": "Tests only.",
    "trained_on": "nothing: the weights are random numbers",
    "scores": [],
}
CONTRAST: dict[str, Any] = COMMON | {
    "id": "tiny-t1w-t2w",
    "method": "cravim",
    "source_contrasts": ["T1w"],
    "target_contrasts": ["T2w"],
    "network": SIZES,
    "grid": {"axis_codes": "LPS", "in_plane_spacing_mm": 2.0, "size": [16, 16]},
    "intensity": {"rule": "percentile", "upper_percentile": 99.5, "target_range": [0.0, 1000.0]},
    "sampling": {
        "timesteps": 4,
        "beta_min": 0.1,
        "beta_max": 20.0,
        "default_steps": 2,
        "default_samples": 1,
    },
}
CINE: dict[str, Any] = COMMON | {
    "id": "tiny-cine",
    "method": "mstg",
    "source_contrasts": ["ED", "ES"],
    "target_contrasts": ["cine"],
    "network": CINE_SIZES,
    "grid": {"axis_codes": "LPS", "spacing_mm": [2.0, 2.0, 8.0], "size": [16, 16, 16]},
    "intensity": {"rule": "minmax"},
    "sampling": {"timesteps": 2000, "beta_min": 1e-6, "beta_max": 1e-2},
}


def contrast_card(**changes: Any) -> dict[str, Any]:
    """A valid ``model.json`` of a T1w -> T2w model, without ``files``."""
    return deepcopy(CONTRAST) | changes


def cine_card(**changes: Any) -> dict[str, Any]:
    """A valid ``model.json`` of a cine model, without ``files``."""
    return deepcopy(CINE) | changes


def random_weights(card: dict[str, Any], seed: int = 7) -> dict[str, np.ndarray]:
    """Name -> array of the untrained network that the card describes; the same in every run."""
    import torch

    torch.manual_seed(seed)
    network = import_module(f"{METHODS[card['method']].folder}.network").build(card["network"])
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


def random_package(folder: Path, card: dict[str, Any], seed: int = 7) -> ModelPackage:
    """The package of that card with ``random_weights``."""
    return write_package(folder, card, random_weights(card, seed), f"# {card['title']}\n")
