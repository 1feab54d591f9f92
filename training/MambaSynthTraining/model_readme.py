"""The README of a CRAViM model package: its card in words and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def readme(card: dict[str, Any], weights: dict[str, NDArray[Any]]) -> str:
    """What the model is, what it was trained on, every measured number. Markdown."""
    count = sum(array.size for array in weights.values() if array.dtype.kind == "f")
    network = card["network"]
    tables = "\n\n".join(_score_table(score) for score in card["scores"])
    attribution = "\n".join(f"* {line}" for line in card["attribution"])
    return f"""# {card["title"]}

<!-- made by: mambasynth card models/{card["id"]} -->
**SYNTHETIC IMAGES - NOT FOR DIAGNOSIS.** {card["intended_use"]}

| | |
|---|---|
| model | `{card["id"]}` {card["version"]} |
| method | CRAViM (Zhang & Jiang, MICCAI 2025): ngf {network["ngf"]}, \
{network["n_blocks"]} residual blocks, {network["n_attentions"]} attention maps; {count:,} values\
{_neighbors(network)} |
| direction | {card["source_contrasts"][0]} -> {card["target_contrasts"][0]}, axial slices |
| default | steps {card["sampling"]["default_steps"]}, \
draws {card["sampling"]["default_samples"]} |
| license | {card["license"]} |

## Trained on

{card["trained_on"]}

{_training(card["training"])}

{attribution}

## Measured

{tables}

Means over subjects, each the mean over its axial slices that hold anatomy and over the sampling
seeds; slices are z-scored by their own mean and standard deviation, background included, as
`mambasynth evaluate` does it. The source rows are the source clipped as the network sees it: as it
is, with its brightness upside down, and times the gain plus the offset that bring it nearest to the
acquired target, which it must have seen for that. A shifted target is the acquired image itself,
moved by so many pixels: what registration errors of that size cost.

## Limits

{card["limits"]}
<!-- /made -->
"""


def _neighbors(network: dict[str, int]) -> str:
    r = network.get("neighbors", 0)
    return f"; neighboring slices seen on either side: {r} (2.5-D)" if r else ""


def recipe_words(training: dict[str, Any]) -> str:
    """The recipe of a run, and whether it was its small form."""
    small = " with `--small`" if training["recipe"].get("small") else ""
    return f"recipe `{training['recipe_file']}`{small}"


def start_words(training: dict[str, Any]) -> str:
    """What the run began with, where that was no network of its own; a sentence after a space."""
    start = training.get("start")
    if not start:
        return ""
    if "package" in start:
        return (
            f" They began with those of `{start['package']}` {start['version']} "
            f"({start['license']}; sha256 {start['weights_sha256'][:12]}): "
            f"{start['trained_on']}"
        )
    if "checkpoint" in start:
        return (
            f" They began with those of the checkpoint `{start['checkpoint']}` (sha256 "
            f"{start['weights_sha256'][:12]}), which says neither its license nor its data."
        )
    if "mean_of" in start:
        return _mean_words(start["mean_of"])
    return f" They began with those of {_run_words(start)}.{start_words(start)}"


def _run_words(about: dict[str, Any]) -> str:
    spent = f"{about['minutes']:.0f} minutes, `{about['recipe']}`"
    return f"a run of {about['iterations']} iterations ({spent})"


def _mean_words(runs: list[dict[str, Any]]) -> str:
    """What of one's beginnings is told with another's is not told again."""
    beginnings = {start_words(run): None for run in runs}
    told = [text for text in beginnings if not any(text in o for o in beginnings if o != text)]
    each = ", and of ".join(map(_run_words, runs))
    return f" They began with the mean of those of {each}.{''.join(told)}"


def _training(training: dict[str, Any]) -> str:
    recipe = training["recipe"]
    stages = ", ".join(
        f"{stage['iterations']} iterations{_objective(stage)}" for stage in recipe["stages"]
    )
    text = (
        f"{stages}, in {training['minutes']:.0f} minutes ({training['machine']}), seed "
        f"{recipe['seed']}, {recipe_words(training)}, which `model.json` repeats; the "
        f"averaged weights in float16.{start_words(training)}"
    )
    parity = training.get("parity")
    if parity:
        text += (
            f" Exported against trained network on random slices, of the range -1..1: largest "
            f"difference {parity['largest_difference']:.1e}, mean {parity['mean_difference']:.1e}."
        )
    return text


def _objective(stage: dict[str, Any]) -> str:
    paired = " on registered pairs (L1 to the acquired target; our addition)"
    return paired if stage.get("objective") == "paired" else ""


def _score_table(score: dict[str, Any]) -> str:
    rows = [
        f"| {row['name']} | {_cell(row, 'ssim', 4)} | {_cell(row, 'psnr', 2)} | "
        f"{_cell(row, 'nmi', 4)} | {_cell(row, 'mse', 4)} |"
        for row in score["rows"]
    ]
    return "\n".join(
        [
            f"**{score['data']}**{_slices(score)} (`{score['command']}`)",
            "",
            "| | SSIM | PSNR [dB] | NMI | MSE |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _slices(score: dict[str, Any]) -> str:
    return f", {score['slices']} slices" if "slices" in score else ""


def _cell(row: dict[str, Any], name: str, digits: int) -> str:
    """A mean, with its standard deviation over the subjects where there are several."""
    value, spread = row.get(name), row.get(f"{name}_std_over_subjects")
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")
