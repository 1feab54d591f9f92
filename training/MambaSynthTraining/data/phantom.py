"""Phantom heads: exactly registered contrasts of one person, computed from a label map.

    labels --flip, affine, elastic--> labels' --lesions, fat--> tissues --table--> T1, T2, rho maps
    --signal equation--> point spread --> x bias field --> Rician noise --> (skull stripping)

| symbol  | code          | shape   | meaning                                                   |
|---------|---------------|---------|-----------------------------------------------------------|
| L       | ``labels``    | (I,J,K) | FreeSurfer-like labels, see phantom/tissues.py            |
| -       | ``tissues``   | (I,J,K) | row of the tissue table per voxel                         |
| T1..rho | ``maps``      | 3 x (I,J,K) | T1, T2 in ms and proton density, shared by all contrasts |
| b       | bias          | (I,J,K) | exp of a smooth field, its own for each contrast          |

Geometry, lesions, tissue properties and point spread are drawn once per subject and shared; the
protocol, bias and noise are drawn per contrast. Each contrast has its own stream of random
numbers, so asking for one more contrast does not change the others. Partial volume is simulated
cheaply: the signal of pure voxels is blurred by a Gaussian, the same for all contrasts.

    mambasynth dataset phantom --labels FOLDER --subjects 20 --seed 1 --out OUT
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MambaSynthLib.errors import RequestError, VolumeError
from MambaSynthLib.image.volume import Volume, spacing
from MambaSynthLib.io.files import read_volume
from MambaSynthLib.phantom.random_field import rician, smooth_field
from MambaSynthLib.phantom.signal_equations import CONTRASTS, Protocol, draw_protocol
from MambaSynthLib.phantom.tissues import (
    BRAIN_LABELS,
    FIELDS_TESLA,
    INDEX,
    TISSUES,
    draw_properties,
    tissue_indices,
)
from MambaSynthTraining.data.phantom_anatomy import add_fat, add_lesions, brain_mask, warp
from MambaSynthTraining.data.phantom_config import PhantomConfig

Labels = NDArray[np.integer]
Maps = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


DEFAULT_CONFIG = PhantomConfig()


def phantom_subject(
    labels: Labels,
    affine: NDArray[np.float64],
    rng: np.random.Generator,
    contrasts: Sequence[str] = ("T1w", "T2w"),
    config: PhantomConfig = DEFAULT_CONFIG,
) -> dict[str, Volume]:
    """One random person seen in several contrasts, all on one grid.

    Parameters
    ----------
    labels: (I,J,K) integers, see ``tissues.py``; ``affine`` (4,4) maps voxels to RAS mm.
    rng: a generator made from a seed; the same seed gives the same person.
    contrasts: among T1w, T2w, PDw, FLAIR.

    Returns
    -------
    contrast -> Volume in arbitrary units, scaled so that the brain's mean is about 1000. The
    grid is the label map's, cropped to the head (or brain), with the origin shifted accordingly.

    Raises
    ------
    RequestError: an unknown contrast or field strength.
    VolumeError: a label without a tissue, or no brain at all in the label map.
    """
    _check_request(contrasts, config)
    labels, affine, body_rng, *contrast_rngs = anatomy(labels, affine, rng, config)
    voxel = spacing(affine)
    field_tesla = config.field_tesla or float(body_rng.choice(FIELDS_TESLA))
    properties = draw_properties(field_tesla, body_rng)
    maps = _property_maps(labels, voxel, properties, config.texture, body_rng)
    sigma = body_rng.uniform(*config.blur_mm) / voxel
    brain = np.isin(labels, BRAIN_LABELS)
    keep = None if config.skull else brain_mask(labels, brain, voxel, config.fluid_margin_mm)
    fluid_t1 = properties[INDEX["cerebrospinal fluid"], 0]

    volumes = {}
    for contrast in contrasts:
        stream = contrast_rngs[CONTRASTS.index(contrast)]
        protocol = draw_protocol(contrast, field_tesla, fluid_t1, stream)
        image = _scan(protocol, maps, sigma, brain, voxel, config, stream)
        if keep is not None:
            image *= keep
        volumes[contrast] = Volume(image, affine, name=f"phantom {contrast}")
    return volumes


def anatomy(
    labels: Labels, affine: NDArray[np.float64], rng: np.random.Generator, config: PhantomConfig
) -> tuple[Any, ...]:
    """The person's own labels and their affine; then the generators of what follows: the body, and
    each of ``CONTRASTS``.

    Raises VolumeError: there is no brain in the label map.
    """
    shape_rng, *others = rng.spawn(2 + len(CONTRASTS))
    labels, affine = _crop(labels, affine, config)
    voxel = spacing(affine)
    left_right = int(np.argmax(np.abs(affine[0, :3]) / voxel))
    labels = warp(labels, voxel, left_right, config, shape_rng)
    if config.lesions and shape_rng.random() < 2 / 3:
        labels = add_lesions(labels, voxel, shape_rng)
    return labels, affine, *others


def _check_request(contrasts: Sequence[str], config: PhantomConfig) -> None:
    unknown = [contrast for contrast in contrasts if contrast not in CONTRASTS]
    if unknown or not contrasts:
        raise RequestError(
            f"phantom: cannot show the contrasts {unknown}; choose among {', '.join(CONTRASTS)}."
        )
    if config.field_tesla not in (None, *FIELDS_TESLA):
        raise RequestError(
            f"phantom: has no tissue table for {config.field_tesla} T; choose 1.5 or 3."
        )


def _crop(
    labels: Labels, affine: NDArray[np.float64], config: PhantomConfig
) -> tuple[Labels, NDArray[np.float64]]:
    """The box around the head (or brain) plus a margin for the deformation; same patient space."""
    wanted = np.isin(labels, BRAIN_LABELS)
    if not wanted.any():
        raise VolumeError(
            "label map: holds no brain label such as 2 or 41 (white matter); "
            "use a FreeSurfer-like whole-head label map."
        )
    wanted = labels > 0 if config.skull else wanted
    # a rotation by 8 degrees moves the poles of a brain by about 12 mm
    margin = np.ceil((2 if config.skull else 12) / spacing(affine)).astype(int)
    inside = [np.flatnonzero(wanted.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    start = np.array([max(0, where[0] - m) for where, m in zip(inside, margin, strict=True)])
    stop = [where[-1] + m + 1 for where, m in zip(inside, margin, strict=True)]
    box = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))
    shifted = np.array(affine, dtype=np.float64)
    shifted[:3, 3] += shifted[:3, :3] @ start
    return np.ascontiguousarray(labels[box]), shifted


def _property_maps(
    labels: Labels,
    voxel: NDArray[np.float64],
    properties: NDArray[np.float64],
    texture: float,
    rng: np.random.Generator,
) -> Maps:
    """T1, T2 and rho per voxel: the tissue's values, modulated by a smooth water content."""
    tissues = add_fat(tissue_indices(labels), labels, voxel, rng)
    coarse, fine, iron = (smooth_field(labels.shape, voxel, mm, rng) for mm in (25, 4, 8))
    amplitude = np.array([texture * tissue.texture for tissue in TISSUES], dtype=np.float32)
    water = amplitude[tissues] * (0.7 * coarse + 0.7 * fine)
    table = properties.astype(np.float32)
    t1, t2, pd = (table[tissues, column] for column in range(3))
    return t1 * (1 + water), t2 * (1 + water - 0.5 * texture * iron), pd * (1 + 0.3 * water)


