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

MASK: dict[str, Any] = COMMON | {
    "id": "tiny-mask",
    "method": "maskunet",
    "source_contrasts": ["T1w", "T2w"],
    "target_contrasts": ["brain", "head"],
    "network": {"channels": [8, 4]},
    "grid": {"spacing_mm": 3.0},
    "intensity": {"rule": "median"},
    "sampling": {},
}


def contrast_card(**changes: Any) -> dict[str, Any]:
    """A valid ``model.json`` of a T1w -> T2w model, without ``files``."""
    return deepcopy(CONTRAST) | changes


def cine_card(**changes: Any) -> dict[str, Any]:
    """A valid ``model.json`` of a cine model, without ``files``."""
    return deepcopy(CINE) | changes


def mask_card(**changes: Any) -> dict[str, Any]:
    """A valid ``model.json`` of a model of masks, without ``files``."""
    return deepcopy(MASK) | changes


def threshold_weights(brain: float, head: float, steepness: float = 40.0) -> dict[str, np.ndarray]:
    """Weights of ``MASK``'s network that call bright cubes brain and less bright ones head.

    The two numbers are in medians of what is no air, as the network sees its image.
    """
    from MambaSynthLib.methods.maskunet.config import FOLD, OUTPUTS, MaskConfig

    weights: dict[str, np.ndarray] = {}
    for name, a in MaskConfig(tuple(MASK["network"]["channels"])).layers().items():
        kernel = np.zeros((a.channels_out, a.channels_in, *3 * (a.kernel,)), np.float32)
        bias = np.zeros(a.channels_out, np.float32)
        middle = a.kernel // 2
        if name in ("in0", "deep0", "join0"):
            kernel[:, :, middle, middle, middle] = np.eye(a.channels_out)
        if name == "logits":
            kernel[:, :, middle, middle, middle] = np.tile(np.eye(FOLD**3), (len(OUTPUTS), 1))
            kernel *= steepness
            bias = np.repeat(np.float32([-steepness * brain, -steepness * head]), FOLD**3)
        weights |= {f"convolutions.{name}.weight": kernel, f"convolutions.{name}.bias": bias}
    return weights


def threshold_package(folder: Path, brain: float = 0.7, head: float = 0.2) -> ModelPackage:
    """A model of masks that looks at nothing but brightness."""
    return write_package(folder, mask_card(), threshold_weights(brain, head), "# masks\n")


def random_weights(card: dict[str, Any], seed: int = 7) -> dict[str, np.ndarray]:
    """Name -> array of the untrained network that the card describes; the same in every run."""
    import torch

    torch.manual_seed(seed)
    network = import_module(f"{METHODS[card['method']].folder}.network").build(card["network"])
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


def random_package(folder: Path, card: dict[str, Any], seed: int = 7) -> ModelPackage:
    """The package of that card with ``random_weights``."""
    return write_package(folder, card, random_weights(card, seed), f"# {card['title']}\n")
