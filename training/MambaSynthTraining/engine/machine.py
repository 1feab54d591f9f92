"""What an iteration needs of the processes and the processor around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

BF16 = "bf16-mixed"  # convolutions and matrix products in bfloat16; else "32"


@dataclass(frozen=True)
class Machine:
    """By default one process on the CPU, in float32."""

    backward: Callable[..., None] = Tensor.backward  # inputs=...: no gradient of anything else
    add_up: Callable[[Sequence[Tensor]], None] = lambda tensors: None  # in place, over processes
    processes: int = 1
    device: str = "cpu"  # its type
    precision: str = "32"

    def autocast(self) -> AbstractContextManager[None]:
        """Entered anew for each phase: it remembers weights in bfloat16 until it is left, and a
        step changes them.
        """
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == BF16)
