"""The true tissues of a phantom head, in the few groups that errors are told for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.phantom.tissues import LESION_LABEL, TISSUES
from MambaSynthTraining.data.label_map import LabelMap
from MambaSynthTraining.data.phantom import Labels, anatomy
from MambaSynthTraining.data.phantom_config import PhantomConfig

GROUPS = {
    "white matter": ("white matter", "cerebellar white matter"),
    "cortex": ("cortex", "cerebellar cortex"),
    "deep gray matter": (
        "thalamus", "caudate", "putamen", "accumbens", "pallidum", "hippocampus and amygdala",
    ),
    "fluid": ("cerebrospinal fluid",),
    "lesion": ("lesion",),
}  # fmt: skip
NAMES = dict(enumerate(GROUPS, start=1))
BY_LABEL = {
    label: number
    for number, group in NAMES.items()
    for tissue in TISSUES
    if tissue.name in GROUPS[group]
    for label in tissue.labels
}


def phantom_tissues(
    labels: Labels, affine: NDArray[np.float64], rng: np.random.Generator, config: PhantomConfig
) -> LabelMap:
    """The groups of the person that ``phantom_subject`` makes of the same arguments; its grid."""
    body, affine, *_ = anatomy(labels, affine, rng, config)
    table = np.zeros(max(int(body.max()), LESION_LABEL, *BY_LABEL) + 1, np.float32)
    table[list(BY_LABEL)] = list(BY_LABEL.values())
    return LabelMap(Volume(table[body], affine, "tissues"), NAMES)
