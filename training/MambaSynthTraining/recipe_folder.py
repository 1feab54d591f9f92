"""Where the recipes lie that come with the package."""

from __future__ import annotations

from pathlib import Path


def recipes_folder() -> Path:
    """Inside an installed package; in a checkout, beside it."""
    package = Path(__file__).resolve().parent
    inside, beside = package / "recipes", package.parent / "recipes"
    return inside if inside.is_dir() else beside
