"""Training slices of phantom subjects, made once and cached."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from MambaSynthLib.errors import FileError
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.phantom import phantom_subject, read_label_map
from MambaSynthTraining.data.phantom_config import PhantomConfig, Phantoms
from MambaSynthTraining.data.slices import SlicePairs, slices_of

EVERY = 2  # slices of a phantom are alike; every second one is kept


def phantom_slices(
    folder: Path, phantoms: Phantoms, grid: GridSpec, intensity: IntensitySpec, cache: Path
) -> SlicePairs:
    """T1w/T2w slices of ``phantoms.subjects`` phantoms from the label maps in ``folder``.

    Subject n is made from the label maps in turn, with seed (phantoms.seed, n), and kept as
    ``cache/phantom-*.npz``.

    Raises
    ------
    FileError: the folder holds no label map.
    """
    maps = sorted(folder.glob("*.nii*"))
    if not maps:
        raise FileError(f"{folder}: holds no label map (*.nii, *.nii.gz); name another folder.")
    cache.mkdir(parents=True, exist_ok=True)
    slices = SlicePairs([], [])
    for n in range(phantoms.subjects):
        stored = cache / f"phantom-{phantoms.seed}-{n:03d}.npz"
        if not stored.exists():
            skull = n % 10 < round(10 * phantoms.skull)
            _make(maps[n % len(maps)], skull, (phantoms.seed, n), grid, intensity, stored)
        with np.load(stored) as arrays:
            slices += SlicePairs(list(arrays["a"]), list(arrays["b"]))
    return slices


def _make(
    label_map: Path,
    skull: bool,
    seed: tuple[int, int],
    grid: GridSpec,
    intensity: IntensitySpec,
    stored: Path,
) -> None:
    labels, affine = read_label_map(label_map)
    volumes = phantom_subject(
        labels, affine, np.random.default_rng(seed), ("T1w", "T2w"), PhantomConfig(skull=skull)
    )
    pairs = slices_of(volumes["T1w"], volumes["T2w"], grid, intensity)
    temporary = stored.with_suffix(".part.npz")
    np.savez(temporary, a=np.stack(pairs.a[::EVERY]), b=np.stack(pairs.b[::EVERY]))
    os.replace(temporary, stored)
