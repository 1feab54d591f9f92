"""A head small enough to synthesize in milliseconds, and model packages small enough to make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.package import ModelPackage, write_package
from Testing.model_packages import contrast_card, random_weights


@pytest.fixture(autouse=True)
def no_models_of_this_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests neither see nor touch the packages that the person running them has installed."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user-data"))
    monkeypatch.delenv("MAMBASYNTH_MODELS", raising=False)


@pytest.fixture
def card() -> dict[str, Any]:
    """The content of a valid ``model.json``, without ``files``; the test may change it."""
    return contrast_card()


@pytest.fixture(scope="session")
def tiny_weights() -> dict[str, np.ndarray]:
    """Name -> array of a random network of the smallest size, the same in every run."""
    return random_weights(contrast_card())


@pytest.fixture(scope="session")
def make_package(tiny_weights: dict[str, np.ndarray]) -> Callable[..., ModelPackage]:
    """make_package(folder, weights=None, **changes of the card) -> a written package."""

    def make(folder: Path, weights: Any = None, **changes: Any) -> ModelPackage:
        return write_package(
            folder, contrast_card(**changes), weights or tiny_weights, "# A tiny model\n"
        )

    return make


@pytest.fixture(scope="session")
def tiny_package(
    tmp_path_factory: pytest.TempPathFactory, make_package: Callable[..., ModelPackage]
) -> ModelPackage:
    """Axial slices of 2 mm pixels on a canvas of 16 x 16. Read only."""
    return make_package(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def head() -> Volume:
    """12 x 14 x 10 voxels of 2 x 2 x 3 mm: a skull-stripped brain with a lesion on one side.

    Background is exactly 0; the lowest and the highest slice hold nothing else. No mirror image
    or turn of it equals it.
    """
    i, j, k = np.meshgrid(*(np.arange(n, dtype=float) for n in (12, 14, 10)), indexing="ij")

    def ellipsoid(center: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        parts = zip((i, j, k), center, radii, strict=True)
        return sum(((x - c) / r) ** 2 for x, c, r in parts) <= 1

    array = np.zeros(i.shape)
    brain = ellipsoid((5.6, 6.4, 4.5), (4.6, 5.6, 3.7))
    array[brain] = (300 + 9 * i + 5 * j + 3 * k)[brain]
    array[ellipsoid((5.6, 6.5, 5), (1.4, 2.2, 1.3))] = 120  # ventricles
    array[ellipsoid((3, 8, 4), (1.1, 1.1, 1.1))] = 520  # lesion
    affine = np.array([[2.0, 0, 0, -11], [0, 2, 0, -13], [0, 0, 3, -14], [0, 0, 0, 1]])
    return Volume(array, affine, "head.nii.gz")
