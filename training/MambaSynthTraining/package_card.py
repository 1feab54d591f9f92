"""The cards of finished packages: new scores, the README of each, and one table of all.

Every number in ``models/*/README.md`` and in the model table of the project's README comes from
``model.json`` through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.errors import RequestError
from MambaSynthLib.io.atomic import together, write_whole
from MambaSynthLib.model.package import (
    CARD,
    README,
    SEAL,
    ModelPackage,
    card_json,
    read_package,
    sealed,
)
from MambaSynthTraining.methods import card_module

MADE_BY = "mambasynth card models/*/ --worth README.md"
MEANS = ("ssim", "psnr")
WITHOUT_MODEL = ("source itself", "source inverted", "best linear map of source", "no motion",
                 "linear blend", "mean target of the training set")  # fmt: skip

Card = dict[str, Any]


def rescore(package: ModelPackage, folders: Sequence[Path], of: Sequence[str]) -> ModelPackage:
    """The package with the scores in ``folders`` in its card.

    Raises
    ------
    RequestError: the package is of a cine, whose scores come with its training, or no folder
        holds scores of these weights.
    FileError: a folder holds no complete scores.
    """
    if package.card.task == "cine":
        raise RequestError(f"{package.folder}: is a cine; export its run again for new scores.")
    if package.card.task == "mask":
        from MambaSynthTraining.mask.card import entry_of
        from MambaSynthTraining.mask.scoring import read_scores

        card = card_json(package)
        card["scores"] = [entry_of(read_scores(path, package.weights_sha256)) for path in folders]
        return _sealed_anew(package, card)
    from MambaSynthTraining.contrast.cravim.card import card_scores
    from MambaSynthTraining.evaluation.results import results_in

    results = [results_in([folder]) for folder in folders]
    ours = package.weights_sha256
    if not any(r.record["about"].get("weights_sha256") == ours for row in results for r in row):
        raise RequestError(
            f"{package.folder}: no folder of --scores holds scores of its weights; run "
            "'mambasynth evaluate-set' on it."
        )
    card = card_json(package)
    for n, found in enumerate(results):
        for entry in card_scores(found, ours):
            entry["data"] = of[n] if of else entry["data"]
            card["scores"] = replace_entry(card["scores"], entry)
    return _sealed_anew(package, card)


def _sealed_anew(package: ModelPackage, card: Card) -> ModelPackage:
    with together() as files:
        for name, text in zip((CARD, SEAL), sealed(card, package.folder), strict=True):
            write_whole(package.folder / name, text.encode("utf-8"), into=files)
    return read_package(package.folder)


def replace_entry(entries: Sequence[Card], new: Card) -> list[Card]:
    """``entries`` with ``new`` in the place of the one of the same people, or at the end.

    Rows of the former that were not measured again follow the new ones.
    """
    former = next((entry for entry in entries if entry["data"] == new["data"]), None)
    if former is None:
        return [*entries, new]
    names = {row["name"] for row in new["rows"]}
    kept = [row for row in former["rows"] if row["name"] not in names]
    merged = {**former, **new, "rows": [*new["rows"], *kept]}
    if kept and "command" in former:
        merged["command"] = former["command"]  # it made the rows that stay, too
    return [merged if entry is former else entry for entry in entries]


def readme_of(package: ModelPackage) -> str:
    """The README of a package, from its card alone; its marks name the command that wrote it."""
    card = card_json(package)
    trained = card.get("training", {}).get("recipe", {}).get("method", "")
    method = card_module(trained) or card_module(package.card.method)
    if method is None:
        raise RequestError(
            f"{package.folder}: its method {package.card.method} makes no README of a card; write "
            "it by hand."
        )
    text: str = method.readme(card, package.read_weights())
    return text


def write_readme(package: ModelPackage) -> None:
    """The README, and the hash of the card that it is made of."""
    with together() as files:
        write_whole(package.folder / README, readme_of(package).encode("utf-8"), into=files)
        write_whole(package.folder / SEAL, f"{package.sha256}\n".encode("ascii"), into=files)


def worth(packages: Sequence[ModelPackage]) -> str:
    """A table: each model on each group of people, beside the best answer without a model."""
    table = [["model", "scored on", "the model: SSIM, PSNR", "best answer without one: SSIM, PSNR"]]
    for package in packages:
        name = f"`{package.card.id}`"
        for entry in _joined(package.card.scores):
            model = _of_the_model(package, entry["rows"])
            rivals = [row for row in entry["rows"] if row["name"] in WITHOUT_MODEL]
            if model is None or not rivals:
                continue
            slices = f", {entry['slices']} slices" if "slices" in entry else ""
            people = f"{entry['data'].partition(';')[0]}{slices}"
            table.append([name, people, _pair(model), _best(rivals)])
    lines = [table[0], ["---"] * 4, *table[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _joined(entries: Sequence[Card]) -> list[Card]:
    """Entries of heads that were given and scored alike become one, with the means of their rows.

    ``data`` of such an entry is a head's id, then how it was given and scored, after a comma.
    """
    groups: dict[str, list[Card]] = {}
    for entry in entries:
        head, _, rest = entry["data"].partition(", given ")
        groups.setdefault(rest or entry["data"], []).append({**entry, "head": head})
    joined = []
    for alike in groups.values():
        heads = ", ".join(entry["head"] for entry in alike)
        data = alike[0]["data"].replace(alike[0]["head"], heads, 1).replace("this person", "them")
        named = [{row["name"]: row for row in entry["rows"]} for entry in alike]
        rows = [
            {"name": name, **{m: float(np.mean([each[name][m] for each in named])) for m in MEANS}}
            for name, row in named[0].items()
            if all(name in each for each in named) and all(m in row for m in MEANS)
        ]
        single = len(alike) == 1
        joined.append(alike[0] if single else {**alike[0], "data": data, "rows": rows})
    return joined


def _of_the_model(package: ModelPackage, rows: Sequence[Card]) -> Card | None:
    """The row of the settings that a user gets by default."""
    card = card_json(package)
    steps = card["sampling"].get("default_steps")
    names = ("(ours)", f"synthetic, {steps} step")
    return next((row for row in rows if any(name in row["name"] for name in names)), None)


def _best(rows: Sequence[Card]) -> str:
    """The highest SSIM and the highest PSNR, each with whose it is."""
    ssim, psnr = (max(rows, key=lambda row: row[name]) for name in ("ssim", "psnr"))
    if ssim is psnr:
        return f"{_pair(ssim)} ({ssim['name']})"
    return f"{ssim['ssim']:.3f} ({ssim['name']}), {psnr['psnr']:.1f} dB ({psnr['name']})"


def _pair(row: Card) -> str:
    return f"{row['ssim']:.3f}, {row['psnr']:.1f} dB"
