"""What an MSTG network is made of: the paper's parts, our readings of it, and MSTG+.

The paper fixes the channels and the order convolution, pooling, tokens, Mamba, linear layer,
convolution, residual sum, skip connections. That it sits on DDM (Kim & Ye, MICCAI 2022), one block
per level in the decoder, and the direction of the scan are our reading. The second group of fields
is ours altogether: with all of them on, the method is called MSTG+.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from MambaSynthLib.errors import ModelError

LARGEST_CHANNELS = 512
SIZE_MULTIPLE = 16  # four stride-2 convolutions; other sizes are padded
CHOICES = {
    "down": ("pool", "conv"),
    "scan": ("forward", "bidirectional", "none"),
    "mode": ("deformation", "image"),
}
SWITCHES = (
    "decoder_mamba", "exact_ends", "velocity", "bidirectional", "refine", "time_warp", "coarse"
)  # fmt: skip


@dataclass(frozen=True)
class MSTGConfig:
    """The defaults are MSTG's: 715,993 parameters for diffusion and 361,299 for deformation."""

    channels: tuple[int, ...] = (8, 16, 32, 32)
    down: str = "pool"  # or "conv", a strided convolution as in DDM
    scan: str = "forward"  # order of Mamba's tokens; "none" makes the network DDM's
    decoder_mamba: bool = True  # False: plain residual blocks in the decoder
    mode: str = "deformation"  # or "image": diffusion paints the frame, nothing is deformed

    exact_ends: bool = False  # motion grows from none at ED; the frame at ES is ES
    velocity: bool = False  # the field is a stationary velocity: invertible motion
    bidirectional: bool = False  # frames from ED and from ES, blended by time
    refine: bool = False  # a small network corrects the intensities between the ends
    time_warp: bool = False  # motion follows a learned monotone curve of time
    first_scan: int = 0  # the stage from which on tokens are scanned; plain blocks before it
    coarse: bool = False  # both networks see images of half the size: an eighth of the tokens

    @property
    def size_multiple(self) -> int:
        """What the sizes D, H and W of the images must be multiples of."""
        return SIZE_MULTIPLE * (2 if self.coarse else 1)

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but must be {' or '.join(choices)}"
                )
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be true or false")
        stages = range(len(self.channels) + 1)
        if isinstance(self.first_scan, bool) or self.first_scan not in stages:
            raise ValueError(f"first_scan is {self.first_scan!r}, but must be in {stages}")
        if self.coarse and not (self.velocity and self.exact_ends):
            raise ValueError("coarse is true, but velocity or exact_ends is not; turn them on")
        if len(self.channels) not in range(2, 9) or any(n < 4 or n % 4 for n in self.channels):
            raise ValueError(f"channels is {self.channels}, but must be 2 to 8 multiples of 4")
        if max(self.channels) > LARGEST_CHANNELS:
            raise ValueError(
                f"channels is {self.channels}, of which none may pass {LARGEST_CHANNELS}"
            )


def config_of_card(network: Mapping[str, Any]) -> MSTGConfig:
    """The configuration in a model card's ``network`` entry. Raises ModelError on a wrong one."""
    unknown = set(network) - {field.name for field in fields(MSTGConfig)}
    if unknown:
        raise ModelError(f"the network entries {sorted(unknown)} are unknown; update MambaSynth.")
    try:
        channels = tuple(int(n) for n in network.get("channels", MSTGConfig.channels))
        return MSTGConfig(**{**network, "channels": channels})
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"the card's network entry is wrong: {error}; correct the card."
        ) from error


@dataclass(frozen=True)
class Sampling:
    """The ``sampling`` entry of a card: beta grows linearly from ``beta_min`` to ``beta_max``.

    Raises ValueError for numbers out of range.
    """

    timesteps: int
    beta_min: float
    beta_max: float

    def __post_init__(self) -> None:
        if not 1 <= self.timesteps <= 100_000:
            raise ValueError(f"sampling.timesteps is {self.timesteps}; give 1 to 100000")
        if not 0 < self.beta_min <= self.beta_max <= 1:
            raise ValueError(
                f"sampling.beta_min is {self.beta_min:g} and beta_max {self.beta_max:g}; give "
                "positive numbers up to 1, beta_min not above beta_max"
            )


NETWORK, SAMPLING, REQUIRED = MSTGConfig, Sampling, ("channels",)
