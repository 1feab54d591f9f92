"""A training run becomes a model package: averaged weights in float16, card filled with scores.

    python -m training.mstg.export RUN FOLDER --id ID --title TITLE --trained-on TEXT \\
        --scores SCORES.json [SCORES.json ...]

A score file is what a card's ``scores`` lists: {"data": ..., "command": ..., "rows": [{"name":
...}, ...]}. Without scores there is no package: a model whose quality nobody measured is not shown
to anyone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, MambaSynthError, RequestError
from MambaSynthLib.methods.mstg.network import MSTG
from MambaSynthLib.package import ModelPackage, write_package
from training.mstg.record import read_record
from training.mstg.state import trained_network

INTENDED_USE = (
    "Research on image synthesis and software testing. Not for diagnosis or measurement: the "
    "frames between the acquired ones are synthetic and must stay marked as such."
)
LIMITS = (
    "Frames between end-diastole and end-systole only; what moves in and out between the two, "
    "flow above all, cannot be known from them. Motion across slices is guessed from thick slices."
)


@dataclass(frozen=True)
class Description:
    """What people read about a model, besides its numbers."""

    id: str
    version: str
    title: str
    trained_on: str
    attribution: tuple[str, ...] = ()
    axis_codes: str = "LPS"  # of columns, rows and slices as the network sees them


def export(
    run: Path, folder: Path, description: Description, scores: list[dict[str, Any]]
) -> ModelPackage:
    """Write the package of a finished run.

    Raises
    ------
    RequestError: there are no scores. FileError: the run is unfinished or a weight does not fit
        float16. ModelError: the folder exists, or the card does not fit the schema.
    """
    if not scores:
        raise RequestError(f"{run}: has no scores; score it first.")
    record, recipe = read_record(run)
    network = trained_network(run, recipe)
    card = {
        "format": 1,
        "id": description.id,
        "version": description.version,
        "title": description.title,
        "method": "mstg",
        "source_contrasts": ["ED", "ES"],
        "target_contrasts": ["cine"],
        "network": asdict(recipe.network),
        "grid": {
            "axis_codes": description.axis_codes,
            "spacing_mm": record["spacing_mm"][::-1],  # columns, rows, slices
            "size": record["size"],
        },
        "intensity": {"rule": "minmax"},
        "sampling": {
            "timesteps": network.schedule.steps,
            "beta_min": network.schedule.beta_min,
            "beta_max": network.schedule.beta_max,
        },
        "license": "Apache-2.0",
        "attribution": list(description.attribution),
        "intended_use": INTENDED_USE,
        "limits": LIMITS,
        "trained_on": description.trained_on,
        "training": record,
        "scores": scores,
    }
    return write_package(folder, card, half_weights(network, run), _readme(card))


def half_weights(network: MSTG, run: Path) -> dict[str, NDArray[np.float16]]:
    """Name -> float16 array. Raises FileError where a weight does not fit."""
    weights = {}
    for name, value in network.state_dict().items():
        with np.errstate(over="ignore"):  # told below
            weights[name] = value.numpy().astype(np.float16)
        if not np.isfinite(weights[name]).all():
            raise FileError(f"{run}: {name} holds values that float16 does not; train it again.")
    return weights


def _readme(card: dict[str, Any]) -> str:
    training, recipe = card["training"], card["training"]["recipe"]
    tables = "\n\n".join(_table(score) for score in card["scores"])
    attribution = "\n".join(f"* {line}" for line in card["attribution"])
    size = " x ".join(str(n) for n in card["grid"]["size"])
    return f"""# {card["title"]}

`{card["id"]}` {card["version"]}: ED + ES -> the frames between them (MSTG). {card["intended_use"]}

## Training

{card["trained_on"]}

{recipe["iterations"]} iterations on {len(training["subjects"])} subjects of {size} voxels in \
{training["minutes"]:.0f} minutes ({training["machine"]}), seed {recipe["seed"]}, recipe \
`{training["recipe_file"]}`, which `model.json` repeats; the weights in float16.

{attribution}

## Measured

{tables}

## Limits

{card["limits"]}
"""


def _table(score: dict[str, Any]) -> str:
    """Every number of a score's rows, under the names that the score file gives them."""
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


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be read ({error}); score the run first.") from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.mstg.export", description=__doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN")
    add("folder", type=Path, metavar="FOLDER", help="the package to write, e.g. models/my-model")
    add("--id", required=True)
    add("--version", default="1.0.0")
    add("--title", required=True)
    add("--trained-on", required=True)
    add("--attribution", action="append", default=[])
    add("--axis-codes", default="LPS", help="directions of columns, rows and slices")
    add("--scores", type=Path, nargs="+", default=[])
    options = parser.parse_args(arguments)
    description = Description(
        options.id,
        options.version,
        options.title,
        options.trained_on,
        tuple(options.attribution),
        options.axis_codes,
    )
    try:
        scores = [_read_json(path) for path in options.scores]
        package = export(options.run, options.folder, description, scores)
    except MambaSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {package.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
