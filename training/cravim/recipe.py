"""A training recipe: one TOML file with everything that a run depends on, checked when read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from MambaSynthLib.card import GridSpec, IntensitySpec
from MambaSynthLib.diffusion import Schedule
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.methods.cravim.network import SIZE_MULTIPLE, CRAViMConfig
from training.cravim.losses import Weights
from training.cravim.step import WIRINGS, Wiring
from training.data.augmentation import Augmentation
from training.data.phantom_slices import Phantoms

OBJECTIVES = ("cycle", "paired")
SMALLEST_CROP = 64  # the discriminator halves six times


@dataclass(frozen=True)
class Stage:
    """A stretch of the training with one crop and batch size."""

    iterations: int
    batch: int
    crop: tuple[int, int]
    objective: str = "cycle"  # all losses and networks; or "paired": see step.paired_pass
    restart: bool = False  # begin the cosine of the learning rates anew
    lambda_structure: float = 0.0  # weight of losses.structural_loss in a paired stage
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.batch < 1:
            raise ValueError(f"a stage has {self.iterations} iterations of {self.batch} slices")
        if any(n < SMALLEST_CROP or n % SIZE_MULTIPLE for n in self.crop):
            raise ValueError(
                f"the crop {self.crop} is not made of multiples of {SIZE_MULTIPLE} from "
                f"{SMALLEST_CROP}"
            )
        if self.objective not in OBJECTIVES:
            raise ValueError(f"the objective {self.objective!r} is none of {', '.join(OBJECTIVES)}")


@dataclass(frozen=True)
class Optimization:
    """Adam for both sides; with ``cosine`` the rates fall from restart to restart."""

    lr_generators: float
    lr_discriminators: float
    lr_end: float
    betas: tuple[float, float]
    cosine: bool
    ema: float  # decay of the averaged generators that are exported; 0 keeps the raw ones


@dataclass(frozen=True)
class Recipe:
    """See the comments in ``training/cravim/compact.toml``."""

    seed: int
    wiring: Wiring
    network: CRAViMConfig
    discriminator_width: int
    weights: Weights
    optimization: Optimization
    stages: tuple[Stage, ...]
    phantoms: Phantoms
    grid: GridSpec
    intensity: IntensitySpec
    schedule: Schedule

    def __post_init__(self) -> None:
        objectives = [stage.objective for stage in self.stages]
        if not objectives or objectives != sorted(objectives):
            raise ValueError("the stages are none, or a paired one is not last; put those last")

    @property
    def iterations(self) -> int:
        return sum(stage.iterations for stage in self.stages)

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


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises
    ------
    FileError: the file is missing or no TOML.
    RequestError: a key is missing or unknown, or a value does not fit.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: is no TOML ({error}); correct that line.") from error
    try:
        return _recipe(data)
    except KeyError as error:
        raise RequestError(f"{path}: the recipe lacks {error}; compare compact.toml.") from error
    except (TypeError, ValueError) as error:
        raise RequestError(f"{path}: {error}; compare compact.toml.") from error


def _recipe(data: dict[str, Any]) -> Recipe:
    unknown = set(data) - {field.name for field in fields(Recipe)} - {"expected"}
    if unknown:
        raise ValueError(f"the recipe has the unknown entries {sorted(unknown)}")
    if data["wiring"] not in WIRINGS:
        raise ValueError(f"the wiring {data['wiring']!r} is none of {', '.join(WIRINGS)}")
    optimization = data["optimization"]
    grid = data["grid"]
    intensity = data["intensity"]
    return Recipe(
        seed=data["seed"],
        wiring=WIRINGS[data["wiring"]],
        network=CRAViMConfig(**data["network"]),
        discriminator_width=data["discriminator_width"],
        weights=Weights(**data["weights"]),
        optimization=Optimization(**{**optimization, "betas": tuple(optimization["betas"])}),
        stages=tuple(_stage(**stage) for stage in data["stages"]),
        phantoms=Phantoms(**data["phantoms"]),
        grid=GridSpec(**{**grid, "size": tuple(grid["size"])}),
        intensity=IntensitySpec(**{**intensity, "target_range": tuple(intensity["target_range"])}),
        schedule=_schedule(**data["schedule"]),
    )


def _stage(crop: Sequence[int], augmentation: Mapping[str, float], **settings: Any) -> Stage:
    return Stage(crop=tuple(crop), augmentation=Augmentation(**augmentation), **settings)


def _schedule(steps: int, beta_min: float, beta_max: float) -> Schedule:
    """The schedule; its eps is the published one, which a model card does not state."""
    return Schedule(steps, beta_min, beta_max)
