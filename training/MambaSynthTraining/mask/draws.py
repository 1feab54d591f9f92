"""One more form of a volume whose masks are known: moved, cut, stripped, thick, unevenly lit.

    Truth --2 mm, axes of the patient--> Example --stripped, thick slices, cut--> --affine, 3 mm-->
        --bias, gamma, noise--> --scaled as the library scales--> one to learn from

| symbol | code             | shape      | meaning                                            |
|--------|------------------|------------|----------------------------------------------------|
| x      | ``Draw.image``   | (64,80,72) | cubes of the network's size: upwards, forwards, to |
|        |                  |            | the right                                          |
| m      | ``Draw.masks``   | (2,64,80,72) | share of brain and of head in each, 0 to 255     |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.image.grid import interpolation_matrix
from MambaSynthLib.image.head import block_means
from MambaSynthLib.mask.placing import Placing, scaled
from MambaSynthTraining.mask.truths import Truth

FINE_MM, EDGE_MM = 2.0, 3.0
SHAPE = (64, 80, 72)
STRIPPED, THICK = 0.25, 0.35  # how often
THICKEST = 3  # times 2 mm
DEGREES, SCALING, SHIFT_MM = 12.0, 0.12, 12.0
LOWER = 0.25  # share of the draws whose field of view may end anywhere, in the neck, too
BIAS, GAMMA, MOST_NOISE = 0.15, 0.2, 0.06
CLEAN = 0.8  # share of the stripped volumes whose surroundings are exactly 0
FULL = 255

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """A truth in voxels of 2 mm: image float16 (D,H,W), masks uint8 (2,D,H,W) from 0 to 255."""

    group: str
    image: NDArray[np.float16]
    masks: NDArray[np.uint8]
    whole: bool


@dataclass(frozen=True)
class Draw:
    """See the table above."""

    image: Floats
    masks: NDArray[np.uint8]


def example_of(truth: Truth) -> Example:
    """Brightness is 0 to 1000: the darkest, and nearly the brightest."""
    placing = Placing.of(truth.volume, FINE_MM)
    low, high = np.percentile(truth.volume.array, [0.1, 99.9])
    image = np.clip((truth.volume.array - low) * (1000 / max(high - low, 1e-6)), 0, 4000)
    masks = [placing.apply(m.astype(np.float32)) for m in (truth.brain, truth.head)]
    shares = np.rint(np.stack(masks) * FULL).astype(np.uint8)
    return Example(truth.group, placing.apply(image.astype(np.float32)).astype(np.float16),
                   shares, truth.whole)  # fmt: skip


def draw(example: Example, rng: np.random.Generator) -> Draw:
    """A random form of ``example``."""
    image = example.image.astype(np.float32)
    masks = example.masks.astype(np.float32) / np.float32(FULL)
    whole = example.whole and rng.random() >= STRIPPED
    if example.whole and not whole:
        image, masks = _stripped(image, masks, rng)
    if rng.random() < THICK:
        image = _thick(image, rng)
    layers = _cut(np.concatenate([image[None], masks]), rng)
    moved = _moved(layers, rng)
    shares = np.rint(moved[1:].clip(0, 1) * FULL).astype(np.uint8)
    lit = _lit(moved[0], rng)
    if not whole and rng.random() < CLEAN:
        lit[shares[1] == 0] = 0
    return Draw(scaled(lit, "draw"), shares)


def _stripped(image: Floats, masks: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """What a skull stripper leaves: the brain, or a voxel more. That is its head, too."""
    kept = masks[0] > 0.5
    if rng.random() < 0.5:
        kept = ndimage.binary_dilation(kept)
    share = kept.astype(np.float32)
    return image * share, np.stack([share, share])


def _thick(image: Floats, rng: np.random.Generator) -> Floats:
    """Slices of 4 or 6 mm, mostly axial, and linear between them as the library reads them."""
    axis = int(rng.choice(3, p=[0.6, 0.2, 0.2]))
    n, k = image.shape[axis], int(rng.integers(2, THICKEST + 1))
    means = block_means(image, [k if a == axis else 1 for a in range(3)])
    weights = interpolation_matrix(means.shape[axis], n)
    return np.moveaxis(np.tensordot(weights, means, (1, axis)), 0, axis)


def _cut(layers: Floats, rng: np.random.Generator) -> Floats:
    """A smaller field of view: below often, elsewhere now and then."""

    def at_end(axis: int, share: float, last: bool) -> None:
        nonlocal layers
        n = layers.shape[axis]
        gone = min(int(share * n), n - 8)
        kept = slice(0, n - gone) if last else slice(gone, n)
        layers = layers[tuple(kept if a == axis else slice(None) for a in range(4))]

    if rng.random() < 0.35:
        at_end(1, 0.4 * rng.random(), last=False)
    if rng.random() < 0.15:
        at_end(1, 0.2 * rng.random(), last=True)
    for axis in (2, 3):
        if rng.random() < 0.1:
            at_end(axis, 0.12 * rng.random(), last=bool(rng.random() < 0.5))
    return layers


def _moved(layers: Floats, rng: np.random.Generator) -> Floats:
    """(3,D,H,W) of 2 mm -> (3,64,80,72) of 3 mm, turned, scaled, mirrored, around the head."""
    a, b, c = np.deg2rad(rng.uniform(-DEGREES, DEGREES, 3))
    about = [
        np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]),
        np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]),
        np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]),
    ]
    scales = np.exp(rng.uniform(-SCALING, SCALING) + rng.uniform(-0.04, 0.04, 3))
    turn = about[0] @ about[1] @ about[2] @ np.diag(scales * [1, 1, rng.choice([-1, 1])])
    sizes = np.array(layers.shape[1:])
    where = [np.flatnonzero(layers[2].max(axis=o) > 0.5) for o in ((1, 2), (0, 2), (0, 1))]
    if all(map(len, where)):
        middle = np.array([(w[0] + w[-1]) / 2 for w in where])
    else:
        middle = (sizes - 1) / 2
    top = where[0][-1] if len(where[0]) else sizes[0] - 1
    reach = SHAPE[0] * EDGE_MM / FINE_MM / 2
    middle[0] = max(middle[0], top - reach + 6)  # of a long head mostly the upper part
    if rng.random() < LOWER:
        middle[0] = rng.uniform(where[0][0] if len(where[0]) else 0, middle[0])
    middle = middle + rng.uniform(-SHIFT_MM, SHIFT_MM, 3) / FINE_MM
    matrix = np.diag(2 / sizes) @ turn @ np.diag(np.array(SHAPE) * EDGE_MM / FINE_MM / 2)
    shift = 2 * (middle - (sizes - 1) / 2) / sizes
    theta = np.concatenate([matrix[::-1, ::-1], shift[::-1, None]], axis=1)  # x, y, z
    grid = F.affine_grid(torch.from_numpy(theta[None].astype(np.float32)), [1, 3, *SHAPE], False)
    x = torch.from_numpy(np.ascontiguousarray(layers))[None]
    return F.grid_sample(x, grid, "bilinear", "zeros", False)[0].numpy()


def _lit(image: Floats, rng: np.random.Generator) -> Floats:
    """With an uneven coil, another curve of brightness, and Rician noise."""
    y = image / 1000
    for axis, n in enumerate(y.shape):
        place = np.linspace(-1, 1, n, dtype=np.float32)
        bias = np.exp(rng.normal(0, BIAS) * place + rng.normal(0, BIAS) * place**2)
        y = y * bias.reshape([-1 if a == axis else 1 for a in range(3)]).astype(np.float32)
    y = y ** np.float32(np.exp(rng.normal(0, GAMMA)))
    sigma = np.float32(rng.choice([0.0, rng.uniform(0, MOST_NOISE)]))
    real, imaginary = sigma * rng.standard_normal((2, *y.shape), np.float32)
    lit: Floats = np.hypot(y + real, imaginary)
    return lit
