"""The model card: everything that ``model.json`` of a model package says.

``card_file`` reads it; the classes here only give its parts names and types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.preparation import GridSpec as GridSpec
from MambaSynthLib.image.preparation import IntensitySpec as IntensitySpec
from MambaSynthLib.methods import ContrastNetwork, ContrastSampling

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class CineGridSpec:
    """The grid of a network that sees whole volumes."""

    axis_codes: str  # columns, rows, slices, as in GridSpec
    spacing_mm: tuple[float, float, float] | None  # columns, rows, slices; None: the volume's own
    size: tuple[int, int, int]  # field of view in voxels: slices, rows, columns


@dataclass(frozen=True)
class MaskGridSpec:
    """The grid of a network that sees a whole head in cubes, whose axes are the patient's."""

    spacing_mm: float


@dataclass(frozen=True)
class ModelCard:
    """What every ``model.json`` says. ``extra`` keeps what only people read.

    ``network`` is that entry as the method's network is built from it; ``config`` and ``sampling``
    are that and the sampling entry, checked by the method. A card is one of three kinds:
    ``ContrastCard``, ``CineCard`` or ``MaskCard``.
    """

    id: str
    version: str
    title: str
    method: str
    source_contrasts: tuple[str, ...]
    target_contrasts: tuple[str, ...]
    network: dict[str, Any]
    sha256: dict[str, str]
    sizes: dict[str, int]  # bytes of the same files
    package_sha256: str  # of the whole card, and so of the files whose hashes it holds
    license: str
    intended_use: str
    trained_on: str
    scores: list[dict[str, Any]]
    extra: dict[str, Any]
    task: ClassVar[str] = ""

    @property
    def weights_sha256(self) -> str:
        return self.sha256[WEIGHTS]

    @property
    def direction(self) -> str:
        """For people: 'T1w -> T2w'."""
        return f"{' + '.join(self.source_contrasts)} -> {' + '.join(self.target_contrasts)}"


@dataclass(frozen=True)
class ContrastCard(ModelCard):
    """The card of a model that synthesizes contrasts, slice by slice."""

    grid: GridSpec
    intensity: IntensitySpec
    config: ContrastNetwork
    sampling: ContrastSampling
    task = "contrast"

    @property
    def neighbors(self) -> int:
        """Source slices on either side of each slice that the network sees, too."""
        return self.config.neighbors

    @property
    def overlap(self) -> int:
        """Slices on either side of each slice that the network estimates, too."""
        return self.config.overlap

    @property
    def intervals(self) -> bool:
        """Whether each estimate comes with the half-width in which 90 % of acquired values lie."""
        return self.config.intervals

    @property
    def noisy(self) -> bool:
        """Whether the network has a noise channel, so that draws differ and steps refine."""
        return self.config.noisy

    def check_steps(self, steps: int) -> None:
        """Raises RequestError for a number of network calls that the model cannot make."""
        most = self.sampling.most_steps
        if not 1 <= steps <= most:
            raise RequestError(f"steps is {steps}; give 1 to {most} for this model.")


@dataclass(frozen=True)
class CineCard(ModelCard):
    """The card of a model that synthesizes the frames between ED and ES.

    The only intensity rule is min-max: the lowest voxel of a volume is 0, the highest 1.
    """

    grid: CineGridSpec
    config: Any
    sampling: Any
    task = "cine"


@dataclass(frozen=True)
class MaskCard(ModelCard):
    """The card of a model that finds brain and head in one volume of any of its contrasts.

    The only intensity rule is median: air is 0, the median of what is not air 1.
    """

    grid: MaskGridSpec
    config: Any
    sampling: Any
    task = "mask"

    @property
    def direction(self) -> str:
        """For people: 'T1w, T2w or FLAIR -> masks of brain and head'."""
        *others, last = self.source_contrasts
        given = f"{', '.join(others)} or {last}" if others else last
        return f"{given} -> masks of {' and '.join(self.target_contrasts)}"
