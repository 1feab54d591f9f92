"""The sizes of the mask network and the order of its layers; free of torch and ONNX.

    x (B,8,D,H,W), voxels folded 2 x 2 x 2
      --in0, deep0--> c0 --in1 (half the size), deep1--> c1 --in2, deep2, bottom--> c2
      --up1, doubled, + deep1, join1--> c1 --up0, doubled, + deep0, join0--> c0 --logits--> 16

Each layer is a convolution, and a ReLU but for ``logits``: of eight voxels brain, then head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

FOLD = 2  # voxels a side that become channels
OUTPUTS = ("brain", "head")
MOST_LEVELS, MOST_CHANNELS = 5, 256

Value = TypeVar("Value")


@dataclass(frozen=True)
class Layer:
    """A convolution of ``kernel`` voxels a side, padded to keep the size but for its ``stride``."""

    channels_in: int
    channels_out: int
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True)
class MaskConfig:
    """channels: of each level, the finest first."""

    channels: tuple[int, ...]

    def __post_init__(self) -> None:
        fits = all(1 <= n <= MOST_CHANNELS for n in self.channels)
        if not 2 <= len(self.channels) <= MOST_LEVELS or not fits:
            raise ValueError(
                f"network.channels is {list(self.channels)}; give 2 to {MOST_LEVELS} numbers from "
                f"1 to {MOST_CHANNELS}"
            )

    @property
    def levels(self) -> int:
        return len(self.channels)

    @property
    def multiple(self) -> int:
        """What the three sizes of an image are multiples of, in voxels before they are folded."""
        return FOLD << (self.levels - 1)

    def layers(self) -> dict[str, Layer]:
        c = self.channels
        found = {"in0": Layer(FOLD**3, c[0]), "deep0": Layer(c[0], c[0])}
        for n in range(1, self.levels):
            found |= {f"in{n}": Layer(c[n - 1], c[n], stride=2), f"deep{n}": Layer(c[n], c[n])}
        found["bottom"] = Layer(c[-1], c[-1])
        for n in reversed(range(self.levels - 1)):
            found |= {f"up{n}": Layer(c[n + 1], c[n], kernel=1), f"join{n}": Layer(c[n], c[n])}
        return found | {"logits": Layer(c[0], len(OUTPUTS) * FOLD**3)}


@dataclass(frozen=True)
class NoSampling:
    """Masks are not drawn."""


def unet(
    x: Value,
    levels: int,
    layer: Callable[[str, Value], Value],
    doubled: Callable[[Value], Value],
    add: Callable[[Value, Value], Value],
) -> Value:
    """The network of the drawing above, of what its layers are made of."""
    kept = []
    for n in range(levels):
        x = layer(f"deep{n}", layer(f"in{n}", x))
        kept.append(x)
    x = layer("bottom", x)
    for n in reversed(range(levels - 1)):
        x = layer(f"join{n}", add(doubled(layer(f"up{n}", x)), kept[n]))
    return layer("logits", x)


NETWORK, SAMPLING, REQUIRED = MaskConfig, NoSampling, ("channels",)
