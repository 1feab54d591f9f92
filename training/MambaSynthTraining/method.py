"""What a training method is to the engine: networks, optimizers, and an iteration in phases.

A method is plain PyTorch. It knows nothing of devices, processes, precision, checkpoints or logs;
``MambaSynthTraining/engine`` knows nothing of losses, nor of the kind of data that a method learns
from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from MambaSynthTraining.cine.rivals.frame_model import FrameModel
    from MambaSynthTraining.data.beats import BeatBatch
    from MambaSynthTraining.data.slices import SliceBatch
    from MambaSynthTraining.recipe import Optimization, Recipe, Stage


@dataclass(frozen=True)
class Phase:
    """One optimizer step inside an iteration."""

    optimizer: str  # a key of TrainingMethod.optimizers
    loss: Tensor  # scalar with gradient
    terms: dict[str, Tensor]  # detached scalars for the log; names unique within the iteration


class TrainingMethod(Protocol):
    """Inherit from ``ContrastMethod`` or ``CineMethod``; ``methods.py`` names the class.

    Most methods have one objective only and need not mention it.
    """

    kind: ClassVar[
        str
    ]  # of the data that it learns from, one of ``MambaSynthTraining/data/kinds.py``
    networks: nn.ModuleDict  # everything that is trained
    exported: str  # key of the network that synthesizes; the engine averages it
    exported_back: str = ""  # key of the network of the other direction; empty: there is none
    objectives: ClassVar[tuple[str, ...]] = ("all",)
    objective: str = "all"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # name -> values of a recipe

    @classmethod
    def build(cls, recipe: Recipe) -> Self:
        """The untrained method of a recipe; it reads ``recipe.network``, ``recipe.weights``,
        ``recipe.optimization`` and what else it needs, through ``model.settings.settings``.

        torch's global seed is set before. Raises ValueError for a value that does not fit.
        """
        ...

    def begin(self, stage: Stage) -> None:
        """The iterations that follow belong to that stage of the recipe.

        Raises ValueError when the method cannot do what the stage asks for.
        """
        self.objective = stage.objective or self.objectives[0]
        if self.objective not in self.objectives:
            raise ValueError(
                f"the objective {self.objective!r} is none of {', '.join(self.objectives)}"
            )
        if stage.weights:
            raise ValueError("this method's stages have no weights of their own")

    def optimizers(self) -> dict[str, Optimizer]:
        """Called once, after the networks have moved to their device. The learning rates given
        here are those of the first iteration; the engine lets them fall.
        """
        ...

    def iteration(self, batch: Any, generator: Generator) -> Iterator[Phase]:
        """The phases of one iteration, in order; ``batch`` is of the method's kind.

        Between two phases the engine sets the gradients of the phase's optimizer to zero, calls
        backward, averages over processes, clips and steps; so code after a ``yield`` sees the
        stepped weights. Random numbers come from ``generator`` alone, drawn on the CPU:
        ``torch.randn(shape, generator=generator).to(device)``.
        """
        ...


class ContrastMethod(TrainingMethod, Protocol):
    """Learns one contrast from another.

    | symbol  | code          | shape     | meaning                                                |
    |---------|---------------|-----------|--------------------------------------------------------|
    | x_0     | ``source``    | (B,1,H,W) | acquired slices of the source contrast, in [-1,1]      |
    | y_0     | ``target``    | (B,1,H,W) | acquired slices of the target contrast, in [-1,1]      |
    | xi      | ``generator`` |           | the one source of randomness, on the CPU               |
    """

    kind: ClassVar[str] = "contrast"
    neighbors: int = 0  # slices on either side that the exported network sees, too

    @property
    def trains_back(self) -> bool:
        """Whether the current stage trains the network of the other direction, too."""
        return bool(self.exported_back)

    @property
    def needs_pairs(self) -> bool:
        """Whether the current stage compares with the acquired target of the same place."""
        return False

    def iteration(self, batch: SliceBatch, generator: Generator) -> Iterator[Phase]: ...

    def synthesize(self, source: Tensor, generator: Generator) -> Tensor:
        """Synthetic target (B,1,H,W), as a user would get it; called in eval mode, no gradient.

        With ``neighbors`` the batch is one run of consecutive slices.
        """
        ...


class CineMethod(TrainingMethod, Protocol):
    """Learns the frames between end-diastole and end-systole."""

    kind: ClassVar[str] = "cine"
    optimization: Optimization

    def optimizers(self) -> dict[str, Optimizer]:
        """One Adam a network, of the network's name."""
        adam = self.optimization.adam
        return {name: adam(name, each.parameters()) for name, each in self.networks.items()}

    def iteration(self, batch: BeatBatch, generator: Generator) -> Iterator[Phase]: ...

    def frame_model(self, device: torch.device | str) -> FrameModel:
        """The trained method from two images to frames, as a user would get them."""
        ...
