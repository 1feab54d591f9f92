"""Heads from formulas: a brain of waves and ellipsoids, computed as the demo's head is.

Nothing here is of a person: it is for tests and pictures of a model on anatomy that is plausible,
whose T2w image is known exactly and that costs a second.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.phantom.anatomy import Ellipsoid, Field, Painting, places_of
from MambaSynthLib.phantom.head import computed_head

EXTENT_MM = (176, 216, 180)
BRAIN = Ellipsoid((0, -18, 10), (68, 86, 62))
CEREBELLUM = Ellipsoid((0, -62, -36), (48, 32, 26))
STEM = Ellipsoid((0, -30, -44), (13, 13, 34))
DEEP_GRAY = tuple(
    Ellipsoid((side * x, y, z), half_axes)
    for side in (-1, 1)
    for x, y, z, half_axes in (
        (11, -18, 8, (8, 14, 9)),  # thalamus
        (26, 4, 4, (6, 16, 10)),  # putamen
    )
)
VENTRICLES = (Ellipsoid((-10, -12, 20), (6, 28, 8)), Ellipsoid((10, -10, 20), (7, 30, 9)))
RIBBON_MM, FISSURE_MM = 3.0, 20.0  # thickness of the cortex, depth of a sulcus


def brain(spacing_mm: tuple[float, float, float]) -> tuple[Field, Field, NDArray[np.float64]]:
    """(I,J,K) fractions of gray and white matter, and the (4,4) affine, in MNI space."""
    shape = tuple(int(n / edge) for n, edge in zip(EXTENT_MM, spacing_mm, strict=True))
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -88, -126, -76
    places = places_of(shape, affine)
    painting = Painting(shape, min(spacing_mm))
    depth = np.minimum.reduce([part.distance(places) for part in (BRAIN, CEREBELLUM, STEM)])
    fold = _folds(places)
    core = depth + FISSURE_MM
    painting.fill("cortex", depth)
    painting.fill("white matter", np.maximum(depth + RIBBON_MM, np.minimum(4 - fold, core)))
    painting.fill("fluid", np.maximum(fold - 1.2, -core))
    for nucleus in DEEP_GRAY:
        painting.fill("cortex", nucleus.distance(places))
    for ventricle in VENTRICLES:
        painting.fill("fluid", ventricle.distance(places))
    return painting.fractions["cortex"], painting.fractions["white matter"], affine


def _folds(places: tuple[Field, Field, Field]) -> Field:
    """About the distance in mm from a sheet that winds through the brain as sulci do (a gyroid)."""
    x, y, z = (place / 7.5 for place in places)
    wave = np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)
    found: Field = np.abs(wave) * np.float32(6)
    return found


@cache
def analytic_head(
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 4.0), skull: bool = True
) -> dict[str, Volume]:
    """T1w and T2w of one head, in arbitrary units; without its skull it is 0 outside the brain."""
    gray, white, affine = brain(spacing_mm)
    head = computed_head(gray, white, affine, seed=1)
    if skull:
        return head
    inside = _inside(gray + white)
    return {c: v.with_array(np.where(inside, v.array, 0)) for c, v in head.items()}


def _inside(brain: Field) -> NDArray[np.bool_]:
    """The brain with the fluid in its fissures and ventricles, as a skull stripper leaves it."""
    from scipy import ndimage

    closed = ndimage.binary_closing(np.pad(brain > 0.3, 8), iterations=6)[8:-8, 8:-8, 8:-8]
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(closed)
    return filled
