"""A training run becomes a model package: averaged weights in float16, card filled with scores.

``mambasynth evaluate-set`` makes the scores. Without scores of these very weights there is no
package: a model whose quality nobody measured is not shown to anyone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.diffusion import Schedule
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.package import ModelPackage, write_package
from training.evaluation.results import Result, results_in
from training.model_readme import readme
from training.runs import TrainedRun, open_run

FEW = 3  # subjects that a card names one by one
SCORED = ("ssim", "psnr", "nmi", "mse", "lpips")
DEFAULT_STEPS = 4  # CRAViM's sampler, where a recipe says nothing
PARITY_SIZE = (64, 48)  # rows x columns of the random slices that parity is measured on
LARGEST_DIFFERENCE = 0.05  # of the range -1..1; more than float16 weights can explain
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
    limits: str = LIMITS


def export(
    run_folder: Path, folder: Path, description: Description, scores: Sequence[Path]
) -> ModelPackage:
    """Write the package of a finished run into ``folder``.

    ``scores`` are folders of ``evaluate-set``, those of the trivial answers among them.

    Raises
    ------
    RequestError: the run's method has no package, there are no scores, or none of these weights.
    FileError, ModelError: see ``half_weights`` and ``write_package``.
    """
    results = results_in(scores)
    with tempfile.TemporaryDirectory() as place:
        rehearsal = draft(run_folder, Path(place) / "draft")
        if not any(_is_of(result, rehearsal) for result in results):
            raise RequestError(
                f"{run_folder}: has no scores of its weights; run 'mambasynth evaluate-set' on it "
                "and name that folder with --scores."
            )
        found = parity(open_run(run_folder), rehearsal)
    if found["largest_difference"] > LARGEST_DIFFERENCE:
        raise RequestError(
            f"{run_folder}: float16 weights change its output by {found['largest_difference']:.3f} "
            f"of the range -1..1, more than {LARGEST_DIFFERENCE}; train it further."
        )
    scored = card_scores(results, rehearsal.weights_sha256)
    return _write(open_run(run_folder), folder, description, scored, found)


def draft(run_folder: Path, folder: Path) -> ModelPackage:
    """The package of a run before it was scored, for ``evaluate-set`` alone."""
    run = open_run(run_folder)
    steps = run.record["recipe"].get("options", {}).get("steps", DEFAULT_STEPS)
    description = Description("draft", "0.0.0", "draft", "draft", (), steps, 1)
    return _write(run, folder, description, [], {})


def _is_of(result: Result, package: ModelPackage) -> bool:
    return result.record["about"].get("weights_sha256") == package.weights_sha256


def half_weights(run: TrainedRun) -> dict[str, NDArray[Any]]:
    """The averaged weights of the exported network, floats as float16.

    Raises
    ------
    FileError: the run has no readable checkpoint, or a weight does not fit float16.
    """
    weights = {}
    for name, value in run.weights().items():
        array = value.numpy()
        if array.dtype == np.float32:
            with np.errstate(over="ignore"):  # told below
                array = array.astype(np.float16)
            if not np.isfinite(array).all():
                raise FileError(f"{run.folder}: {name} holds values that float16 does not.")
        weights[name] = array
    return weights


def parity(run: TrainedRun, package: ModelPackage) -> dict[str, float]:
    """How much the exported network's target differs from the trained one's, range -1..1.

    The trained network computes with its float32 weights, the exported one as the library loads
    it, both on the same random slices.
    """
    import torch

    from MambaSynthLib.backends.torch_backend import load_network
    from MambaSynthLib.methods.cravim.network import build

    network = build(run.network())
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
            "rows": [_row(result, weights_sha256) for result in found],
        }
        for found in groups.values()
    ]


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


def _write(
    run: TrainedRun,
    folder: Path,
    description: Description,
    scores: list[dict[str, Any]],
    found: dict[str, float],
) -> ModelPackage:
    if not run.exportable:
        raise RequestError(
            f"{run.folder}: the library has no network of the method {run.method}, so it has no "
            "package; it can be scored with 'mambasynth evaluate-set'."
        )
    recipe, (source, target) = run.record["recipe"], run.contrasts
    schedule = {**asdict(Schedule()), **recipe.get("schedule", {})}
    weights = half_weights(run)
    card = {
        "format": 1,
        "id": description.id,
        "version": description.version,
        "title": description.title,
        "method": run.method,
        "source_contrasts": [source],
        "target_contrasts": [target],
        "network": run.network(),
        "grid": recipe["grid"],
        "intensity": recipe["intensity"],
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
        "limits": description.limits,
        "trained_on": description.trained_on,
        "training": {**run.record, "parity": found},
        "scores": scores,
    }
    return write_package(folder, card, weights, readme(card, weights))
