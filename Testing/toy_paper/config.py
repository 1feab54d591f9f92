"""The sizes of the toy network; free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

REQUIRED = ("width",)


@dataclass(frozen=True)
class ToyConfig:
    """Raises ValueError for a width below 1."""

    width: int
    neighbors: ClassVar[int] = 0
    overlap: ClassVar[int] = 0
    multiple: ClassVar[int] = 4
    noisy: ClassVar[bool] = False
    intervals: ClassVar[bool] = False
    contrasts: ClassVar[tuple[int, int]] = (2, 2)

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"network.width is {self.width}; give at least 1")


@dataclass(frozen=True)
class Once:
    """A network without noise is called once; its card has nothing to say about that."""

    most_steps: ClassVar[int] = 1
    default_steps: ClassVar[int] = 1
    default_samples: ClassVar[int] = 1


NETWORK, SAMPLING = ToyConfig, Once
