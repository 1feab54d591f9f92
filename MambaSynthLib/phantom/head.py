"""A head whose T1w and T2w images are known exactly, computed by the signal equations.

    fractions of tissues --table--> T1, T2, rho --equation--> signal, weighted by the fractions
    T1w: x bias field, + Rician noise, as from a scanner.  T2w: as the equation gives it.

The tissue of a voxel that several share adds its own signal (partial volume). Within the brain,
T1 and T2 vary smoothly with the water content, the same way in both images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.volume import Volume, spacing
from MambaSynthLib.phantom.anatomy import Field, head_around
from MambaSynthLib.phantom.random_field import rician, smooth_field
from MambaSynthLib.phantom.signal_equations import Protocol, mprage, spin_echo
from MambaSynthLib.phantom.tissues import INDEX, TISSUES, mean_properties

FIELD_TESLA = 3.0
PROTOCOLS = {
    "T1w": Protocol(
        mprage,
        {"tr": 2300, "ti": 950, "te": 3, "flip": 8, "echo_spacing": 7, "echoes": 176},
    ),
    "T2w": Protocol(spin_echo, {"tr": 5000, "te": 100}),
}
WATER = 0.04  # relative, of T1 and T2 within a tissue of the brain
BIAS, NOISE = 0.04, 0.02  # of the T1w image; noise relative to the brain's mean


def computed_head(
    gray: Field, white: Field, affine: NDArray[np.float64], seed: int = 0
) -> dict[str, Volume]:
    """T1w and T2w of one head around the brain of ``gray`` and ``white`` (I,J,K), as fractions.

    The brain's mean is 1000 in both. The same seed gives the same head to the last bit.
    """
    anatomy, water, scanner = np.random.default_rng(seed).spawn(3)
    fractions = head_around(gray, white, affine, anatomy)
    voxel = spacing(affine)
    content = WATER * (
        0.7 * smooth_field(gray.shape, voxel, 25, water)
        + 0.7 * smooth_field(gray.shape, voxel, 4, water)
    )
    brain = gray + white > 0.5
    images = {c: _signal(protocol, fractions, content) for c, protocol in PROTOCOLS.items()}
    for image in images.values():
        image *= 1000 / image[brain].mean()
    images["T1w"] *= np.exp(BIAS * smooth_field(gray.shape, voxel, 70, scanner))
    images["T1w"] = rician(images["T1w"], 1000 * NOISE, scanner)
    return {c: Volume(image, affine, name=f"computed {c}") for c, image in images.items()}


def _signal(protocol: Protocol, fractions: dict[str, Field], content: Field) -> Field:
    """(I,J,K) the sum over tissues of fraction times signal."""
    table = mean_properties(FIELD_TESLA)
    image = np.zeros_like(content)
    for tissue, fraction in fractions.items():
        t1, t2, density = table[INDEX[tissue]]
        there = (fraction > 0) & (density > 0)
        uneven = 1 + TISSUES[INDEX[tissue]].texture * content[there]
        signal = protocol.signal(t1 * uneven, t2 * uneven, np.full_like(uneven, density))
        image[there] += fraction[there] * signal
    return image
