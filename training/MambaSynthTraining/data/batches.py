"""The batches of a run, and what data of any kind are to the engine.

An iteration's batch is worked off in equal shards. One process takes all of them in turn, several
processes share them; the same shards add up to the same gradient. A shard is a function of (seed,
iteration, its number), whatever process asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

from torch import Generator, Tensor
from torch.utils.data import Dataset

from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    from MambaSynthTraining.method import Phase, TrainingMethod
    from MambaSynthTraining.recipe import Recipe, Stage


NO_VALIDATION = "every.validate (the data have no validation subjects)"


class Batch(Protocol):
    """A named tuple of tensors, which Lightning moves to the device: what a method is given."""

    def _asdict(self) -> dict[str, Any]: ...

    @property
    def extent(self) -> str:
        """How many of which size, for people."""
        ...

    def augmented(self, recipe: Recipe, stage: Stage, generator: Generator) -> Self:
        """Changed at random, on the device; ``generator`` lives on the CPU."""
        ...


class Shard(NamedTuple):
    """One part of an iteration's batch."""

    batch: Batch
    names: tuple[str, ...]  # of what is in it, for people
    seed: int  # of everything else that is random in this shard

    def phases(self, method: TrainingMethod, recipe: Recipe, stage: Stage) -> Iterator[Phase]:
        """The phases of an iteration on this shard, the same ones however often it is begun."""
        generator = Generator().manual_seed(self.seed)
        return method.iteration(self.batch.augmented(recipe, stage, generator), generator)


class Correlation(NamedTuple):
    """Pearson's r with the acquired target inside its tissue, a mean over validation slices.

    Unpaired training can settle where every cycle is closed and the contrast is not the target's:
    the loss does not tell, the sign of r does.
    """

    synthetic: float
    mean_target: float  # of the mean training slice: what a method that looks at nothing reaches

    @property
    def is_poor(self) -> bool:
        return not self.synthetic >= self.mean_target


class Validation(NamedTuple):
    """How near a method comes to data it is not trained on."""

    error: float  # mean absolute error
    picture: Tensor  # (3,h,w) in [0,1]
    shown: str  # what the picture shows
    correlation: Correlation | None = None  # of contrasts alone


class TrainingData(Protocol):
    """Data of one kind; ``MambaSynthTraining/data/kinds.py`` names the kinds."""

    kind: ClassVar[str]

    def draw(self, recipe: Recipe, iteration: int, n: int, count: int) -> Shard:
        """Shard ``n`` of ``count`` of an iteration."""
        ...

    def validate(self, method: Any) -> Validation | None:
        """The same images and the same noise every time; None where there are none to look at.

        ``method`` is of the data's kind.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What the data decide in the place of the recipe."""
        ...

    def unused(self, recipe: Recipe) -> list[str]:
        """Keys of the recipe that these data have no use for, each with the reason."""
        ...

    def about(self) -> dict[str, Any]:
        """For the record of the run: what it learns from."""
        ...


def shard_count(recipe: Recipe, processes: int) -> int:
    """How many shards an iteration has: the recipe's number, or else one for each process.

    Raises
    ------
    RequestError: they cannot be spread evenly over the processes.
    """
    shards = recipe.shards if recipe.shards % processes == 0 else processes
    smallest = min(stage.batch for stage in recipe.stages)
    whole = all(stage.batch % (shards * recipe.run) == 0 for stage in recipe.stages)
    if recipe.shards not in (1, shards) or not whole:
        raise RequestError(
            f"{processes} processes cannot share batches of {smallest} in {recipe.shards} shards "
            f"evenly{_in_runs(recipe)}; use fewer processes or a recipe with larger batches."
        )
    return shards


def _in_runs(recipe: Recipe) -> str:
    return f", in runs of {recipe.run}" if recipe.run > 1 else ""


class Batches(Dataset[list[Shard]]):
    """Element k: the shards of iteration ``first`` + k that process ``rank`` works off."""

    def __init__(
        self, recipe: Recipe, data: TrainingData, first: int = 0, rank: int = 0, processes: int = 1
    ) -> None:
        self.recipe, self.data, self.first = recipe, data, first
        self.count = shard_count(recipe, processes)
        mine = self.count // processes
        self.shards = range(rank * mine, (rank + 1) * mine)

    def __len__(self) -> int:
        return self.recipe.iterations - self.first

    def __getitem__(self, k: int) -> list[Shard]:
        if k >= len(self):
            raise IndexError(k)
        return [self.data.draw(self.recipe, self.first + k, n, self.count) for n in self.shards]
