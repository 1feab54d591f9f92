"""MSTG, MSTG+ or DDM as a training method: which of them depends on the configuration alone.

MSTG, as DDM: x_t = ES with the noise of a random step t; c estimates that noise and, as latent
code, gives the field that should carry ED to ES. MSTG+: t = 0 as in synthesis, so that the code is
free to say what the motion needs; ED and ES are carried into each other, and the frames between
them, where the data have any, are compared with what was acquired.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn

from MambaSynthLib.methods.mstg.config import MSTGConfig
from MambaSynthLib.methods.mstg.network import MSTG, Motion
from MambaSynthLib.model.settings import refuse_entries, settings
from MambaSynthTraining.cine.mstg import losses
from MambaSynthTraining.cine.mstg.frames import LibraryFrames
from MambaSynthTraining.cine.mstg.losses import Weights
from MambaSynthTraining.cine.rivals.frame_model import FrameModel
from MambaSynthTraining.data.beats import BeatBatch
from MambaSynthTraining.method import CineMethod, Phase
from MambaSynthTraining.recipe import Optimization, Recipe

Terms = dict[str, tuple[float, Tensor]]  # name -> weight and value of each loss


class MSTGTraining(CineMethod):
    """The library's network, in iterations of one phase."""

    exported = "mstg"

    def __init__(self, network: MSTG, weights: Weights, optimization: Optimization) -> None:
        if network.config.coarse and weights.lambda_eps > 0:
            raise ValueError("lambda_eps needs a code of the images' size; set it or coarse to 0")
        if network.config.mode == "image" and weights.lambda_eps <= 0:
            raise ValueError("mode image trains with lambda_eps alone; give it a weight")
        self.networks = nn.ModuleDict({self.exported: network})
        self.weights, self.optimization = weights, optimization
        self._abar = torch.from_numpy(network.schedule.abar).float()

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        refuse_entries(options=recipe.options)
        network = MSTG(settings(MSTGConfig, recipe.network, "network"))
        return cls(network, settings(Weights, recipe.weights, "weights"), recipe.optimization)

    def frame_model(self, device: torch.device | str) -> FrameModel:
        return LibraryFrames(self.network, device)

    def iteration(self, batch: BeatBatch, generator: torch.Generator) -> Iterator[Phase]:
        image = self.network.config.mode == "image"
        terms = self._image_terms(batch, generator) if image else self._terms(batch, generator)
        total = sum((weight * value for weight, value in terms.values()), torch.zeros(()))
        values = {name: value.detach() for name, (_, value) in terms.items()}
        yield Phase(self.exported, total, {"total": total.detach(), **values})

    @property
    def network(self) -> MSTG:
        network = self.networks[self.exported]
        assert isinstance(network, MSTG)
        return network

    def _noised(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """x_t of images in [0,1] at random steps t (B,), t, and the noise."""
        t = torch.randint(0, len(self._abar), (len(image),), generator=generator)
        kept = self._abar[t].to(image.device)[:, None, None, None, None]
        noise = torch.randn(image.shape, generator=generator).to(image.device)
        return kept.sqrt() * (2 * image - 1) + (1 - kept).sqrt() * noise, t.to(image.device), noise

    def _terms(self, batch: BeatBatch, generator: torch.Generator) -> Terms:
        network, w = self.network, self.weights
        terms, code = {}, None
        if w.lambda_eps:
            noisy, t, noise = self._noised(batch.es, generator)
            code = network.code(batch.ed, batch.es, noisy, t)
            terms["eps"] = (w.lambda_eps, losses.noise_loss(code, noise))
        motion = network.motion(batch.ed, batch.es, code)
        terms |= self._end_terms(motion)
        if w.lambda_frame or w.lambda_ssim or w.lambda_warped:
            terms |= self._frame_terms(motion, batch)
        return terms

    def _end_terms(self, motion: Motion) -> Terms:
        """ED carried all the way to ES, and ES to ED; and the smoothness of both fields."""
        network, w = self.network, self.weights
        if not w.lambda_ncc and motion.there is not None:  # nothing has to be warped for it
            return {"smooth": (w.lambda_smooth, losses.smooth_loss(motion.there))}
        ones = motion.ed.new_ones(len(motion.ed))
        moved, field = network.from_ed(motion, ones)
        ncc = losses.ncc_loss(moved, motion.es)
        smooth = losses.smooth_loss(field if motion.there is None else motion.there)
        if network.config.bidirectional:
            ncc = (ncc + losses.ncc_loss(network.from_es(motion, ones), motion.ed)) / 2
            if motion.back is not None:
                smooth = (smooth + losses.smooth_loss(motion.back)) / 2
        return {"ncc": (w.lambda_ncc, ncc), "smooth": (w.lambda_smooth, smooth)}

    def _frame_terms(self, motion: Motion, batch: BeatBatch) -> Terms:
        w = self.weights
        frame = self.network.frame(motion, batch.gamma)
        warped = [image for image in (frame.from_ed, frame.from_es) if image is not None]
        apart = torch.stack([losses.frame_loss(image, batch.frame) for image in warped]).mean()
        return {
            "frame": (w.lambda_frame, losses.frame_loss(frame.image, batch.frame)),
            "ssim": (w.lambda_ssim, losses.ssim_loss(frame.image, batch.frame)),
            "warped": (w.lambda_warped, apart),
        }

    def _image_terms(self, batch: BeatBatch, generator: torch.Generator) -> Terms:
        """Mode "image": the noise in the frame at gamma, nothing else."""
        noisy, t, noise = self._noised(batch.frame, generator)
        code = self.network.code(batch.ed, batch.es, noisy, t, batch.gamma)
        return {"eps": (self.weights.lambda_eps, losses.noise_loss(code, noise))}
