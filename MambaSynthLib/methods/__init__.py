"""The catalogue of synthesis methods: one entry per paper. Imports nothing heavy.

To add a paper: a folder with these files, and one line below. Nothing else here changes;
``MambaSynthTraining/methods.py`` trains it.

| file           | what the library asks of it                                                    |
|----------------|--------------------------------------------------------------------------------|
| `config.py`    | `NETWORK` and `SAMPLING`, dataclasses that check these entries of a card, and  |
|                | `REQUIRED`, the network entries that a card must state; free of torch          |
| `network.py`   | `build`: the card's network entry -> a torch module                            |
| `synthesis.py` | `synthesize`: networks, sources (B,S,H,W), noise -> targets (B,T,1+2o,H,W),    |
|                | behind them, with `intervals`, T half-widths; of masks `probabilities`         |
| `inference.py` | none, or `prepare`: a trained module -> a cheaper function; or `TorchNetwork`: |
|                | a network that is more than images to images                                   |
| `graph.py`     | none, or `build`: the card's network entry -> an ONNX graph                    |
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol


@dataclass(frozen=True)
class MethodSpec:
    """Where a method comes from and where its code is."""

    title: str
    reference: str  # authors, venue, year
    task: str  # "contrast": contrasts from others; "cine": the frames between two; "mask"
    folder: str  # the package that holds the files above

    def part(self, name: str) -> Any:
        """The module of this name in the folder; None where there is none."""
        module = f"{self.folder}.{name}"
        return import_module(module) if find_spec(module) else None


class ContrastNetwork(Protocol):
    """What ``NETWORK`` of a method that synthesizes contrasts tells the engine."""

    @property
    def contrasts(self) -> tuple[int, int]:
        """How many sources it takes and how many targets it gives; the card names each."""

    @property
    def noisy(self) -> bool:
        """Whether the network has a noise channel, so that draws differ and steps refine."""

    @property
    def neighbors(self) -> int:
        """Source slices on either side of each slice that the network sees, too."""

    @property
    def overlap(self) -> int:
        """Slices on either side of each slice that the network estimates, too."""

    @property
    def intervals(self) -> bool:
        """Whether each estimate comes with the half-width in which 90 % of acquired values lie."""

    @property
    def multiple(self) -> int:
        """What rows and columns of its images are multiples of."""


class ContrastSampling(Protocol):
    """What ``SAMPLING`` of such a method tells the engine: network calls a draw, and draws."""

    @property
    def most_steps(self) -> int: ...
    @property
    def default_steps(self) -> int: ...
    @property
    def default_samples(self) -> int: ...


METHODS = {
    "cravim": MethodSpec(
        title="Hybrid State-Space Models and Denoising Training for Unpaired Medical Image "
        "Synthesis (CRAViM)",
        reference="Zhang & Jiang, MICCAI 2025",
        task="contrast",
        folder="MambaSynthLib.methods.cravim",
    ),
    "mstg": MethodSpec(
        title="Synthesis of the cine frames between end-diastole and end-systole (MSTG)",
        reference="Zhang & Liang",
        task="cine",
        folder="MambaSynthLib.methods.mstg",
    ),
    "maskunet": MethodSpec(
        title="Brain and head masks by a small 3-D U-Net",
        reference="ours, after Cicek et al., MICCAI 2016",
        task="mask",
        folder="MambaSynthLib.methods.maskunet",
    ),
}
