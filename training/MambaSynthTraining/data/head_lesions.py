"""Lesions that are not the patient's: shapes of other people's, pasted into the white matter.

The few pairs show few lesions, and a network that has seen few makes them as bright as gray matter,
whose T1w they have. Expert masks of further people tell where such lesions lie and how large they
are, without an image. On the grid of a registered brain a mask is at its place already; only what
is white matter there is painted: T1w loses, T2w gains, both in proportion to the pair's own voxel,
so that noise, shading and what lies between two tissues stay. A lesion that T1w does not show
cannot be learned from it, so each one loses something.

| symbol | code      | meaning                                                              |
|--------|-----------|----------------------------------------------------------------------|
| d      | ``DROP``  | T1w becomes (1 - d) of what it was; acquired lesions have .66 and .81|
| r      | ``RISE``  | T2w becomes (1 + r) of what it was; acquired ones have 1.62 and 1.93 |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.head_tissues import tissues_of

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

DROP, RISE = (0.1, 0.6), (0.6, 1.3)
TOGETHER = 0.5  # how much of both is drawn at once: the older a lesion, the more of either
SOFT_VOXELS = 0.7  # standard deviation of its edge
PEOPLE = 2  # whose lesions one brain gets


def pasted(
    source: Volume, target: Volume, shapes: list[Volume], rng: np.random.Generator
) -> tuple[Volume, Volume, Mask]:
    """T1w and T2w of a stripped brain with further lesions, and where these are; one grid.

    ``shapes``: masks of lesions on that grid, of which ``PEOPLE`` are drawn.
    """
    drawn = rng.permutation(len(shapes))[:PEOPLE]
    there = np.any([shapes[k].array > 0 for k in drawn], axis=0)
    there &= tissues_of(source.array, source.array > source.array.min())["white"]
    lesion, count = ndimage.label(there)
    drop, rise = _strengths(count, rng)
    darker, brighter = (
        ndimage.gaussian_filter(change[lesion], SOFT_VOXELS) for change in (drop, rise)
    )
    t1w = source.with_array(source.array * (1 - darker))
    return t1w, target.with_array(target.array * (1 + brighter)), there


def _strengths(count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(1+count,): d and r of no lesion, which are 0, and of each."""
    shared, *own = rng.random((3, count))
    found = []
    for (low, high), single in zip((DROP, RISE), own, strict=True):
        drawn = low + (high - low) * (TOGETHER * shared + (1 - TOGETHER) * single)
        found.append(np.concatenate([[0.0], drawn]).astype(np.float32))
    return found[0], found[1]
