"""MSTG, MSTG+ and DDM as rows of the table: the library's network, trained by ``training.mstg``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from MambaSynthLib.methods.mstg.inference import TorchNetwork
from MambaSynthLib.methods.mstg.network import MSTG
from MambaSynthLib.methods.mstg.synthesis import synthesize
from training.cine.frame_model import FrameModel, Image, Prediction
from training.mstg.recipe import Recipe, read_recipe
from training.mstg.step import MSTGTraining

RECIPES = Path(__file__).resolve().parents[1] / "mstg"


class MSTGRow(MSTGTraining):
    """MSTG's training, and the frames of the library's own synthesis."""

    def __init__(self, recipe: Recipe) -> None:
        rates = recipe.optimization
        super().__init__(MSTG(recipe.network), recipe.weights, rates.lr, rates.betas)

    def frame_model(self, device: str | torch.device) -> FrameModel:
        network = self.networks[self.exported]
        assert isinstance(network, MSTG)
        return LibraryFrames(network, device)


def row_of_recipe(name: str) -> MSTGRow:
    """The row of ``training/mstg/NAME.yaml``: networks, loss weights and learning rate are its."""
    return MSTGRow(read_recipe(RECIPES / f"{name}.yaml"))


class LibraryFrames(FrameModel):
    """What ``mambasynth cine`` would give; a pass is one of the deformation or image network."""

    def __init__(self, network: MSTG, device: str | torch.device) -> None:
        self._network = TorchNetwork(network, device)
        image = network.config.mode == "image"
        self._counted: nn.Module = network.diffusion if image else network.deformation

    def predict(self, ed: Image, es: Image, fractions: Sequence[float]) -> Prediction:
        passes = 0

        def count(_module: nn.Module, inputs: tuple[torch.Tensor, ...], _output: object) -> None:
            nonlocal passes
            passes += len(inputs[0])  # both directions may go through in one batch

        hook = self._counted.register_forward_hook(count)
        try:
            made = synthesize(self._network, ed, es, list(fractions))
        finally:
            hook.remove()
        return Prediction(made.images, made.fields, passes)