def _scan(
    protocol: Protocol,
    maps: Maps,
    sigma: NDArray[np.float64],
    brain: NDArray[np.bool_],
    voxel: NDArray[np.float64],
    config: PhantomConfig,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """One contrast as the scanner would store it, float32; the brain's mean is about 1000."""
    signal = np.zeros(brain.shape, dtype=np.float32)
    matter = maps[2] > 0
    signal[matter] = protocol.signal(*(values[matter] for values in maps))
    signal = ndimage.gaussian_filter(signal, sigma)  # blurred signal stands in for partial volume
    signal *= 1000 / signal[brain].mean()
    log_bias = config.bias * rng.uniform(0.2, 1) * smooth_field(brain.shape, voxel, 70, rng)
    signal *= np.exp(log_bias)
    return rician(signal, 1000 * config.noise * rng.uniform(0.2, 1), rng)


def read_label_map(path: str | Path) -> tuple[Labels, NDArray[np.float64]]:
    """(I,J,K) int16 labels and the (4,4) affine, voxel -> RAS mm, of a label map.

    Raises
    ------
    FileError: the file cannot be read as one 3-D volume without guessing.
    VolumeError: its values are no whole numbers of 16 bits.
    """
    volume = read_volume(path)
    labels = np.rint(np.clip(volume.array, -(2**15), 2**15 - 1)).astype(np.int16)
    wrong = labels != volume.array
    if wrong.any():
        raise VolumeError(
            f"{path}: holds {volume.array[wrong][0]:g}, but a label map has whole numbers of 16 "
            "bits; give a label map, not an image."
        )
    return labels, volume.affine
