"""CUT: one generator, held to its source by contrasting patches (Park et al., ECCV 2020).

| symbol   | code               | shape     | meaning                                              |
|----------|--------------------|-----------|------------------------------------------------------|
| x, y     | ``source, target`` | (B,1,H,W) | acquired images in [-1,1], from any two subjects     |
| G        | ``source_to_target`` |         | encoder (the trunk's layers) and decoder             |
| D        | ``of_target``      |           | of images                                            |
| H_l      | ``heads``          |           | two linear layers for each of L layers of the trunk  |
| z_l^s    | ``keys``           | (B,S,F)   | H_l of S places of layer l of x, of length 1         |
| z^_l^s   | ``queries``        | (B,S,F)   | the same places of G(x)                              |
| tau      | ``temperature``    |           | of the softmax                                       |

    L = L_GAN(G, D) + lambda_x L_NCE(G, H, x) + lambda_y L_NCE(G, H, y)              (Eq. 5)

Each patch of G(x) must be recognized among S patches of x as the one of its own place. Nothing is
translated back, so there is one direction. As in the published program the keys carry no gradient;
its blurred halvings are left out: the generator is CycleGAN's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from MambaSynthTraining.contrast.rivals.adversarial import (
    least_squares_discriminator,
    least_squares_generator,
)
from MambaSynthTraining.contrast.rivals.baseline import Baseline, weighted_phase
from MambaSynthTraining.contrast.rivals.cyclegan import PUBLISHED_ADAM, Sizes
from MambaSynthTraining.contrast.rivals.discriminators import PatchGAN
from MambaSynthTraining.contrast.rivals.generators import ResNetGenerator
from MambaSynthTraining.data.slices import SliceBatch
from MambaSynthTraining.method import Phase
from MambaSynthTraining.recipe import Optimization

BEFORE_BLOCKS = 7  # layers of the trunk: padding, and three convolutions with their norms
Features = list[Tensor]


@dataclass(frozen=True)
class Weights:
    """Sec. 3 and App. C.1: CUT has 1 and 1 (and their mean in the program), FastCUT 10 and 0."""

    lambda_adv: float = 1.0
    lambda_source: float = 0.5
    lambda_target: float = 0.5


@dataclass(frozen=True)
class Options:
    """App. C.1."""

    patches: int = 256  # S, places of each layer
    features: int = 256  # F, of each head
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if self.patches < 2 or self.features < 1 or self.temperature <= 0:
            raise ValueError(
                f"options: {self.patches} patches, {self.features} features and the temperature "
                f"{self.temperature} contrast nothing; give at least 2, 1 and more than 0"
            )


class PatchHeads(nn.Module):
    """H_l: (B,C_l,h,w) -> (B,S,F) of the given places, each vector of length 1."""

    def __init__(self, channels: list[int], features: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(c, features), nn.ReLU(), nn.Linear(features, features))
            for c in channels
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0.0, 0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Features, places: Features) -> Features:
        return [
            F.normalize(head(x.flatten(2)[:, :, where].transpose(1, 2)), dim=2)  # (B,S,F)
            for head, x, where in zip(self.layers, features, places, strict=True)
        ]


def patch_loss(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Eq. 3, one layer: cross-entropy of place s of G(x) against all S places of x, own first."""
    scores = torch.einsum("bsf,bkf->bsk", queries, keys.detach()) / temperature
    own = torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
    return F.cross_entropy(scores.flatten(0, 1), own.flatten())


class CUT(Baseline):
    """Phases: discriminators, generators, in the published order."""

    parts = Sizes, Weights, Options
    groups = {"generators": ("source_to_target", "heads"), "discriminators": ("of_target",)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"epochs": True, "optimization": PUBLISHED_ADAM},
        "fast": {
            "epochs": True,
            "optimization": PUBLISHED_ADAM,
            "weights": {"lambda_source": 10.0, "lambda_target": 0.0},
        },
    }

    def __init__(
        self, sizes: Sizes, weights: Weights, options: Options, optimization: Optimization
    ) -> None:
        self.weights, self.options, self.optimization = weights, options, optimization
        w = sizes.width
        # Sec. 3: the pixels, both halvings, the first and the middle residual block
        self.layers = (0, 3, 5, BEFORE_BLOCKS, BEFORE_BLOCKS + sizes.blocks // 2)
        self.networks = nn.ModuleDict(
            {
                "source_to_target": ResNetGenerator(width=w, blocks=sizes.blocks),
                "heads": PatchHeads([1, 2 * w, 4 * w, 4 * w, 4 * w], options.features),
                "of_target": PatchGAN(1, sizes.discriminator_width),
            }
        )

    def iteration(self, batch: SliceBatch, generator: Generator) -> Iterator[Phase]:
        source, target = batch
        n, w = self.networks, self.weights
        synthetic = n["source_to_target"](source)
        loss = least_squares_discriminator(
            n["of_target"](synthetic.detach()), n["of_target"](target)
        )
        yield weighted_phase("discriminators", of_target=(0.5, loss))
        terms = {"nce_source": (w.lambda_source, self._nce(source, synthetic, generator))}
        if w.lambda_target:
            same = n["source_to_target"](target)
            terms["nce_target"] = (w.lambda_target, self._nce(target, same, generator))
        adversarial = least_squares_generator(n["of_target"](synthetic))
        yield weighted_phase("generators", adv=(w.lambda_adv, adversarial), **terms)

    def _nce(self, source: Tensor, synthetic: Tensor, generator: Generator) -> Tensor:
        """Eq. 4: the mean over the layers, at the same random places of both images."""
        keys, queries = self._encoded(source), self._encoded(synthetic)
        most = self.options.patches
        places = [
            torch.randperm(x[0, 0].numel(), generator=generator)[:most].to(x.device) for x in keys
        ]
        heads, t = self.networks["heads"], self.options.temperature
        pairs = zip(heads(queries, places), heads(keys, places), strict=True)
        return torch.stack([patch_loss(query, key, t) for query, key in pairs]).mean()

    def _encoded(self, images: Tensor) -> Features:
        """The chosen layers of the generator's first half, of images (B,1,H,W)."""
        found, x = [], images
        generator = self.networks["source_to_target"]
        assert isinstance(generator, ResNetGenerator)
        for n, layer in enumerate(generator.trunk):
            x = layer(x)
            if n in self.layers:
                found.append(x)
            if n == self.layers[-1]:
                break
        return found
