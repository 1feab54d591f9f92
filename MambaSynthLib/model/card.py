"""The model card: everything that ``model.json`` of a model package says.

The file is checked against ``models/model.schema.json`` before it is parsed, so the classes here
only give the parts names and types.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from MambaSynthLib.errors import ModelError
from MambaSynthLib.methods.diffusion import Schedule

WEIGHTS = "weights.safetensors"
CINE_METHOD = "mstg"  # as in model.schema.json; its cards are CineCards
SKIPS_MULTIPLE = 8  # of the canvas: such networks halve it three times
MOST_SHOWN = 200  # characters of a schema error, which may quote the whole file


@dataclass(frozen=True)
class GridSpec:
    """The grid a network was trained on."""

    axis_codes: str  # columns, rows, slices: 'LPS' is the radiological view of axial slices
    in_plane_spacing_mm: float | None  # None: the volume's own pixels
    size: tuple[int, int]  # smallest canvas, rows x columns
    multiple: int = 4  # of which the canvas's rows and columns are made


@dataclass(frozen=True)
class IntensitySpec:
    """How intensities enter and leave the network."""

    rule: str  # 'percentile', 'zscore' or 'median'
    upper_percentile: float
    target_range: tuple[float, float]  # what the network's -1 and +1 mean in the synthetic volume


@dataclass(frozen=True)
class SamplingSpec:
    """The diffusion schedule of the training, and how many network calls to make by default."""

    schedule: Schedule
    default_steps: int
    default_samples: int


@dataclass(frozen=True)
class CineGridSpec:
    """The grid of a network that sees whole volumes."""

    axis_codes: str  # columns, rows, slices, as in GridSpec
    spacing_mm: tuple[float, float, float] | None  # columns, rows, slices; None: the volume's own
    size: tuple[int, int, int]  # field of view in voxels: slices, rows, columns


@dataclass(frozen=True)
class CineSamplingSpec:
    """The linear noise schedule of the training: beta from ``beta_min`` to ``beta_max``."""

    timesteps: int
    beta_min: float
    beta_max: float


@dataclass(frozen=True)
class ModelCard:
    """What every ``model.json`` says. ``extra`` keeps what only people read.

    A card is one of two kinds: ``ContrastCard`` or ``CineCard``.
    """

    id: str
    version: str
    title: str
    method: str
    source_contrasts: tuple[str, ...]
    target_contrasts: tuple[str, ...]
    network: dict[str, Any]
    sha256: dict[str, str]
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
    """The card of a model that synthesizes a contrast, slice by slice."""

    grid: GridSpec
    intensity: IntensitySpec
    sampling: SamplingSpec
    task = "contrast"

    @property
    def anatomy(self) -> str:
        """'head' or 'brain', what it is best at; '' where it does not say."""
        return str(self.extra.get("anatomy", ""))

    @property
    def neighbors(self) -> int:
        """Source slices on either side of each slice that the network sees, too."""
        found: int = self.network.get("neighbors", 0)
        return found

    @property
    def overlap(self) -> int:
        """Slices on either side of each slice that the network estimates, too."""
        found: int = self.network.get("overlap", 0)
        return found

    @property
    def noisy(self) -> bool:
        """Whether the network has a noise channel, so that draws differ and steps refine."""
        return bool(self.network["input_channels"] > 1)


@dataclass(frozen=True)
class CineCard(ModelCard):
    """The card of a model that synthesizes the frames between ED and ES.

    The only intensity rule is min-max: the lowest voxel of a volume is 0, the highest 1.
    """

    grid: CineGridSpec
    sampling: CineSamplingSpec
    task = "cine"


def parse_card(text: str, schema: dict[str, Any], where: str) -> ModelCard:
    """The card in ``text``, checked against ``schema``.

    Raises
    ------
    ModelError: no JSON, a repeated key, NaN or infinity, anything that the schema forbids, or
        values that exclude each other; the sentence names ``where`` and the place inside the file.
    """
    data = _strict_json(text, where)
    _check_schema(data, schema, where)
    card = _card(data)
    _check_sense(card, where)
    return card


def _strict_json(text: str, where: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ModelError(f"{where}: the key {key[:100]!r} appears twice; keep one of them.")
            found[key] = value
        return found

    def finite(value: str) -> float:
        number = float(value)  # also called for the words NaN and Infinity; 1e400 becomes inf
        if not math.isfinite(number):
            raise ModelError(f"{where}: holds {value}, which is no finite number; correct it.")
        return number

    try:
        return json.loads(text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number of 5000 digits
        raise ModelError(
            f"{where}: is not valid JSON ({error}); take the file from the model's author again."
        ) from error


def _check_schema(data: Any, schema: dict[str, Any], where: str) -> None:
    import jsonschema

    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema).iter_errors(data)
    )
    if error is not None:
        place = ".".join(str(part) for part in error.absolute_path) or "the top level"
        raise ModelError(
            f"{where}: does not describe a model package this version can use, at {place}: "
            f"{error.message[:MOST_SHOWN]}; update MambaSynth or correct the file."
        )


def _check_sense(card: ModelCard, where: str) -> None:
    """What a schema cannot say: relations between two values."""
    if isinstance(card, CineCard) and card.sampling.beta_min > card.sampling.beta_max:
        raise ModelError(f"{where}: sampling.beta_min is above beta_max; correct the file.")
    if not isinstance(card, ContrastCard):
        return
    low, high = card.intensity.target_range
    steps, most = card.sampling.default_steps, card.sampling.schedule.steps
    with np.errstate(invalid="ignore"):
        drowned = not np.all(card.sampling.schedule.signal[:-1] > 0)
    if not low < high:
        problem = f"intensity.target_range is {low:g} to {high:g}, which does not grow"
    elif steps > most:
        problem = f"sampling.default_steps is {steps}, more than the {most} timesteps"
    elif not card.noisy and (steps, card.sampling.default_samples) != (1, 1):
        problem = "sampling asks a network without noise for more than one step or draw"
    elif (card.network["input_channels"] == 1) != bool(card.network.get("skips", 0)):
        problem = "network.input_channels is 1 with skips 1, and 2 without"
    elif card.overlap > (card.neighbors if card.network.get("skips", 0) else 0):
        problem = f"network.overlap is {card.overlap}, without skips or more than the neighbors"
    elif card.network.get("skips", 0) and card.grid.multiple != SKIPS_MULTIPLE:
        problem = f"grid.multiple is {card.grid.multiple}, but skips want {SKIPS_MULTIPLE}"
    elif drowned:
        problem = "sampling drowns the image in noise before the last timestep"
    else:
        return
    raise ModelError(f"{where}: {problem}; correct the file.")


def _card(data: dict[str, Any]) -> ModelCard:
    known = {
        "format", "id", "version", "title", "method", "source_contrasts", "target_contrasts",
        "network", "grid", "intensity", "sampling", "files", "license", "intended_use",
        "trained_on", "scores",
    }  # fmt: skip
    common = {
        "id": data["id"],
        "version": data["version"],
        "title": data["title"],
        "method": data["method"],
        "source_contrasts": tuple(data["source_contrasts"]),
        "target_contrasts": tuple(data["target_contrasts"]),
        "sha256": {name: entry["sha256"] for name, entry in data["files"].items()},
        "license": data["license"],
        "intended_use": data["intended_use"],
        "trained_on": data["trained_on"],
        "scores": data["scores"],
        "extra": {key: value for key, value in data.items() if key not in known},
    }
    if data["method"] == CINE_METHOD:  # the schema asks for other parts of these
        return _cine_card(data, common)
    return _contrast_card(data, common)


def _contrast_card(data: dict[str, Any], common: dict[str, Any]) -> ContrastCard:
    grid, intensity, sampling = data["grid"], data["intensity"], data["sampling"]
    rows, columns = grid["size"]  # whole numbers, but JSON's 256.0 is one too
    return ContrastCard(
        **common,
        network={name: int(value) for name, value in data["network"].items()},
        grid=GridSpec(
            grid["axis_codes"],
            grid["in_plane_spacing_mm"],
            (int(rows), int(columns)),
            int(grid.get("multiple", 4)),
        ),
        intensity=IntensitySpec(
            intensity["rule"], intensity["upper_percentile"], tuple(intensity["target_range"])
        ),
        sampling=SamplingSpec(
            Schedule(int(sampling["timesteps"]), sampling["beta_min"], sampling["beta_max"]),
            int(sampling["default_steps"]),
            int(sampling["default_samples"]),
        ),
    )


def _cine_card(data: dict[str, Any], common: dict[str, Any]) -> CineCard:
    grid, sampling = data["grid"], data["sampling"]
    slices, rows, columns = (int(size) for size in grid["size"])
    spacing = grid["spacing_mm"]
    return CineCard(
        **common,
        network=data["network"],
        grid=CineGridSpec(
            grid["axis_codes"], spacing and tuple(map(float, spacing)), (slices, rows, columns)
        ),
        sampling=CineSamplingSpec(
            int(sampling["timesteps"]), sampling["beta_min"], sampling["beta_max"]
        ),
    )
