"""A training recipe: everything that a run depends on; ``recipe_file.py`` reads it.

Data, machine and number of processes are not in it: the same file runs on a laptop and a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from torch.nn import Parameter
from torch.optim import Adam

from MambaSynthLib.methods.diffusion import Schedule
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.augmentation import Augmentation
from MambaSynthTraining.data.cine_draws import CineDraws

DECAYS = ("constant", "cosine", "linear")
MOST_SEEDS = 2**63  # of PyTorch's generators
FOR_PEOPLE = ("expected", "small")  # parts of a recipe that change no number


@dataclass(frozen=True)
class Stage:
    """A stretch of the training with one crop and batch size."""

    iterations: int
    batch: int  # slices or beats of one iteration, over all processes together
    crop: tuple[int, ...] = ()  # slices: rows, columns; beats: slices, rows, columns, or whole
    objective: str = ""  # one of the method's; empty: its first
    restart: bool = False  # let the learning rates begin anew
    weights: dict[str, float] = field(default_factory=dict)  # in this stage, over the recipe's
    augmentation: Augmentation | None = None  # in this stage instead of the recipe's

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.batch < 1:
            raise ValueError(f"a stage has {self.iterations} iterations of batch {self.batch}")


@dataclass(frozen=True)
class Optimization:
    """Adam for every group of networks; the rates fall from restart to restart."""

    learning_rates: dict[str, float]  # for each optimizer of the method
    betas: tuple[float, float] = (0.5, 0.9)
    decay: str = "constant"  # cosine: to lr_end; linear: to lr_end over the second half
    lr_end: float = 0.0
    ema: float = 0.0  # decay of the averaged exported network; 0 keeps the raw weights
    clip: float = 0.0  # largest norm of an optimizer's gradient; 0 does not clip

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise ValueError(f"the decay {self.decay!r} is none of {', '.join(DECAYS)}")
        for name, rate in self.learning_rates.items():
            if not isinstance(rate, int | float) or rate < 0:
                raise ValueError(f"the learning rate {name} is {rate!r}; write it as 2.0e-4")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}, not in [0, 1)")

    def rate(self, name: str) -> float:
        """Raises ValueError where the recipe has no rate of that name."""
        if name not in self.learning_rates:
            raise ValueError(f"optimization: learning_rates lacks {name}")
        return self.learning_rates[name]

    def adam(self, name: str, parameters: Iterable[Parameter]) -> Adam:
        """Adam with the rate of that name. Raises ValueError where the recipe has none."""
        return Adam(
            parameters, self.rate(name), self.betas, fused=True
        )  # a sixth of the time on a CPU


@dataclass(frozen=True)
class Every:
    """Iterations between two rows of the log, two checkpoints, two validations."""

    log: int = 20
    save: int = 100
    validate: int = 500

    def __post_init__(self) -> None:
        if min(self.log, self.save, self.validate) < 1:
            raise ValueError("an interval of 'every' is less than one iteration")


@dataclass(frozen=True)
class Recipe:
    """See the comments in ``training/recipes``."""

    method: str
    optimization: Optimization
    stages: tuple[Stage, ...]
    seed: int = 1024  # of the published program
    preset: str = ""  # of the method; its values hold where the file says nothing
    network: dict[str, Any] = field(default_factory=dict)  # sizes, read by the method
    weights: dict[str, float] = field(default_factory=dict)  # of the losses, read by the method
    options: dict[str, Any] = field(default_factory=dict)  # the method's own switches
    schedule: Schedule = Schedule()
    same_slice: bool = True  # False: source and target are slices of independent draws
    epochs: bool = False  # every slice once before any comes again; False: drawn with replacement
    run: int = 1  # consecutive slices of one subject that are drawn, cut and changed together
    augmentation: Augmentation = Augmentation()
    shards: int = 1  # parts that an iteration's batch is worked off in; more save memory
    precision: str = "32"
    every: Every = Every()
    cine: CineDraws | None = None  # what cine methods see
    grid: GridSpec | None = None  # of the data, in the record of a run
    intensity: IntensitySpec | None = None
    expected: dict[str, Any] = field(default_factory=dict)  # for people: number, hardware, minutes
    small: bool = False  # the file's block ``small`` is in it

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("the recipe has no stages")
        if not 0 <= self.seed < MOST_SEEDS:
            raise ValueError(f"the seed {self.seed} is not in [0, 2^63)")
        if self.precision not in ("32", "bf16-mixed"):
            raise ValueError(f"the precision {self.precision!r} is none of '32', bf16-mixed")
        if self.shards < 1 or any(stage.batch % self.shards for stage in self.stages):
            raise ValueError(f"a batch cannot be worked off in {self.shards} equal shards")
        if self.run < 1 or any(s.batch % (self.shards * self.run) for s in self.stages):
            raise ValueError(
                f"a batch, or a shard of it, cannot be made of whole runs of {self.run} slices"
            )

    @property
    def iterations(self) -> int:
        return sum(stage.iterations for stage in self.stages)

    @property
    def stage_starts(self) -> list[int]:
        """The first iteration of each stage."""
        return list(accumulate((stage.iterations for stage in self.stages[:-1]), initial=0))

    def of_length(self, iterations: int) -> Recipe:
        """As it is, but for so many iterations altogether; the stages keep their shares of them.

        Raises ValueError: there are more stages than iterations.
        """
        if iterations < len(self.stages):
            raise ValueError(f"{iterations} iterations are too few for {len(self.stages)} stages")
        ends = accumulate(stage.iterations for stage in self.stages)
        stages, first = [], 0
        for n, (stage, end) in enumerate(zip(self.stages, ends, strict=True)):
            later = len(self.stages) - n - 1  # stages that need an iteration each
            last = round(iterations * end / self.iterations)
            last = min(max(last, first + 1), iterations - later)
            stages.append(replace(stage, iterations=last - first))
            first = last
        return replace(self, stages=tuple(stages))

    def phase_of(self, iteration: int) -> tuple[int, int]:
        """First and one past last iteration between the restarts around this one."""
        first = end = 0
        for stage in self.stages:
            if stage.restart:
                if iteration < end:
                    break
                first = end
            end += stage.iterations
        return first, end

    def stage_at(self, iteration: int) -> Stage:
        """The stage that iteration 0, 1, ... belongs to."""
        for stage in self.stages:
            if iteration < stage.iterations:
                return stage
            iteration -= stage.iterations
        return self.stages[-1]

    def slices_before(self, iteration: int) -> int:
        """How many slices, or beats, the iterations before this one have used."""
        used = 0
        for stage in self.stages:
            done = min(iteration, stage.iterations)
            used += done * stage.batch
            iteration -= done
        return used

    def augmentation_of(self, stage: Stage) -> Augmentation:
        """What the slices of a stage are changed by."""
        return self.augmentation if stage.augmentation is None else stage.augmentation
