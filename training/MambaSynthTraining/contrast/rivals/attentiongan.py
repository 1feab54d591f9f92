"""AttentionGAN: CycleGAN with generators that keep what they do not attend to.

Tang et al., IEEE TNNLS 2021. Losses, discriminators and pools are CycleGAN's (``cyclegan.py``, with
its notation); the generator is ``AttentionGenerator``: sum_i c_i a_i + x a_A. The published code
trains 60 epochs in batches of 4 without decay; it has no further difference in its losses. Row
"AttGAN, cycle" of CRAViM's Table 2 is this method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from MambaSynthTraining.contrast.rivals import cyclegan
from MambaSynthTraining.contrast.rivals.cyclegan import PUBLISHED_ADAM, CycleGAN, Options, Weights
from MambaSynthTraining.contrast.rivals.generators import AttentionGenerator


@dataclass(frozen=True)
class Sizes(cyclegan.Sizes):
    """Of one generator (11,760,211 parameters) and one discriminator (2,762,689)."""

    n_attentions: int = 10

    def new_generator(self) -> nn.Module:
        return AttentionGenerator(1, self.width, self.blocks, self.n_attentions)


class AttentionGAN(CycleGAN):
    """Phases: generators, discriminators."""

    parts = Sizes, Weights, Options
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"epochs": True, "optimization": {**PUBLISHED_ADAM, "decay": "constant"}}
    }
