"""What the model card of a ``cravim-heads`` run says, besides what every card says.

Its scores are of twins that were trained without the people they are scored on, as far as it says:
a network that has seen everybody whose data there are can be scored on nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError
from MambaSynthLib.model.package import ModelPackage
from MambaSynthTraining.contrast.cravim.card import INTENDED_USE, network_of
from MambaSynthTraining.data.head_tissues import TISSUES
from MambaSynthTraining.evaluation.heads import INSERTED, TRIVIAL, read_rows
from MambaSynthTraining.evaluation.interval import coverage, interval_of_scores
from MambaSynthTraining.evaluation.lesions import MEASURES as OF_LESIONS
from MambaSynthTraining.evaluation.lesions import read_lesions
from MambaSynthTraining.model_readme import start_words
from MambaSynthTraining.runs import TrainedRun

if TYPE_CHECKING:
    from MambaSynthTraining.export import Description

Row = dict[str, Any]
MEASURES = ("psnr", "ssim", "nmi", "r", "detail", "jitter", "air", "seconds")
DIGITS = {"psnr": 2, "ssim": 3, "nmi": 3, "r": 3, "detail": 2, "jitter": 2, "air": 4, "seconds": 0}
NAMES = {TRIVIAL: "best linear map of source"}  # as all cards call it
GIVEN = {INSERTED: "in the head of another person"}
LIMITS = (
    "Trained on very few people, most of them with multiple sclerosis, for a short time. Lesions "
    "that the source does not show do not appear. Anatomy can be missing, invented or of the wrong "
    "brightness. Adult heads without contrast agent."
)
EXPLAINED = """\
Each volume is fitted to the acquired one by one linear map before it is scored, in the region that
the table names; PSNR against the 99.9 percentile there, SSIM of axial slices averaged inside, NMI
(1 to 2), Pearson's r. *detail*: energy finer than a Gaussian of one pixel, over the acquired
volume's. *jitter*: the same for the brightness jumps between slices. *air*: share of voxels outside
the head above a tenth of the range. *seconds* on two shared cores. *within*: share of the acquired
values within the 90 % interval, whose factor was found on the other people of these tables; of
brains also by classes of their T1w brightness. Losses and parts one by one:
`training/recipes/head_ablations`. The command draws everybody's worst slice; no picture of them is
here, as no image of a data set is part of the project."""
ALONE = """ A row
*axial slices alone* is what the same weights make without the mean over planes."""


def parts(run: TrainedRun, description: Description, scores: Sequence[Path]) -> dict[str, Any]:
    """The card's entries of this method; the intervals' factor is that of the scores."""
    recipe, (source, target) = run.record["recipe"], run.contrasts
    network = network_of(run)
    factor = interval_of_scores(row for folder in scores for row in read_rows(folder))
    calibrated = {"interval": round(factor, 3)} if network.get("interval") else {}
    return {
        "method": "cravim",
        "source_contrasts": [source],
        "target_contrasts": [target],
        "network": network,
        "grid": recipe["grid"],
        "intensity": recipe["intensity"],
        # one call without noise: the schedule has a single step
        "sampling": {
            "timesteps": 1, "beta_min": 0.1, "beta_max": 20.0, "default_steps": 1,
            "default_samples": 1, **calibrated,
        },
        "intended_use": INTENDED_USE,
        "limits": description.limits or LIMITS,
    }  # fmt: skip


def scores(run: TrainedRun, rehearsal: ModelPackage, folders: Sequence[Path]) -> list[Any]:
    """One entry of the card for each head, input and region, from folders of ``score-heads``.

    Raises
    ------
    RequestError: there are none.
    FileError: a folder holds no such scores.
    """
    rows = [row for folder in folders for row in read_rows(folder)]
    if not rows:
        raise RequestError(
            f"{run.folder}: has no scores; run 'mambasynth score-heads' on twins that were trained "
            "without the people of the list, and name its folders with --scores."
        )
    entries: dict[str, dict[str, Any]] = {}
    for row in (row for row in rows if row["region"] not in TISSUES):
        what = (
            f"{row['head']}, given {GIVEN.get(row['input'], row['input'])}, scored in the "
            f"{row['region']}, by a twin that never saw this person"
        )
        entry = entries.setdefault(
            what, {"data": what, "command": "mambasynth score-heads", "rows": []}
        )
        name = NAMES.get(row["candidate"], row["candidate"])
        entry["rows"].append(
            {"name": name, **{measure: row[measure] for measure in MEASURES}, **_held(row, rows)}
        )
    for row in (row for folder in folders for row in read_lesions(folder)):
        what = f"lesions of {row['head']}, by a twin that never saw this person"
        entry = entries.setdefault(
            what, {"data": what, "command": "mambasynth score-heads --lesions", "rows": []}
        )
        entry["rows"].append({"name": row["image"], **{m: row[m] for m in OF_LESIONS}})
    return list(entries.values())


def _held(row: Row, rows: Sequence[Row]) -> dict[str, float]:
    """The coverage of a row and, of brains given alone, of its tissues; {} without intervals."""
    same = [
        other
        for other in rows
        if all(other[k] == row[k] for k in ("head", "input", "candidate"))
        and (other is row or (row["region"] == "brain" and other["region"] in TISSUES))
    ]
    found = {other["region"]: coverage(other, rows) for other in same}
    return {
        "coverage" if region == row["region"] else f"coverage_{region}": round(held, 4)
        for region, held in found.items()
        if held is not None
    }


def parity(run: TrainedRun, package: ModelPackage) -> dict[str, float]:
    """How much the exported network's result differs from the trained one's, range -1..1."""
    import torch

    from MambaSynthLib.backends.torch_backend import load_network
    from MambaSynthLib.methods.cravim.network import build

    network = build(network_of(run))
    network.load_state_dict(run.weights())
    network.eval()
    generator = torch.Generator().manual_seed(0)
    seen = 1 + 2 * network.config.neighbors
    images = torch.rand((2, seen, 64, 48), generator=generator) * 2 - 1
    with torch.inference_mode():
        trained = network(images).numpy()
    difference = np.abs(load_network(package, "cpu")(images.numpy()) - trained)
    return {
        "largest_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
    }


def readme(card: dict[str, Any], weights: dict[str, NDArray[Any]]) -> str:
    """What the model is, what it was trained on, every measured number. Markdown."""
    count = sum(array.size for array in weights.values() if array.dtype.kind == "f")
    network, training = card["network"], card["training"]
    attribution = "\n".join(f"* {line}" for line in card["attribution"])
    tables = "\n\n".join(_table(entry) for entry in card["scores"])
    return f"""# {card["title"]}

