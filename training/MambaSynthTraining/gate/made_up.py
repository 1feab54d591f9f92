"""Heads of nobody: brains of ellipsoids and waves, so that not only the label maps' are known.

Their T1w and T2w come from the same signal equations as the demo's head.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.phantom.anatomy import Ellipsoid, Painting, places_of
from MambaSynthLib.phantom.head import computed_head

EDGE_MM = 3.0
SHAPE = (60, 72, 62)
CORNER_MM = (-88.0, -128.0, -80.0)
RIBBON_MM = 3.0  # thickness of the cortex
WAVE_MM = (6.0, 10.0)  # of the folds


def made_up_heads(count: int, seed: int) -> Iterator[tuple[Volume, dict[str, str]]]:
    """T1w and T2w of ``count`` heads, with and without skull, and what is true of them."""
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        affine = np.diag([EDGE_MM] * 3 + [1.0])
        affine[:3, 3] = CORNER_MM
        places = places_of(SHAPE, affine)
        a, b, c = rng.uniform(0.9, 1.08, 3).tolist()
        cerebrum = Ellipsoid((0, -18, 10), (68 * a, 84 * b, 62 * c))
        cerebellum = Ellipsoid((0, rng.uniform(-68, -56), -36), (48 * a, 32 * b, 26 * c))
        stem = Ellipsoid((0, -30, -44), (13, 13, 34))
        depth = np.minimum.reduce([part.distance(places) for part in (cerebrum, cerebellum, stem)])
        length = rng.uniform(*WAVE_MM)
        x, y, z = (place / length + rng.uniform(0, 6) for place in places)
        wave = np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)
        fold, core = np.abs(wave) * (0.8 * length), depth + rng.uniform(12, 24)
        painting = Painting(SHAPE, EDGE_MM)
        painting.fill("cortex", depth)
        painting.fill("white matter", np.maximum(depth + RIBBON_MM, np.minimum(4 - fold, core)))
        painting.fill("fluid", np.maximum(fold - rng.uniform(0, 2), -core))
        for side in (-1, 1):
            axes = (rng.uniform(5, 9), rng.uniform(22, 34), rng.uniform(7, 11))
            painting.fill("fluid", Ellipsoid((side * 10, -12, 20), axes).distance(places))
        gray, white = painting.fractions["cortex"], painting.fractions["white matter"]
        for contrast, volume in computed_head(gray, white, affine, seed=number).items():
            truth = {"kind": "MR", "anatomy": "head", "contrast": contrast}
            yield volume, truth
            inside = np.where(depth < 0, volume.array, 0)
            yield volume.with_array(inside), truth | {"anatomy": "brain"}
