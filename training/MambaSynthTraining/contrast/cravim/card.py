"""What CRAViM's model card says of a run, besides what every card says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MambaSynthLib.errors import RequestError
from MambaSynthLib.methods.diffusion import Schedule
from MambaSynthLib.model.package import ModelPackage
from MambaSynthTraining.evaluation.results import Result, results_in
from MambaSynthTraining.model_readme import readme as readme
from MambaSynthTraining.runs import TrainedRun

if TYPE_CHECKING:
    from MambaSynthTraining.export import Description

FEW = 3  # subjects that a card names one by one
SCORED = ("ssim", "psnr", "nmi", "mse", "lpips")
DEFAULT_STEPS = 4  # CRAViM's sampler, where a recipe says nothing
PARITY_SIZE = (64, 48)  # rows x columns of the random slices that parity is measured on
LIMITS = (
    "Small and trained on very few people. Anatomy and lesions can be missing, invented or of the "
    "wrong brightness. Only adult brains, T1w without contrast agent, best when skull-stripped."
)
INTENDED_USE = (
    "Research on image synthesis and software testing. Not for diagnosis: every synthetic image "
    "must be read beside the acquired one and stay marked as synthetic."
)


def parts(run: TrainedRun, description: Description, scores: Sequence[Path]) -> dict[str, Any]:
    """The card's entries of this method; none of them depends on the scores."""
    recipe, (source, target) = run.record["recipe"], run.contrasts
    schedule = {**asdict(Schedule()), **recipe.get("schedule", {})}
    steps = description.default_steps or recipe.get("options", {}).get("steps", DEFAULT_STEPS)
    return {
        "source_contrasts": [source],
        "target_contrasts": [target],
        "network": network_of(run),
        "grid": recipe["grid"],
        "intensity": recipe["intensity"],
        "sampling": {
            "timesteps": schedule["steps"],
            "beta_min": schedule["beta_min"],
            "beta_max": schedule["beta_max"],
            "default_steps": steps,
            "default_samples": description.default_samples,
        },
        "intended_use": INTENDED_USE,
        "limits": description.limits or LIMITS,
    }


def network_of(run: TrainedRun) -> dict[str, int]:
    """The sizes of CRAViM's network, defaults included."""
    from MambaSynthLib.methods.cravim.network import CRAViMConfig
    from MambaSynthLib.model.settings import settings

    return settings(CRAViMConfig, run.record["recipe"]["network"], "network").as_card()


def scores(run: TrainedRun, rehearsal: ModelPackage, folders: Sequence[Path]) -> list[Any]:
    """The card's scores, from folders of ``evaluate-set``.

    Raises RequestError: there are none of these weights.
    """
    results = results_in(folders)
    if not any(_is_of(result, rehearsal) for result in results):
        raise RequestError(
            f"{run.folder}: has no scores of its weights; run 'mambasynth evaluate-set' on it "
            "and name that folder with --scores."
        )
    return card_scores(results, rehearsal.weights_sha256)


def _is_of(result: Result, package: ModelPackage) -> bool:
    return result.record["about"].get("weights_sha256") == package.weights_sha256


def parity(run: TrainedRun, package: ModelPackage) -> dict[str, float]:
    """How much the exported network's target differs from the trained one's, range -1..1.

    The trained network computes with its float32 weights, the exported one as the library loads
    it, both on the same random slices.
    """
    import torch

    from MambaSynthLib.backends.torch_backend import load_network
    from MambaSynthLib.methods.cravim.network import build

    network = build(network_of(run))
    network.load_state_dict(run.weights())
    network.eval()
    generator = torch.Generator().manual_seed(0)
    source = torch.rand((2, 1, *PARITY_SIZE), generator=generator) * 2 - 1
    noise = torch.randn((2, 1, *PARITY_SIZE), generator=generator)
    seen = 2 * network.config.neighbors
    neighbors = torch.rand((2, seen, *PARITY_SIZE), generator=generator) * 2 - 1
    images = torch.cat([source, noise, neighbors], dim=1)  # (B,2+2r,H,W)
    with torch.inference_mode():
        trained = network(images)[:, -1].numpy()
    difference = np.abs(load_network(package, "cpu")(images.numpy())[:, -1] - trained)
    return {
        "largest_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
    }


def card_scores(results: Sequence[Result], weights_sha256: str) -> list[dict[str, Any]]:
    """One entry of the card for each group of subjects: trivial answers first, then settings of
    the model, and of others under their own names.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.data_key, []).append(result)
    return [
        {
            "data": _subjects(found[0]),
            "command": found[-1].record["command"],
            "slices": slices_of(found[-1]),
            "rows": [_row(result, weights_sha256) for result in found],
        }
        for found in groups.values()
    ]


def slices_of(result: Result) -> int:
    """How many slices of all subjects count."""
    scored: int = result.record["slices"]["scored"]
    return scored // len(result.record["seeds"])


def _subjects(result: Result) -> str:
    """Whom the scores are of, for people."""
    data, names = result.record["data"], list(result.subjects)
    who = ", ".join(names) if len(names) <= FEW else f"{len(names)} subjects"
    return f"{who}, never trained on ({data['name']}, {data['split']} split)"


def _row(result: Result, weights_sha256: str) -> dict[str, Any]:
    """Means over subjects, each the mean over its slices and seeds."""
    about = result.record["about"]
    ours = about.get("weights_sha256") == weights_sha256
    settings = about.get("settings") if ours else None
    row: dict[str, Any] = {"name": f"synthetic, {settings}" if settings else result.name}
    for name in SCORED:
        values = [*result.of_subjects(name).values()]
        if values and np.isfinite(values).all():
            row[name] = float(np.mean(values))
            if len(values) > 1:
                row[f"{name}_std_over_subjects"] = float(np.std(values, ddof=1))
    seeds = [*result.of_seeds("ssim").values()]
    if len(seeds) > 1:
        row |= {"seeds": result.record["seeds"], "ssim_std_over_seeds": float(np.std(seeds))}
    return row
