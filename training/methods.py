"""The catalogue of training methods: name in a recipe -> class, imported when it is asked for.

To add one: a class that inherits from ``ContrastMethod`` or ``CineMethod`` of ``method.py``, one
line below, a recipe in ``recipes/``, and a test that it learns.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.method import TrainingMethod

METHODS = {
    "cravim": "training.cravim.method:CRAViMTraining",
    "cravim-heads": "training.cravim.heads:CRAViMHeads",
    "cycle-denoise": "training.baselines.cycle_denoise:CycleDenoise",
    "cyclegan": "training.baselines.cyclegan:CycleGAN",
    "attentiongan": "training.baselines.attentiongan:AttentionGAN",
    "reggan": "training.baselines.reggan:RegGAN",
    "syndiff": "training.baselines.syndiff:SynDiff",
    "pix2pix": "training.baselines.pix2pix:Pix2Pix",
    "mstg": "training.mstg.method:MSTGTraining",
    "voxelmorph": "training.cine.voxelmorph:VoxelMorphTraining",
    "r2net": "training.cine.r2net:R2NetTraining",
    "cgan": "training.cine.cgan:CGANTraining",
    "ukan": "training.cine.ukan:UKANTraining",
}


def method_class(name: str) -> type[TrainingMethod]:
    """The class of a method. Raises ValueError with the nearest known name."""
    if name not in METHODS:
        near = get_close_matches(str(name), METHODS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"the method {name!r} is none of {', '.join(METHODS)}{hint}")
    module, _, attribute = METHODS[name].partition(":")
    found: type[TrainingMethod] = getattr(importlib.import_module(module), attribute)
    return found
