"""The frames of the library's own synthesis, to score MSTG, MSTG+ and DDM by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from MambaSynthLib.methods.mstg.inference import TorchNetwork
from MambaSynthLib.methods.mstg.network import MSTG
from MambaSynthLib.methods.mstg.synthesis import synthesize
from MambaSynthTraining.cine.rivals.frame_model import FrameModel, Image, SyntheticFrames


class LibraryFrames(FrameModel):
    """What ``mambasynth cine`` would give; a pass is one of the deformation or image network."""

    def __init__(self, network: MSTG, device: str | torch.device) -> None:
        self._network = TorchNetwork(network, device)
        image = network.config.mode == "image"
        self._counted: nn.Module = network.diffusion if image else network.deformation

    def synthesize(self, ed: Image, es: Image, fractions: Sequence[float]) -> SyntheticFrames:
        passes = 0

        def count(_module: nn.Module, inputs: tuple[torch.Tensor, ...], _output: object) -> None:
            nonlocal passes
            passes += len(inputs[0])  # both directions may go through in one batch

        hook = self._counted.register_forward_hook(count)
        try:
            made = synthesize(self._network, ed, es, list(fractions))
        finally:
            hook.remove()
        return SyntheticFrames(made.images, made.fields, passes)
