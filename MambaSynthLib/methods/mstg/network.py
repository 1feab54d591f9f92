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
from torch import Tensor, nn

from MambaSynthLib.layers.refinement import Refinement, TimeCurve
from MambaSynthLib.layers.volume_unets import DeformationUNet, DiffusionUNet
from MambaSynthLib.layers.warp import exponential, warp
from MambaSynthLib.methods.mstg.config import MSTGConfig, config_of_card
from MambaSynthLib.methods.mstg.schedule import LinearSchedule

DENOISING_STEPS = 25  # of mode "image"


@dataclass(frozen=True)
class Motion:
    """What all frames of one pair of images share. Parts that a configuration lacks are None."""

    ed: Tensor
    es: Tensor
    code: Tensor  # of ED to ES
    code_back: Tensor | None = None  # of ES to ED
    there: Tensor | None = None  # (B,3,D,H,W) how ES looks into ED: a field, or a velocity
    back: Tensor | None = None  # how ED looks into ES
    missed: Tensor | None = None  # ES less the warped ED, where only ED is warped


@dataclass(frozen=True)
class Frame:
    """One frame and how it came about. Fields are None in mode "image"."""

    image: Tensor  # (B,1,D,H,W)
    field: Tensor | None = None  # (B,3,D,H,W) how the frame looks into ED
    inverse: Tensor | None = None  # how ED looks into the frame; of velocities only
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
            config.channels, config.down, config.scan, config.decoder_mamba
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
            found = Motion(ed, es, self.code(ed, es) if code is None else code)
            if not config.exact_ends:
                return found
            found = replace(found, there=self._field(ed, found.code))
            whole = self.frame(found, torch.ones(len(ed), device=ed.device), pinned=False)
            return replace(found, missed=es - whole.image)
        both, other = torch.cat([ed, es]), torch.cat([es, ed])
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

    def frame(self, motion: Motion, gamma: Tensor, pinned: bool = True) -> Frame:
        """The frame at time gamma (B,). ``pinned=False`` leaves out what exact ends add."""
        config = self.config
        if config.mode == "image":
            return Frame(self._denoised(motion, gamma))
        s = self.curve(gamma) if config.time_warp else gamma
        field, inverse = self._partial(motion.ed, motion.code, motion.there, s)
        a = warp(motion.ed, field, self._padding)
        if config.bidirectional:
            assert motion.code_back is not None
            back, _ = self._partial(motion.es, motion.code_back, motion.back, 1 - s)
            b = warp(motion.es, back, self._padding)
            image = a + gamma[:, None, None, None, None] * (b - a)
        else:
            b, image = motion.es, a
            if pinned and motion.missed is not None:
                image = a + gamma[:, None, None, None, None] * motion.missed
        if config.refine and pinned:
            image = image + self.refinement(a, b, gamma)
        return Frame(image, field, inverse, a, b if config.bidirectional else None)

    @property
    def _padding(self) -> str:
        """Zeros outside as in DDM; the motion of MSTG+ may also enter from outside the volume."""
        return "border" if self.config.velocity else "zeros"

    def _partial(
        self, source: Tensor, code: Tensor, whole: Tensor | None, share: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The field of a ``share`` (B,) of the motion, and its inverse if that is known."""
        share = share[:, None, None, None, None]
        part = self._field(source, share * code) if whole is None else share * whole
        if not self.config.velocity:
            return part, None
        return exponential(part), exponential(-part)

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
