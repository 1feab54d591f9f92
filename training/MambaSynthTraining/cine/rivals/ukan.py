"""U-KAN diffusion (Li et al., AAAI 2025), conditioned: slices of a frame denoised, given ED and ES.

A 2-D DDPM U-Net whose two deepest levels are tokens in KAN layers. The published one is
unconditional; the condition by channels (x_t, ED, ES, gamma) is our reading, and so is that the
network estimates the clean slice instead of the noise: after minutes of training the latter gives
nothing but noise. Slices are denoised each by itself. Published widths: 64 x (1, 2, 3, 4), then 320
and 512 tokens; ours scale with ``width``. T = 1000, beta linear 1e-4 to 0.02; frames are sampled by
DDIM (Song et al., ICLR 2021) in five steps from one fixed noise, so that frames do not flicker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import AdamW, Optimizer

from MambaSynthLib.methods.mstg.blocks import StepEmbedding
from MambaSynthLib.model.settings import refuse_entries, settings
from MambaSynthTraining.cine.rivals.conditions import conditions
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, TorchFrames
from MambaSynthTraining.cine.rivals.kan import KANBlock
from MambaSynthTraining.data.beats import BeatBatch
from MambaSynthTraining.method import CineMethod, Phase
from MambaSynthTraining.recipe import Optimization, Recipe

STEPS = 1000
BETAS = (1e-4, 0.02)
SAMPLING_STEPS = 5
MULTIPLES = (1, 2, 3, 4)
TOKENS = (5, 8)  # 320 and 512 at width 64
WEIGHT_DECAY = 1e-4
SLICES = 8  # of each volume per iteration
GROUPS = 8


class UKAN(nn.Module):
    """x_t, ED, ES, gamma map (B,4,H,W) and t (B,) -> x_0 (B,1,H,W). H, W multiples of 32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * m for m in MULTIPLES]
        self.embedding = StepEmbedding(width)
        self.stem = nn.Conv2d(4, width, 3, padding=1)
        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        for before, now in zip([width, *widths], widths, strict=False):
            self.encoder.append(ResidualBlock(before, now, width))
            self.down.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
        self.down[-1] = nn.Identity()
        tokens = [width * m for m in TOKENS]
        self.embed = nn.ModuleList(
            nn.Conv2d(before, now, 3, stride=2, padding=1)
            for before, now in zip([widths[-1], tokens[0]], tokens, strict=True)
        )
        self.kan = nn.ModuleList(KANBlock(t) for t in (*tokens, tokens[0], widths[-1]))
        self.widen = nn.ModuleList(
            [nn.Conv2d(tokens[1], tokens[0], 3, padding=1),
             nn.Conv2d(tokens[0], widths[-1], 3, padding=1)]
        )  # fmt: skip
        self.decoder = nn.ModuleList()
        for now, after in zip(widths[::-1], [*widths[-2::-1], width], strict=True):
            self.decoder.append(ResidualBlock(2 * now, after, width))
        self.head = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1)
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedded, skips = self.embedding(t), []
        x = self.stem(x)
        for block, down in zip(self.encoder, self.down, strict=True):
            x = block(x, embedded)
            skips.append(x)
            x = down(x)
        first = self.kan[0](self.embed[0](x))
        second = self.kan[1](self.embed[1](first))
        y = self.kan[2](_double(self.widen[0](second)) + first)
        x = self.kan[3](_double(self.widen[1](y)) + x)
        for level, block in enumerate(self.decoder):
            x = block(torch.cat([x if level == 0 else _double(x), skips.pop()], dim=1), embedded)
        return self.head(x)


class ResidualBlock(nn.Module):
    """Two times GroupNorm, SiLU, convolution; the step is added between them."""

    def __init__(self, channels: int, out: int, embedding: int) -> None:
        super().__init__()
        self.first = _norm_silu_conv(channels, out)
        self.of_step = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out))
        self.second = _norm_silu_conv(out, out)
        self.shortcut = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        y = self.first(x) + self.of_step(embedded)[:, :, None, None]
        return self.shortcut(x) + self.second(y)


def _norm_silu_conv(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1)
    )


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")


@dataclass(frozen=True)
class Sizes:
    width: int = 64


class UKANTraining(CineMethod):
    """Clean slices of the frame at gamma, from noisy ones."""

    exported = "ukan"

    def __init__(self, width: int, optimization: Optimization) -> None:
        self.networks = nn.ModuleDict({self.exported: UKAN(width)})
        self.optimization = optimization
        self._kept = torch.cumprod(1 - torch.linspace(*BETAS, STEPS, dtype=torch.float64), 0)

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        refuse_entries(weights=recipe.weights, options=recipe.options)
        return cls(settings(Sizes, recipe.network, "network").width, recipe.optimization)

    def optimizers(self) -> dict[str, Optimizer]:
        rate, betas = self.optimization.rate(self.exported), self.optimization.betas
        parameters = self.networks.parameters()
        return {self.exported: AdamW(parameters, rate, betas, weight_decay=WEIGHT_DECAY)}

    def iteration(self, batch: BeatBatch, generator: Generator) -> Iterator[Phase]:
        depth = batch.ed.shape[2]
        chosen = torch.randperm(depth, generator=generator)[:SLICES]
        given = slices(conditions(batch.ed, batch.es, batch.gamma)[:, :, chosen])
        clean = slices(2 * batch.frame[:, :, chosen] - 1)
        t = torch.randint(0, STEPS, (len(clean),), generator=generator)
        kept = self._kept[t].float().to(clean.device)[:, None, None, None]
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
        found = self.networks[self.exported](torch.cat([noisy, given], 1), t.to(clean.device))
        loss = F.mse_loss(found, clean)
        yield Phase(self.exported, loss, {"clean": loss.detach()})

    def frame_model(self, device: torch.device | str) -> FrameModel:
        network = self.networks[self.exported]

        def one_frame(ed: Tensor, es: Tensor, gamma: float) -> tuple[Tensor, None]:
            given = slices(conditions(ed, es, ed.new_tensor([gamma])))
            clean = self._sample(network, given)
            return (clean.transpose(0, 1)[None] + 1) / 2, None

        return TorchFrames(one_frame, [network], device)

    def _sample(self, network: nn.Module, given: Tensor) -> Tensor:
        """DDIM: (N,3,H,W) conditions -> (N,1,H,W) slices in [-1,1]."""
        one = torch.randn(given[:1, :1].shape, generator=Generator().manual_seed(0))
        x = one.to(given).expand(len(given), -1, -1, -1)  # one noise for all slices
        steps = torch.linspace(STEPS - 1, 0, SAMPLING_STEPS).round().long().tolist()
        for step, following in zip(steps, [*steps[1:], -1], strict=True):
            t = torch.full((len(x),), float(step), device=x.device)
            clean = network(torch.cat([x, given], dim=1), t).clamp(-1, 1)
            kept = float(self._kept[step])
            noise = (x - kept**0.5 * clean) / (1 - kept) ** 0.5
            after = float(self._kept[following]) if following >= 0 else 1.0
            x = after**0.5 * clean + (1 - after) ** 0.5 * noise
        return x


def slices(volume: Tensor) -> Tensor:
    """(B,C,D,H,W) -> (B D,C,H,W)."""
    return volume.transpose(1, 2).flatten(0, 1)
