"""Do these weights belong to that network? Asked by every backend before it loads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from MambaSynthLib.errors import ModelError
from MambaSynthLib.package import Weights


def check_keys(expected: Mapping[str, tuple[int, ...]], weights: Weights, folder: Path) -> None:
    """Compare names and shapes.

    Raises
    ------
    ModelError: names the first key that is missing, left over or of another shape.
    """
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            problem = f"{name} is missing"
        elif name not in expected:
            problem = f"{name} is left over"
        elif weights[name].shape != expected[name]:
            problem = f"{name} has shape {weights[name].shape} instead of {expected[name]}"
        else:
            continue
        raise ModelError(
            f"{folder}: the weights do not fit the network that model.json describes ({problem}); "
            "install the model package again."
        )
