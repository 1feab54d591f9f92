"""A recipe of MSTG: one YAML file with everything that a run depends on, checked when read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import MambaSynthError, RequestError
from MambaSynthLib.methods.mstg.config import MSTGConfig, config_of_card
from training.mstg.batches import TARGETS
from training.mstg.losses import Weights
from training.yaml_file import read_yaml

PRECISIONS = ("32", "bf16")


@dataclass(frozen=True)
class Optimization:
    """Adam; with ``cosine`` the rate falls to ``lr_end`` at the last iteration."""

    lr: float = 1e-4  # the paper's
    lr_end: float = 1e-6
    cosine: bool = False
    betas: tuple[float, float] = (0.5, 0.999)
    ema: float = 0.0  # decay of the averaged network that is exported; 0 keeps the raw one
    clip: float = 0.0  # largest norm of the gradient; 0 does not clip

    def __post_init__(self) -> None:
        for name in ("lr", "lr_end", "ema", "clip"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or value < 0:
                raise ValueError(f"optimization.{name} is {value!r}; write a number such as 1.0e-4")
        if self.ema >= 1 or len(self.betas) != 2:
            raise ValueError(f"ema {self.ema} is not below 1, or betas {self.betas} are not two")


@dataclass(frozen=True)
class Recipe:
    """See the comments in ``mstg.yaml`` and ``mstg_plus.yaml``."""

    seed: int
    iterations: int
    batch: int = 1
    targets: str = "ends"  # frames that training sees: ES alone, or "all" from ED to ES
    gamma_spread: float = 0.0  # of the brightness, as an augmentation
    precision: str = "32"  # or "bf16": convolutions under autocast; scan and warping stay float32
    network: MSTGConfig = field(default_factory=MSTGConfig)
    weights: Weights = field(default_factory=Weights)
    optimization: Optimization = field(default_factory=Optimization)
    expected: dict[str, Any] = field(default_factory=dict)  # for people: number, hardware, hours

    def __post_init__(self) -> None:
        for name in ("iterations", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}, but must be a whole number from 1")
        if self.targets not in TARGETS:
            raise ValueError(f"targets is {self.targets!r}, but must be {' or '.join(TARGETS)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; write '32' or bf16")
        if self.network.coarse and self.weights.lambda_eps > 0:
            raise ValueError("lambda_eps needs a code of the images' size; set it or coarse to 0")
        if self.network.mode == "image" and self.weights.lambda_eps <= 0:
            raise ValueError("mode image trains with lambda_eps alone; give it a weight")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file.

    Raises
    ------
    FileError: the file is missing or no YAML.
    RequestError: a key is missing or unknown, or a value does not fit.
    """
    data = read_yaml(path)
    try:
        return recipe_of(data)
    except (TypeError, ValueError, MambaSynthError) as error:
        raise RequestError(f"{path}: {error}; compare mstg.yaml.") from error


def recipe_of(data: Any) -> Recipe:
    """The recipe in parsed YAML or JSON. Raises ValueError or TypeError where it does not fit."""
    values = dict(_checked(data, Recipe, "the recipe"))
    if "network" in values:
        values["network"] = config_of_card(_checked(values["network"], MSTGConfig, "network"))
    if "weights" in values:
        values["weights"] = Weights(**_checked(values["weights"], Weights, "weights"))
    if "optimization" in values:
        rates = dict(_checked(values["optimization"], Optimization, "optimization"))
        if "betas" in rates:
            rates["betas"] = tuple(rates["betas"])
        values["optimization"] = Optimization(**rates)
    return Recipe(**values)


def _checked(data: Any, part: type[Any], where: str) -> Mapping[str, Any]:
    """``data``, if it is a mapping with all needed keys of the dataclass and no others."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} is no list of 'key: value' lines")
    known = {f.name: f for f in fields(part)}
    unknown = sorted(str(key) for key in data if key not in known)
    if unknown:
        raise ValueError(f"{where} has the unknown entries {', '.join(unknown)}")
    lacking = [
        name
        for name, f in known.items()
        if name not in data and f.default is MISSING and f.default_factory is MISSING
    ]
    if lacking:
        raise ValueError(f"{where} lacks {', '.join(lacking)}")
    return data
