"""The sizes of CRAViM's generators; free of torch, so that cards are checked without it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from MambaSynthLib.image.neighbors import MOST
from MambaSynthLib.methods.diffusion import Schedule

RANGES = {
    "ngf": (4, 256), "n_blocks": (1, 32), "n_attentions": (2, 64), "input_channels": (1, 2),
    "output_channels": (1, 2), "neighbors": (0, MOST), "skips": (0, 1), "overlap": (0, MOST),
    "interval": (0, 1),
}  # fmt: skip
REQUIRED = ("ngf", "n_blocks", "n_attentions", "input_channels", "output_channels")


@dataclass(frozen=True)
class CRAViMConfig:
    """Sizes of the generator. The defaults are the paper's: 11,765,711 parameters.

    neighbors: source slices on either side of the one to synthesize that it sees besides.
    skips: 1 for the generator of ``skip_network.py``, which has no noise channel and no transported
        source: its input_channels and output_channels are 1.
    overlap: target slices on either side of its own that a generator with skips estimates, too.
    interval: 1 for a generator with skips that says of each estimate how wrong it may be.
    Raises ValueError for a size out of ``RANGES``, other channels with ``skips``, an interval
    without them, or an overlap without them or beyond the neighbors.
    """

    ngf: int = 64
    n_blocks: int = 7
    n_attentions: int = 5
    input_channels: int = 2
    output_channels: int = 2
    neighbors: int = 0
    skips: int = 0
    overlap: int = 0
    interval: int = 0

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"network.{name} is {getattr(self, name)}; give {least} to {most}")
        if self.ngf % 4:
            raise ValueError(f"network.ngf is {self.ngf}; give a multiple of 4")
        if self.input_channels == 1 and not self.skips:
            raise ValueError("network.input_channels is 1, but without skips it is 2")
        if self.skips and (self.input_channels, self.output_channels) != (1, 1):
            raise ValueError(
                f"network.input_channels and output_channels are {self.input_channels} and "
                f"{self.output_channels}; with skips both are 1"
            )
        if self.interval and not self.skips:
            raise ValueError("network.interval is 1, but only a network with skips: 1 has one")
        if self.overlap > (self.neighbors if self.skips else 0):
            raise ValueError(
                f"network.overlap is {self.overlap}; give 0, or with skips up to {self.neighbors}, "
                "the neighbors"
            )

    @property
    def contrasts(self) -> tuple[int, int]:
        """Sources and targets."""
        return 1, 1

    @property
    def noisy(self) -> bool:
        """Whether one of the inputs is noise."""
        return self.input_channels > 1

    @property
    def intervals(self) -> bool:
        """Whether each estimate comes with the half-width of its interval."""
        return bool(self.interval)

    @property
    def multiple(self) -> int:
        """What rows and columns are multiples of: they are halved twice, or three times."""
        return 8 if self.skips else 4

    def as_card(self) -> dict[str, int]:
        """The ``network`` entry of a model card; it omits what is ours and 0."""
        ours = ("neighbors", "skips", "overlap", "interval")
        return {name: n for name, n in asdict(self).items() if n or name not in ours}


@dataclass(frozen=True)
class Sampling:
    """The ``sampling`` entry of a card: the schedule of the training, and what is usual.

    timesteps, beta_min, beta_max: see ``diffusion.Schedule``.
    default_steps: network calls a draw; default_samples: draws.
    interval: what the half-widths that the network estimates are multiplied by, so that on people
        it was not trained on 90 % of the acquired values lie within; see ``interval_of_scores``.
    Raises ValueError for numbers out of range, and for an image that drowns in noise.
    """

    timesteps: int
    beta_min: float
    beta_max: float
    default_steps: int
    default_samples: int
    interval: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.beta_min <= 100 and 0 < self.beta_max <= 1000):
            raise ValueError(
                f"sampling.beta_min and beta_max are {self.beta_min:g} and {self.beta_max:g}; give "
                "positive numbers up to 100 and 1000"
            )
        for name, most in (("timesteps", 1000), ("default_steps", 1000), ("default_samples", 64)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"sampling.{name} is {getattr(self, name)}; give 1 to {most}")
        if not 0 < self.interval <= 100:
            raise ValueError(f"sampling.interval is {self.interval:g}; give up to 100, and above 0")
        if self.default_steps > self.timesteps:
            raise ValueError(
                f"sampling.default_steps is {self.default_steps}, more than the {self.timesteps} "
                "timesteps"
            )
        with np.errstate(invalid="ignore"):
            if not np.all(self.schedule.signal[:-1] > 0):
                raise ValueError("sampling drowns the image in noise before the last timestep")

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.timesteps, self.beta_min, self.beta_max)

    @property
    def most_steps(self) -> int:
        return self.timesteps


NETWORK, SAMPLING = CRAViMConfig, Sampling
