"""MSTG and MSTG+: from the images at end-diastole and end-systole to the frames between them.

| symbol  | code           | shape       | meaning                                             |
|---------|----------------|-------------|-----------------------------------------------------|
| S, T    | ``ed``, ``es`` | (B,1,D,H,W) | acquired images in [0,1]; the networks see [-1,1]   |
| x_t     | ``noisy``      | (B,1,D,H,W) | T with the noise of diffusion step t                |
| c       | ``code``       | (B,1,D,H,W) | latent code: the estimate of the noise in x_t       |
| gamma   | ``gamma``      | (B,)        | time between ED (0) and ES (1)                      |
| phi, v  | ``field``, ``v`` | (B,3,D,H,W) | pull field; stationary velocity, in voxels (D,H,W) |

MSTG (as DDM): c from one pass with t = 0 and x_0 = T; frame = S warped by phi = M(S, gamma c).
MSTG+ replaces this step by step, see the switches in ``config.py``; its motion takes two passes,
ED to ES and back, whatever the number of frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MambaSynthLib.methods.mstg.config import MSTGConfig, config_of_card
from MambaSynthLib.methods.mstg.refinement import Refinement, TimeCurve
from MambaSynthLib.methods.mstg.schedule import LinearSchedule
from MambaSynthLib.methods.mstg.unets import DeformationUNet, DiffusionUNet
from MambaSynthLib.methods.mstg.warp import exponential, warp

DENOISING_STEPS = 25  # of mode "image"


@dataclass(frozen=True)
class Motion:
    """What all frames of one pair of images share. Parts that a configuration lacks are None."""

    ed: Tensor
    es: Tensor
    code: Tensor  # of ED to ES
    code_back: Tensor | None = None  # of ES to ED
    # (B,3,D,H,W) how ES looks into ED: a field, or a velocity; in the sizes of the networks
    there: Tensor | None = None
    back: Tensor | None = None  # how ED looks into ES
    missed: Tensor | None = None  # ES less the warped ED, where only ED is warped


@dataclass(frozen=True)
class Frame:
    """One frame and how it came about; mode "image" has the image only."""

    image: Tensor  # (B,1,D,H,W)
    field: Tensor | None = None  # (B,3,D,H,W) how the frame looks into ED
    from_ed: Tensor | None = None  # ED, warped
    from_es: Tensor | None = None  # ES, warped


def build(sizes: Mapping[str, Any]) -> MSTG:
    """The network that a model card's ``network`` entry describes."""
    return MSTG(config_of_card(sizes))


