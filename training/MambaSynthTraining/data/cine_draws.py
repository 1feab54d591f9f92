"""What a cine method sees of a heartbeat, as a recipe says it."""

from __future__ import annotations

from dataclasses import dataclass

TARGETS = ("ends", "all")


@dataclass(frozen=True)
class CineDraws:
    """``targets``: the frames that are shown, ES alone ("ends") or "all" after ED."""

    targets: str = "ends"
    gamma_spread: float = 0.0  # brightness is raised to a random power up to exp(+-this)

    def __post_init__(self) -> None:
        if self.targets not in TARGETS:
            raise ValueError(f"targets is {self.targets!r}, but must be {' or '.join(TARGETS)}")
        if self.gamma_spread < 0:
            raise ValueError(f"gamma_spread is {self.gamma_spread}, but must not be negative")
