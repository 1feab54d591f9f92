"""The door between NumPy and the PyTorch network: what ``synthesis.py`` calls a ``Network``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MambaSynthLib.methods.mstg.network import MSTG, Motion
from MambaSynthLib.methods.mstg.synthesis import Frame
from MambaSynthLib.provenance import Place

Array = NDArray[np.float32]


Guard = Callable[[tuple[int, ...]], AbstractContextManager[None]]


def _unguarded(_: tuple[int, ...]) -> AbstractContextManager[None]:
    return nullcontext()


class TorchNetwork:
    """An MSTG in evaluation mode on one device, between NumPy arrays.

    ``guard(shape)`` surrounds each computation on volumes of (D,1,H,W), to word its failures.
    """

    def __init__(
        self, network: MSTG, device: str | torch.device = "cpu", guard: Guard = _unguarded
    ) -> None:
        self.config = network.config
        self._guard = guard
        self._device = torch.device(device)
        self._network = network.eval().to(self._device)

    @property
    def places(self) -> tuple[Place, ...]:
        """Convolutions on CUDA follow PyTorch's setting; the rest is float32 everywhere."""
        tf32 = self._device.type == "cuda" and torch.backends.cudnn.allow_tf32
        return (Place(str(self._device), "tf32" if tf32 else "fp32"),)

    @torch.inference_mode()
    def motion(self, ed: Array, es: Array) -> Motion:
        with self._guard((len(ed), 1, *ed.shape[1:])):
            return self._network.motion(self._tensor(ed), self._tensor(es))

    @torch.inference_mode()
    def frame(self, motion: Motion, fraction: float) -> Frame:
        gamma = torch.tensor([fraction], dtype=torch.float32, device=self._device)
        depth, height, width = motion.ed.shape[2:]
        with self._guard((depth, 1, height, width)):
            found = self._network.frame(motion, gamma)
            field = None if found.field is None else _array(found.field)
            return Frame(_array(found.image)[0], field)

    def _tensor(self, image: Array) -> Tensor:
        return torch.from_numpy(np.array(image, np.float32)).to(self._device)[None, None]


def _array(x: Tensor) -> Array:
    """The first sample, on the CPU."""
    array: Array = x[0].float().cpu().numpy()
    return array