class MSTG(nn.Module):
    """``motion`` once for two images, then ``frame`` for each point in time."""

    def __init__(self, config: MSTGConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MSTGConfig()
        self.schedule = LinearSchedule()
        self.diffusion = DiffusionUNet(
            config.channels, config.down, config.scan, config.decoder_mamba, config.first_scan
        )
        if config.mode == "image":
            width = config.channels[0]
            self.of_time = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
            return
        self.deformation = DeformationUNet()
        if config.refine:
            self.refinement = Refinement()
        if config.time_warp:
            self.curve = TimeCurve()

    # ---- the latent code and the fields

    def code(
        self,
        ed: Tensor,
        es: Tensor,
        noisy: Tensor | None = None,
        t: Tensor | None = None,
        gamma: Tensor | None = None,
    ) -> Tensor:
        """The noise that the diffusion network sees in ``noisy`` ([-1,1]; None: ES with t = 0)."""
        if t is None:
            t = torch.zeros(len(ed), device=ed.device)
        noisy = 2 * es - 1 if noisy is None else noisy
        images = torch.cat([2 * ed - 1, 2 * es - 1, noisy], dim=1)  # (B,3,D,H,W)
        time = None if gamma is None else self.of_time(gamma[:, None])
        return self.diffusion(images, t, time)

    def _field(self, source: Tensor, code: Tensor) -> Tensor:
        return self.deformation(torch.cat([2 * source - 1, code], dim=1)).float()

    def motion(self, ed: Tensor, es: Tensor, code: Tensor | None = None) -> Motion:
        """Everything about ED and ES (B,1,D,H,W) that does not depend on time.

        ``code`` replaces the one of t = 0, for training with noise.
        """
        config = self.config
        if config.mode == "image":
            return Motion(ed, es, torch.zeros_like(ed))
        if not config.bidirectional:
            small, other = self._seen(ed), self._seen(es)
            found = Motion(ed, es, self.code(small, other) if code is None else code)
            if not config.exact_ends:
                return found
            found = replace(found, there=self._field(small, found.code))
            whole, _ = self.from_ed(found, ed.new_ones(len(ed)))
            return replace(found, missed=es - whole)
        both, other = self._seen(torch.cat([ed, es])), self._seen(torch.cat([es, ed]))
        codes = self.code(both, other)
        forth, back = (codes if code is None else torch.cat([code, codes[len(ed) :]])).chunk(2)
        if not config.exact_ends:
            return Motion(ed, es, forth, back)
        u, w = self._field(both, torch.cat([forth, back])).chunk(2)
        if config.velocity:  # antisymmetric: nothing moves between equal images
            u = (u - w) / 2
            w = -u
        return Motion(ed, es, forth, back, u, w)

    # ---- a frame

    def frame(self, motion: Motion, gamma: Tensor) -> Frame:
        """The frame at time gamma (B,)."""
        config = self.config
        if config.mode == "image":
            return Frame(self._denoised(motion, gamma))
        s, time = self._course(gamma), gamma[:, None, None, None, None]
        a, field = self.from_ed(motion, s)
        b = self.from_es(motion, 1 - s) if config.bidirectional else None
        if b is not None:
            image = a + time * (b - a)
        else:
            image = a if motion.missed is None else a + time * motion.missed
        if config.refine:
            image = image + self.refinement(a, motion.es if b is None else b, gamma)
        return Frame(image, field, a, b)

    def from_ed(self, motion: Motion, share: Tensor) -> tuple[Tensor, Tensor]:
        """ED after a ``share`` (B,) of the motion to ES, and the field that took it there."""
        field = self._reached(self._part(motion.ed, motion.code, motion.there, share))
        return warp(motion.ed, field, self._padding), field

    def from_es(self, motion: Motion, share: Tensor) -> Tensor:
        """ES after a ``share`` (B,) of the motion to ED; needs ``bidirectional``."""
        code = motion.code if motion.code_back is None else motion.code_back
        field = self._reached(self._part(motion.es, code, motion.back, share))
        return warp(motion.es, field, self._padding)

    def _course(self, gamma: Tensor) -> Tensor:
        return self.curve(gamma) if self.config.time_warp else gamma

    @property
    def _padding(self) -> str:
        """Zeros outside as in DDM; the motion of MSTG+ may also enter from outside the volume."""
        return "border" if self.config.velocity else "zeros"

    def _part(self, source: Tensor, code: Tensor, whole: Tensor | None, share: Tensor) -> Tensor:
        """The field or velocity of a ``share`` (B,) of the motion."""
        share = share[:, None, None, None, None]
        return self._field(source, share * code) if whole is None else share * whole

    def _reached(self, part: Tensor) -> Tensor:
        field = exponential(part) if self.config.velocity else part
        if self.config.coarse:  # from voxels of the half size to voxels of the whole one
            field = 2 * F.interpolate(field, scale_factor=2.0, mode="trilinear")
        return field

    def _seen(self, images: Tensor) -> Tensor:
        """What the two networks see of images (B,1,D,H,W)."""
        return F.avg_pool3d(images, 2) if self.config.coarse else images

    # ---- mode "image"

    def _denoised(self, motion: Motion, gamma: Tensor) -> Tensor:
        """Plain conditional diffusion: DDIM (Song et al., ICLR 2021) from the same noise always."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(motion.ed.shape, generator=generator).to(motion.ed)
        spread = torch.linspace(self.schedule.steps - 1, 0, DENOISING_STEPS).round().long().tolist()
        for step, following in zip(spread, [*spread[1:], -1], strict=True):
            t = torch.full((len(x),), float(step), device=x.device)
            eps = self.code(motion.ed, motion.es, x, t, gamma)
            kept = float(self.schedule.abar[step])
            clean = ((x - (1 - kept) ** 0.5 * eps) / kept**0.5).clamp(-1, 1)
            after = float(self.schedule.abar[following]) if following >= 0 else 1.0
            x = after**0.5 * clean + (1 - after) ** 0.5 * eps
        return (x.float() + 1) / 2
