"""A made-up patient's short-axis stack."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MambaSynthTraining.data.heart_stacks import Stack


def ventricle(radius: float = 12.0, slices: int = 9, thickness: float = 8.0) -> Stack:
    """A made-up patient: a bright pool in a dark wall that tapers to the apex, a right ventricle to
    the left of it, two papillary muscles, and texture.
    """
    y, x = np.mgrid[:64, :64] - 31.5
    distance, angle = np.hypot(y, x), np.arctan2(y, x)
    radii = radius * np.sqrt(np.linspace(1, 0.3, slices))[:, None, None]
    wall = (distance >= radii) & (distance < radii + 6)
    beside = (distance >= radii + 6) & (distance < radii + 18) & (np.abs(angle) > 2.2)
    muscle = (distance > radii - 4) & (distance < radii) & (np.abs(np.abs(angle) - 0.9) < 0.25)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).random((slices, 64, 64)), (0, 2, 2))
    blood = ((distance < radii) | beside) & ~muscle
    image = 300 * texture + 400 * blood - 100 * wall
    return Stack(np.maximum(image, 0).astype(np.float32), wall, (thickness, 1.4, 1.4))