<!-- made by: mambasynth card models/{card["id"]} -->
**SYNTHETIC IMAGES - NOT FOR DIAGNOSIS.** {card["intended_use"]}

| | |
|---|---|
| model | `{card["id"]}` {card["version"]} |
| method | CRAViM (Zhang & Jiang, MICCAI 2025), our variant with skip connections and without \
noise: ngf {network["ngf"]}, {network["n_blocks"]} residual blocks, {network["n_attentions"]} \
attention maps, {_reach(network)}; {count:,} values |
| direction | {card["source_contrasts"][0]} -> {card["target_contrasts"][0]}, {_planes(card)}, \
whole heads and brains |{_tone(card)}
| license | {card["license"]} |

## Trained on

{card["trained_on"]}

{_training(training)}

{attribution}

## Measured on people who were left out

What is called ours is a twin of this package, trained without the people of its table as *Trained
on* says; these weights themselves have seen them.

{tables}

{EXPLAINED}{ALONE if _turns(card) else ""}

## Limits

{card["limits"]}
<!-- /made -->
"""


def _planes(card: dict[str, Any]) -> str:
    thin = "axial, coronal and sagittal slices, averaged in thin voxels"
    return thin if _turns(card) else "axial slices"


def _tone(card: dict[str, Any]) -> str:
    ratio = card["intensity"].get("white_over_gray", 0)
    row = f"\n| source | white matter is first made {ratio:g} times as bright as gray |"
    return row if ratio else ""


def _turns(card: dict[str, Any]) -> bool:
    return card["grid"].get("planes") == "all"


def _reach(network: dict[str, int]) -> str:
    seen, estimated = network.get("neighbors", 0), network.get("overlap", 0)
    text = f"{seen} neighboring slice{'' if seen == 1 else 's'} on either side seen"
    return text + (f", {estimated} estimated, too, and averaged" if estimated else "")


def _training(training: dict[str, Any]) -> str:
    stages = ", ".join(
        f"{stage['iterations']} iterations ({stage['objective'] or 'pairs'})"
        for stage in training["recipe"]["stages"]
    )
    return (
        f"{stages}, in {training['minutes']:.0f} "
        f"minutes, {training['cpu_minutes']:.0f} of processor time ({training['machine']}), seed "
        f"{training['recipe']['seed']}, recipe `{training['recipe_file']}`, which `model.json` "
        f"repeats; the averaged weights in float16.{start_words(training)}"
    )


def _table(entry: dict[str, Any]) -> str:
    if "auc" in entry["rows"][0]:
        return _lesion_table(entry)
    lines = [
        f"**{entry['data']}** (`{entry['command']}`)", "",
        "| | PSNR [dB] | SSIM | NMI | r | detail | jitter | air | seconds | within |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in entry["rows"]:
        cells = " | ".join(f"{row[name]:.{DIGITS[name]}f}" for name in MEASURES)
        within = f"{row['coverage']:.1%}" if "coverage" in row else "-"
        tissues = [f"{t} {row[name]:.0%}" for t in TISSUES if (name := f"coverage_{t}") in row]
        within += f" ({', '.join(tissues)})" if tissues else ""
        lines.append(f"| {row['name']} | {cells} | {within} |")
    return "\n".join(lines)


def _lesion_table(entry: dict[str, Any]) -> str:
    lines = [
        f"**{entry['data']}** (`{entry['command']}`)", "",
        "| brightness of lesions | over white matter | over gray matter | AUC against white |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for row in entry["rows"]:
        cells = " | ".join(f"{row[name]:.3f}" for name in OF_LESIONS)
        lines.append(f"| {row['name']} | {cells} |")
    return "\n".join(lines)
