"""The catalogue of training methods: name in a recipe -> class and card, imported when asked for.

To add one: a class that inherits from ``ContrastMethod`` or ``CineMethod`` of ``method.py``, one
line below, a recipe in ``recipes/``, and a test that it learns. Where the library can run the
network that it trains, the line also names the module that makes the model card of a run, with
``parts``, ``scores``, ``parity`` and ``readme``.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from MambaSynthTraining.method import TrainingMethod
    from MambaSynthTraining.recipe import Recipe


class Entry(NamedTuple):
    """Where a method is."""

    place: str  # module:class
    card: str = ""  # module of its model cards; '': the library has no such network


METHODS = {
    "cravim": Entry(
        "MambaSynthTraining.contrast.cravim.method:CRAViMTraining",
        "MambaSynthTraining.contrast.cravim.card",
    ),
    "cravim-heads": Entry(
        "MambaSynthTraining.contrast.cravim.heads:CRAViMHeads",
        "MambaSynthTraining.contrast.cravim.head_card",
    ),
    "cycle-denoise": Entry("MambaSynthTraining.contrast.rivals.cycle_denoise:CycleDenoise"),
    "cyclegan": Entry("MambaSynthTraining.contrast.rivals.cyclegan:CycleGAN"),
    "attentiongan": Entry("MambaSynthTraining.contrast.rivals.attentiongan:AttentionGAN"),
    "reggan": Entry("MambaSynthTraining.contrast.rivals.reggan:RegGAN"),
    "syndiff": Entry("MambaSynthTraining.contrast.rivals.syndiff:SynDiff"),
    "cut": Entry("MambaSynthTraining.contrast.rivals.cut:CUT"),
    "selfrdb": Entry("MambaSynthTraining.contrast.rivals.selfrdb:SelfRDB"),
    "pix2pix": Entry("MambaSynthTraining.contrast.rivals.pix2pix:Pix2Pix"),
    "mstg": Entry(
        "MambaSynthTraining.cine.mstg.method:MSTGTraining", "MambaSynthTraining.cine.mstg.card"
    ),
    "voxelmorph": Entry("MambaSynthTraining.cine.rivals.voxelmorph:VoxelMorphTraining"),
    "uvinet": Entry("MambaSynthTraining.cine.rivals.uvinet:UVINetTraining"),
    "r2net": Entry("MambaSynthTraining.cine.rivals.r2net:R2NetTraining"),
    "cgan": Entry("MambaSynthTraining.cine.rivals.cgan:CGANTraining"),
    "ukan": Entry("MambaSynthTraining.cine.rivals.ukan:UKANTraining"),
}


OTHER_CARDS = {"maskunet": "MambaSynthTraining.mask.card"}  # trained by commands of their own


def method_class(name: str) -> type[TrainingMethod]:
    """The class of a method. Raises ValueError with the nearest known name."""
    if name not in METHODS:
        near = get_close_matches(str(name), METHODS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"the method {name!r} is none of {', '.join(METHODS)}{hint}")
    module, _, attribute = METHODS[name].place.partition(":")
    found: type[TrainingMethod] = getattr(importlib.import_module(module), attribute)
    return found


def card_module(name: str) -> ModuleType | None:
    """The module of a method's model cards; None where the library cannot run its network."""
    place = METHODS[name].card if name in METHODS else OTHER_CARDS.get(name, "")
    return importlib.import_module(place) if place else None


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
