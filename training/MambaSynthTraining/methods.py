"""The catalogue of training methods: name in a recipe -> class, imported when it is asked for.

To add one: a class that inherits from ``ContrastMethod`` or ``CineMethod`` of ``method.py``, one
line below, a recipe in ``recipes/``, and a test that it learns.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from MambaSynthTraining.method import TrainingMethod
    from MambaSynthTraining.recipe import Recipe

METHODS = {
    "cravim": "MambaSynthTraining.contrast.cravim.method:CRAViMTraining",
    "cravim-heads": "MambaSynthTraining.contrast.cravim.heads:CRAViMHeads",
    "cycle-denoise": "MambaSynthTraining.contrast.rivals.cycle_denoise:CycleDenoise",
    "cyclegan": "MambaSynthTraining.contrast.rivals.cyclegan:CycleGAN",
    "attentiongan": "MambaSynthTraining.contrast.rivals.attentiongan:AttentionGAN",
    "reggan": "MambaSynthTraining.contrast.rivals.reggan:RegGAN",
    "syndiff": "MambaSynthTraining.contrast.rivals.syndiff:SynDiff",
    "cut": "MambaSynthTraining.contrast.rivals.cut:CUT",
    "selfrdb": "MambaSynthTraining.contrast.rivals.selfrdb:SelfRDB",
    "pix2pix": "MambaSynthTraining.contrast.rivals.pix2pix:Pix2Pix",
    "mstg": "MambaSynthTraining.cine.mstg.method:MSTGTraining",
    "voxelmorph": "MambaSynthTraining.cine.rivals.voxelmorph:VoxelMorphTraining",
    "uvinet": "MambaSynthTraining.cine.rivals.uvinet:UVINetTraining",
    "r2net": "MambaSynthTraining.cine.rivals.r2net:R2NetTraining",
    "cgan": "MambaSynthTraining.cine.rivals.cgan:CGANTraining",
    "ukan": "MambaSynthTraining.cine.rivals.ukan:UKANTraining",
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


def trains_back(recipe: Recipe) -> bool:
    """Whether some stage of a recipe trains the network of the other direction, too."""
    import torch

    with torch.device("meta"):  # the method says it; nothing is allocated
        method = method_class(recipe.method).build(recipe)
        for stage in recipe.stages:
            method.begin(stage)
            if getattr(method, "trains_back", False):
                return True
    return False
