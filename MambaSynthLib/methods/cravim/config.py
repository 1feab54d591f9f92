"""The sizes of CRAViM's generators; free of torch, so that cards are checked without it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from MambaSynthLib.image.neighbors import MOST


@dataclass(frozen=True)
class CRAViMConfig:
    """Sizes of the generator. The defaults are the paper's: 11,765,711 parameters.

    neighbors: source slices on either side of the one to synthesize that it sees besides.
    skips: 1 for the generator of ``skip_network.py``, which has no noise channel and no transported
        source: its input_channels and output_channels are 1.
    overlap: target slices on either side of its own that a generator with skips estimates, too.
    Raises ValueError for more than ``MOST`` neighbors, other channels with ``skips``, or an overlap
    without them or beyond the neighbors.
    """

    ngf: int = 64
    n_blocks: int = 7
    n_attentions: int = 5
    input_channels: int = 2
    output_channels: int = 2
    neighbors: int = 0
    skips: int = 0
    overlap: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.neighbors <= MOST:
            raise ValueError(f"network.neighbors is {self.neighbors}; give 0 to {MOST}")
        if self.skips and (self.input_channels, self.output_channels) != (1, 1):
            raise ValueError(
                f"network.input_channels and output_channels are {self.input_channels} and "
                f"{self.output_channels}; with skips both are 1"
            )
        if not 0 <= self.overlap <= (self.neighbors if self.skips else 0):
            raise ValueError(
                f"network.overlap is {self.overlap}; give 0, or with skips up to {self.neighbors}, "
                "the neighbors"
            )

    @property
    def noisy(self) -> bool:
        """Whether one of the inputs is noise."""
        return self.input_channels > 1

    def as_card(self) -> dict[str, int]:
        """The ``network`` entry of a model card; it omits what is ours and 0."""
        ours = ("neighbors", "skips", "overlap")
        return {name: n for name, n in asdict(self).items() if n or name not in ours}
