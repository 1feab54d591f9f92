"""Methods and hooks that plant values which are not finite, for the tests of what is told then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from MambaSynthTraining.method import Phase


class SpoiledBackward(torch.autograd.Function):
    """The identity; where it is of one of the dtypes, its gradient is NaN."""

    @staticmethod
    def forward(ctx, values: Tensor, dtypes: tuple[torch.dtype, ...]) -> Tensor:
        ctx.spoiled = values.dtype in dtypes
        return values.view_as(values)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return (torch.full_like(gradient, torch.nan) if ctx.spoiled else gradient), None


@contextmanager
def spoiled_layers(kind: type[nn.Module], *dtypes: torch.dtype) -> Iterator[None]:
    """The gradients of all layers of that kind are NaN in the dtypes, as those of a library whose
    kernel is wrong.
    """

    def spoil(module: nn.Module, _, output):
        return SpoiledBackward.apply(output, dtypes) if type(module) is kind else None

    hook = nn.modules.module.register_module_forward_hook(spoil)
    try:
        yield
    finally:
        hook.remove()


class ThreeLayers:
    """A small method of one phase; ``plant`` names a layer after which something is put."""

    objectives, presets, exported, kind = ("all",), {}, "net", "contrast"
    exported_back = ""

    def __init__(self, plant: str = "", planted=None) -> None:
        torch.manual_seed(0)
        layers = {name: nn.Conv2d(1, 1, 3, padding=1) for name in ("first", "second", "third")}
        self.networks = nn.ModuleDict({"net": nn.ModuleDict(layers)})
        self.plant, self.planted = plant, planted

    @classmethod
    def build(cls, recipe) -> ThreeLayers:
        return cls()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"net": torch.optim.Adam(self.networks.parameters(), 1e-3)}

    def begin(self, stage) -> None:
        self.stage = stage

    def iteration(self, batch, generator):
        values = batch.source
        for name, layer in self.networks["net"].items():
            values = layer(values)
            if name == self.plant:
                values = self.planted(values)
        yield Phase("net", values.square().mean(), {"square": values.detach().square().mean()})
