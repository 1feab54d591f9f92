"""What the card of a mask model says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.methods.maskunet.config import OUTPUTS
from MambaSynthTraining.mask.draws import EDGE_MM
from MambaSynthTraining.mask.listed import Row
from MambaSynthTraining.mask.scoring import Score, rows_of

CONTRASTS = ["T1w", "T2w", "FLAIR"]
INTENDED_USE = (
    "To measure within the brain or the head, and to prepare data. Not for diagnosis, and not for "
    "volumetry."
)
LIMITS = (
    "A border is right to about one of its cubes. What counts as brain is what its teacher takes "
    "for it: with the fluid in and close around it, down to the upper cord. Adults, upright by the "
    "affine; it saw no contrast agent in whole heads and no large resections. A piece of the orbit "
    "or of a muscle below the skull may be taken for brain, in T2w more than in T1w."
)
ABOUT = (
    "Dice (equal masks: 1) of people who were not learned from, mean and lowest. *brain* is "
    "compared with the teacher's mask in heads, with what is left in stripped volumes, with the "
    "labels in phantoms; *head* with the rule of `MambaSynthLib/image/head.py`, in phantoms with "
    "the labels. *stripped*: the head without what lies outside its brain; *6 mm*: means over "
    "axial slices; *flipped*: all array axes turned. *seconds*: the longest on one shared core."
)


def card_of(
    package_id: str, version: str, channels: Sequence[int], license: str, rows: Sequence[Row],
    training: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """``model.json`` without ``files`` and scores."""
    learned = [row for row in rows if row.part == "train"]
    count = len({row.person for row in learned})
    maps = sum(row.anatomy == "labels" for row in learned)
    return {
        "format": 1,
        "id": package_id,
        "version": version,
        "title": "Masks of brain and head in T1w, T2w and FLAIR",
        "method": "maskunet",
        "source_contrasts": CONTRASTS,
        "target_contrasts": list(OUTPUTS),
        "network": {"channels": list(channels)},
        "grid": {"spacing_mm": EDGE_MM},
        "intensity": {"rule": "median"},
        "sampling": {},
        "license": license,
        "attribution": sorted({row.citation for row in learned}),
        "intended_use": INTENDED_USE,
        "limits": LIMITS,
        "trained_on": (
            f"{len(learned) - maps} volumes of {count - maps} people and phantoms of {maps} label "
            f"maps; brain masks of whole heads by brainchop's mindgrab (MIT), of which this is a "
            f"distillate. Learned from: {', '.join(sorted({row.person for row in learned}))}. Left "
            f"out: {', '.join(sorted({row.person for row in rows} - {r.person for r in learned}))}."
        ),
        "training": training,
        "scores": [],
    }


def entry_of(scores: Sequence[Score]) -> dict[str, Any]:
    """An element of the card's scores."""
    command = "mambasynth score-masks"
    return {"data": "people who were left out", "command": command, "rows": rows_of(scores)}


def readme(card: dict[str, Any], weights: dict[str, NDArray[Any]]) -> str:
    """The package's README.md: what its card says, for people."""
    training = card["training"]
    values = sum(np.asarray(array).size for array in weights.values())
    tables = "\n\n".join(table(score["rows"]) for score in card["scores"])
    attribution = "\n".join(f"* {line}" for line in card["attribution"])
    return f"""# {card["title"]}

<!-- made by: mambasynth card models/{card["id"]} -->
`{card["id"]}` {card["version"]}, license {card["license"]}. {card["intended_use"]}

{values:,} values, float16; channels {", ".join(map(str, card["network"]["channels"]))}; \
{card["grid"]["spacing_mm"]:g} mm cubes.

## Training

{card["trained_on"]}

{spent(training)}.

{attribution}

## Measured

{ABOUT}

{tables or "Not yet."}

## Limits

{card["limits"]}
<!-- /made -->
"""


def spent(training: dict[str, Any]) -> str:
    """On what the time of a training went, and of the one that it began with."""
    words = (
        f"{training['draws']} draws, each seen {training['rounds']} times, in "
        f"{training['minutes']:.0f} minutes ({training['machine']}), seed {training['seed']}"
    )
    before = training.get("start")
    return f"{words}; begun with the network of {spent(before)}" if before else words


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    columns = [name for name in (rows[0] if rows else {}) if name != "name"]
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = (_cell(name, row[name]) for name in columns)
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(name: str, value: Any) -> str:
    if name == "volumes":
        return str(value)
    return f"{value:.1f}" if name == "seconds" else f"{value:.3f}"
