"""A training run becomes a model package: averaged weights in float16, card filled with scores.

    python -m training.export RUN FOLDER --id ID --title TITLE --trained-on TEXT \\
        --scores SCORES.json [SCORES.json ...]

``training.score`` writes the score files. Without scores there is no package: a model whose quality
nobody measured is not shown to anyone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError, MambaSynthError, RequestError
from MambaSynthLib.package import ModelPackage, write_package
from training.cravim.recipe import OBJECTIVES
from training.cravim.record import read_record

CHECKPOINT = "last.pt"
LIMITS = (
    "Small and trained on very few people. Anatomy and lesions can be missing, invented or of the "
    "wrong brightness. Only adult brains, T1w without contrast agent, best when skull-stripped."
)
INTENDED_USE = (
    "Research on image synthesis and software testing. Not for diagnosis: every synthetic image "
    "must be read beside the acquired one and stay marked as synthetic."
)


@dataclass(frozen=True)
class Description:
    """What people read about a model, besides its numbers."""

    id: str
    version: str
    title: str
    trained_on: str
    attribution: tuple[str, ...]
    default_steps: int
    default_samples: int


def averaged_weights(run: Path) -> dict[str, NDArray[Any]]:
    """The exponentially averaged A -> B generator of a run, floats as float16.

    Raises
    ------
    FileError: the run has no readable checkpoint, or a weight does not fit float16.
    """
    path = run / CHECKPOINT
    try:
        averaged = torch.load(path, map_location="cpu", weights_only=True)["averaged"]
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        raise FileError(
            f"{path}: is no readable checkpoint ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}); train first."
        ) from error
    prefix = "a_to_b.module."
    weights = {}
    for name, value in averaged.items():
        if not name.startswith(prefix):
            continue
        array = value.numpy()
        if array.dtype == np.float32:
            with np.errstate(over="ignore"):  # told below
                array = array.astype(np.float16)
            if not np.isfinite(array).all():
                raise FileError(f"{path}: {name} holds values that float16 does not.")
        weights[name.removeprefix(prefix)] = array
    return weights


def export(
    run: Path, folder: Path, description: Description, scores: list[dict[str, Any]]
) -> ModelPackage:
    """Write the package of a finished run.

    Raises
    ------
    RequestError: there are no scores. FileError, ModelError: see ``averaged_weights`` and
        ``write_package``.
    """
    if not scores:
        raise RequestError(f"{run}: has no scores; run training.score first.")
    return _write(run, folder, description, scores)


def draft(run: Path, folder: Path) -> ModelPackage:
    """The package of a run before it was scored, for ``training.score`` alone."""
    return _write(run, folder, Description("draft", "0.0.0", "draft", "draft", (), 4, 1), [])


def _write(
    run: Path, folder: Path, description: Description, scores: list[dict[str, Any]]
) -> ModelPackage:
    record = read_record(run)
    recipe = record["recipe"]
    schedule, intensity = recipe["schedule"], recipe["intensity"]
    card = {
        "format": 1,
        "id": description.id,
        "version": description.version,
        "title": description.title,
        "method": "cravim",
        "source_contrasts": ["T1w"],
        "target_contrasts": ["T2w"],
        "network": recipe["network"],
        "grid": recipe["grid"],
        "intensity": intensity,
        "sampling": {
            "timesteps": schedule["steps"],
            "beta_min": schedule["beta_min"],
            "beta_max": schedule["beta_max"],
            "default_steps": description.default_steps,
            "default_samples": description.default_samples,
        },
        "license": "Apache-2.0",
        "attribution": list(description.attribution),
        "intended_use": INTENDED_USE,
        "limits": LIMITS,
        "trained_on": description.trained_on,
        "training": record,
        "scores": scores,
    }
    weights = averaged_weights(run)
    return write_package(folder, card, weights, readme(card, weights))


def readme(card: dict[str, Any], weights: dict[str, NDArray[Any]]) -> str:
    """The model card for people: what it is, what it was trained on, every measured number."""
    count = sum(array.size for array in weights.values() if array.dtype.kind == "f")
    training, network = card["training"], card["network"]
    recipe = training["recipe"]
    cycle, paired = (
        sum(stage["iterations"] for stage in recipe["stages"] if stage["objective"] == objective)
        for objective in OBJECTIVES
    )
    tables = "\n\n".join(_score_table(score) for score in card["scores"])
    attribution = "\n".join(f"* {line}" for line in card["attribution"])
    return f"""# {card["title"]}

**SYNTHETIC IMAGES - NOT FOR DIAGNOSIS.** {card["intended_use"]}

| | |
|---|---|
| model | `{card["id"]}` {card["version"]} |
| method | CRAViM (Zhang & Jiang, MICCAI 2025), compact: ngf {network["ngf"]}, \
{network["n_blocks"]} residual blocks, {network["n_attentions"]} attention maps; {count:,} values |
| direction | {card["source_contrasts"][0]} -> {card["target_contrasts"][0]}, axial slices |
| default | steps {card["sampling"]["default_steps"]}, \
draws {card["sampling"]["default_samples"]} |
| license | {card["license"]} |

## Trained on

{card["trained_on"]}

{cycle} iterations with CRAViM's losses on both directions, then {paired} supervised ones of the \
exported generator alone (L1 to the registered target; our addition), in \
{training["minutes"]:.0f} minutes ({training["machine"]}), seed \
{recipe["seed"]}, recipe `{training["recipe_file"]}`, which `model.json` repeats; the \
averaged weights in float16.

{attribution}

## Measured

{tables}

Means over axial slices, each z-scored by its own mean and standard deviation, as `mambasynth
evaluate` prints them. "Source inverted inside the mask" is the T1w image with its brightness
turned upside down. NMI rewards detail shared voxel by voxel, all of which the source has and a
small network partly loses; it also depends on the 100 bins of each image, which one bright voxel
makes coarse.

## Limits

{card["limits"]}
"""


def _score_table(score: dict[str, Any]) -> str:
    rows = [
        f"| {row['name']} | {row['ssim']:.4f} | {row['psnr']:.2f} | {row['nmi']:.4f} | "
        f"{row['mse']:.4f} |"
        for row in score["rows"]
    ]
    return "\n".join(
        [
            f"**{score['data']}** (`{score['command']}`)",
            "",
            "| | SSIM | PSNR [dB] | NMI | MSE |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise FileError(f"{path}: cannot be read ({error}); finish the training first.") from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN")
    add("folder", type=Path, metavar="FOLDER", help="the package to write, e.g. models/my-model")
    add("--id", required=True)
    add("--version", default="1.0.0")
    add("--title", required=True)
    add("--trained-on", required=True)
    add("--attribution", action="append", default=[])
    add("--scores", type=Path, nargs="+", default=[], help="files written by training.score")
    add("--steps", type=int, default=4, help="network calls by default")
    add("--samples", type=int, default=1, help="noise draws averaged by default")
    options = parser.parse_args(arguments)
    description = Description(
        options.id,
        options.version,
        options.title,
        options.trained_on,
        tuple(options.attribution),
        options.steps,
        options.samples,
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
