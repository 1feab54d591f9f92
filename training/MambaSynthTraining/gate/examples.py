"""What the gate learns from: a coarse volume, and what is true of it.

Label maps become phantoms in every contrast of the signal equations, whole and stripped, and CT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.gate.look import Coarse, coarsened
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.phantom.signal_equations import CONTRASTS
from MambaSynthLib.phantom.tissues import TISSUES, tissue_indices
from MambaSynthTraining.data.phantom import phantom_subject, read_label_map
from MambaSynthTraining.data.phantom_config import PhantomConfig
from MambaSynthTraining.gate.listed import Row, file_of, volumes_of
from MambaSynthTraining.gate.made_up import made_up_heads

EVERY = 2  # voxels of a label map: phantoms of 2 mm are as fine as the gate sees
HOUNSFIELD = {"air": -1000, "fat": -90, "compact bone": 1100, "marrow": 300, "skin": 20,
              "cerebrospinal fluid": 8, "vitreous": 8, "muscle": 55, "artery": 45, "vein": 50,
              "white matter": 28, "cortex": 38}  # fmt: skip
USUAL_HU = 35.0  # of all other tissues
CT_NOISE = 12.0


@dataclass(frozen=True)
class Example:
    """``truth``: question of ``gate/questions.py`` -> the right answer; others are not asked."""

    coarse: Coarse
    truth: dict[str, str]
    real: bool = field(default=True)  # acquired, not computed


def examples_of(row: Row, folders: Sequence[Path], seed: int, people: int) -> Iterator[Example]:
    """The volumes of a line; of a label map, ``people`` whole and as many stripped phantoms."""
    if row.anatomy == "labels":
        for volume, truth in phantoms_of(file_of(row, folders), seed, people):
            yield Example(coarsened(volume), truth, real=False)
        return
    truth = {"kind": "MR", "anatomy": row.anatomy}
    if row.contrast != "-":
        truth["contrast"] = row.contrast
    for volume in volumes_of(row, folders):
        yield Example(coarsened(volume), truth)


def made_up_examples(count: int, seed: int) -> list[Example]:
    """Those of ``count`` heads of nobody."""
    return [Example(coarsened(v), truth, real=False) for v, truth in made_up_heads(count, seed)]


def phantoms_of(path: Path, seed: int, people: int) -> Iterator[tuple[Volume, dict[str, str]]]:
    """Phantoms of a label map with what is true of them, and its CT."""
    labels, affine = read_label_map(path)
    labels, affine = labels[::EVERY, ::EVERY, ::EVERY], affine @ np.diag([*[EVERY] * 3, 1.0])
    for number in range(2 * people):
        whole = number % 2 == 0
        rng = np.random.default_rng((seed, number))
        found = phantom_subject(labels, affine, rng, CONTRASTS, PhantomConfig(skull=whole))
        for contrast, volume in found.items():
            anatomy = "head" if whole else "brain"
            yield volume, {"kind": "MR", "anatomy": anatomy, "contrast": contrast}
    yield ct_of(labels, affine, np.random.default_rng(seed)), {"kind": "CT"}


def ct_of(
    labels: NDArray[np.integer], affine: NDArray[np.float64], rng: np.random.Generator
) -> Volume:
    """CT of a label map in Hounsfield units, as dense as tables say tissues are, with noise."""
    table = np.array([HOUNSFIELD.get(tissue.name, USUAL_HU) for tissue in TISSUES])
    density = table[tissue_indices(labels)]
    noise = CT_NOISE * rng.standard_normal(labels.shape)
    return Volume(np.maximum(density + noise, -1000), affine, "CT")
