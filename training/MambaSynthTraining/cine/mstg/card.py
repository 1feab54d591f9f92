"""What MSTG's model card says of a run, besides what every card says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.model.package import ModelPackage
from MambaSynthTraining.model_readme import recipe_words, start_words
from MambaSynthTraining.runs import TrainedRun

if TYPE_CHECKING:
    from MambaSynthTraining.export import Description
    from MambaSynthTraining.method import CineMethod

CARD = "card.json"  # written by ``mambasynth reproduce``
PARITY_SIZE = (32, 32, 32)  # slices x rows x columns of the random images parity is measured on
PARITY_FRACTIONS = (0.25, 0.5, 0.75)
INTENDED_USE = (
    "Research on image synthesis and software testing. Not for diagnosis or measurement: the "
    "frames between the acquired ones are synthetic and must stay marked as such."
)
LIMITS = (
    "Frames between end-diastole and end-systole only; what moves in and out between the two, "
    "flow above all, cannot be known from them. Motion across slices is guessed from thick slices."
)


def parts(run: TrainedRun, description: Description, scores: Sequence[Path]) -> dict[str, Any]:
    """The card's entries of this method; none of them depends on the scores."""
    from MambaSynthLib.methods.mstg.config import MSTGConfig
    from MambaSynthLib.methods.mstg.network import MSTG
    from MambaSynthLib.model.settings import settings

    config = settings(MSTGConfig, run.record["recipe"]["network"], "network")
    schedule = MSTG(config).schedule
    return {
        "source_contrasts": ["ED", "ES"],
        "target_contrasts": ["cine"],
        "network": {**asdict(config), "channels": list(config.channels)},
        "grid": {
            "axis_codes": description.axis_codes,
            "spacing_mm": run.record["spacing_mm"][::-1],  # columns, rows, slices
            "size": run.record["size"],
        },
        "intensity": {"rule": "minmax"},
        "sampling": {
            "timesteps": schedule.steps,
            "beta_min": schedule.beta_min,
            "beta_max": schedule.beta_max,
        },
        "intended_use": INTENDED_USE,
        "limits": " ".join(part for part in (LIMITS, description.limits) if part),
    }


def scores(run: TrainedRun, _: ModelPackage, folders: Sequence[Path]) -> list[Any]:
    """The tables in the folders of ``mambasynth reproduce``.

    Raises RequestError: there are none with these weights. FileError: one cannot be read.
    """
    cards = [_read_card(folder / CARD) for folder in folders]
    if not any(run.checkpoint_sha256 in card["checkpoints"] for card in cards):
        raise RequestError(
            f"{run.folder}: has no scores of its weights; let 'mambasynth reproduce' score "
            "it and name the folder of its table with --scores."
        )
    return [card["entry"] for card in cards]


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return {"entry": card["entry"], "checkpoints": list(card["checkpoints"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path}: cannot be read ({error}); score the run first.") from error


def parity(run: TrainedRun, package: ModelPackage) -> dict[str, float]:
    """How much the exported network's frames differ from the trained one's, range 0..1.

    The trained network computes with its float32 weights, the exported one as the library loads
    it, both between the same random images.
    """
    from MambaSynthLib.backends.torch_backend import load_network
    from MambaSynthLib.methods.mstg.synthesis import synthesize

    ed, es = np.random.default_rng(0).random((2, *PARITY_SIZE), dtype=np.float32)
    method: CineMethod
    with run.trained() as method:
        trained = method.frame_model("cpu").frames(ed, es, PARITY_FRACTIONS)
    exported = synthesize(load_network(package, "cpu"), ed, es, list(PARITY_FRACTIONS)).images
    difference = np.abs(exported - trained)
    return {
        "largest_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
    }


def readme(card: dict[str, Any], _: dict[str, NDArray[Any]]) -> str:
    """The package's README.md: what its card says, for people."""
    training, recipe = card["training"], card["training"]["recipe"]
    iterations = sum(stage["iterations"] for stage in recipe["stages"])
    tables = "\n\n".join(_table(score) for score in card["scores"])
    attribution = "\n".join(f"* {line}" for line in card["attribution"])
    size = " x ".join(str(n) for n in card["grid"]["size"])
    return f"""# {card["title"]}

<!-- made by: mambasynth card models/{card["id"]} -->
`{card["id"]}` {card["version"]}: ED + ES -> the frames between them (MSTG). {card["intended_use"]}

## Training

{card["trained_on"]}

{iterations} iterations on {len(training["subjects"])} subjects of {size} voxels in \
{_time(training)} ({training["machine"]}), seed {recipe["seed"]}, \
{recipe_words(training)}, which `model.json` repeats; the weights in float16.{start_words(training)}

{attribution}

## Measured

{tables}

## Limits

{card["limits"]}
<!-- /made -->
"""


def _time(training: dict[str, Any]) -> str:
    """Both clocks where both were read: other jobs on the machine slow only one of them."""
    minutes = f"{training['minutes']:.0f} minutes"
    if "cpu_minutes" not in training:
        return minutes
    return f"{training['cpu_minutes']:.0f} minutes of processor time, {minutes} on the clock"


def _table(score: dict[str, Any]) -> str:
    """Every number of a score's rows, under the names that the entry gives them."""
    columns = list(dict.fromkeys(key for row in score["rows"] for key in row if key != "name"))
    lines = [
        f"**{score['data']}**" + (f" (`{score['command']}`)" if "command" in score else ""),
        "",
        "| | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row in score["rows"]:
        cells = (_cell(row.get(column, "")) for column in columns)
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
