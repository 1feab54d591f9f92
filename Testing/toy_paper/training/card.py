"""The toy's model card: its scores are those of its last iteration."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.backends.torch_backend import load_network
from MambaSynthLib.model.package import ModelPackage
from MambaSynthTraining.engine.logs import LOSSES
from MambaSynthTraining.export import Description
from MambaSynthTraining.runs import TrainedRun
from Testing.toy_paper.network import build
from Testing.toy_paper.training.images import SOURCES, TARGETS


def parts(run: TrainedRun, description: Description, scores: Sequence[Path]) -> dict[str, Any]:
    recipe = run.record["recipe"]
    return {
        "source_contrasts": SOURCES,
        "target_contrasts": TARGETS,
        "network": recipe["network"],
        "sampling": {},
        "grid": recipe["grid"],
        "intensity": recipe["intensity"],
        "intended_use": "Tests only.",
    }


def scores(run: TrainedRun, rehearsal: ModelPackage, folders: Sequence[Path]) -> list[Any]:
    with open(run.folder / LOSSES, newline="") as file:
        last = [*csv.DictReader(file)][-1]
    return [{"data": "the images it learned from", "rows": [{"name": "toy", "l1": last["l1"]}]}]


def parity(run: TrainedRun, package: ModelPackage) -> dict[str, float]:
    import torch

    network = build(run.record["recipe"]["network"])
    network.load_state_dict(run.weights())
    images = np.random.default_rng(0).uniform(-1, 1, (2, 2, 16, 16)).astype(np.float32)
    with torch.inference_mode():
        trained = network(torch.from_numpy(images)).numpy()
    return {"largest_difference": float(abs(load_network(package, "cpu")(images) - trained).max())}


def readme(card: dict[str, Any], weights: dict[str, Any]) -> str:
    rows = [row for entry in card["scores"] for row in entry["rows"]]
    return f"# {card['title']}\n\n" + "\n".join(f"* {row['name']}: {row['l1']}" for row in rows)
