"""A prepared data set of small made-up heads, and small runs on it, for the tests of scoring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.prepared import PreparedData
from MambaSynthTraining.data.prepared_writing import write_dataset, write_subject

GRID = GridSpec("LPS", None, (32, 32))
INTENSITY = IntensitySpec("percentile", 99.5, (0.0, 1000.0))
AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])
SPLITS = {"train": ["p1", "p2"], "validation": ["p3"], "test": ["p4", "p5", "p6"]}


def head(seed: int) -> tuple[Volume, Volume]:
    """T1w and T2w, 34 x 32 x 6 voxels; the T2w is nearly the inverted T1w."""
    rng = np.random.default_rng(seed)
    shape = (34, 32, 6)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    brain = (i / 0.8) ** 2 + (j / 0.85) ** 2 + (k / 1.1) ** 2 < 1
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), (1.5, 1.5, 0.5))
    source = np.where(brain, 55 + 25 * texture / texture.std(), 0).clip(0)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 1)
    target = np.where(brain, 115 - source + 20 * noise, 0).clip(0)
    return Volume(source, AFFINE, "T1w"), Volume(target, AFFINE, "T2w")


def write_tiny_data(folder: Path, splits: dict[str, list[str]] = SPLITS) -> PreparedData:
    """Subject 'p4' is ``head(4)``."""
    for subject in [name for names in splits.values() for name in names]:
        source, target = head(int(subject[1:]))
        preparation = prepare(source, GRID, INTENSITY)
        stacks = {"T1w": preparation.stack(), "T2w": preparation.stack_of(target)}
        volumes = {"T1w": source, "T2w": target}
        places = {contrast: list(range(preparation.count)) for contrast in stacks}
        write_subject(folder, subject, stacks, volumes, {"paired": True, "slices": places})
    return write_dataset(folder, "tiny heads", ("T1w", "T2w"), GRID, INTENSITY, {}, splits)


CRAVIM = """
method: cravim
preset: released-code
seed: 3
network: {ngf: 4, n_blocks: 1, n_attentions: 3}
options: {discriminator_width: 4}
optimization: {ema: 0.5}
stages: [{iterations: 2, batch: 1, crop: [64, 64]}]
"""


def train(recipe: Path, data: Path, out: Path) -> Path:
    """``mambasynth train``, on the CPU."""
    from MambaSynthLib.cli import main

    code = main(["train", str(recipe), "--data", str(data), "--out", str(out),
                 "--accelerator", "cpu"])  # fmt: skip
    assert code == 0
    return out
