"""Every baseline and ablation, a few hundred iterations on phantom slices: losses and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from baseline_twins import ABLATIONS, FALLING, TWINS, train, twin
from skimage.metrics import structural_similarity
from torch import Tensor

from MambaSynthLib.model.card import GridSpec, IntensitySpec
from MambaSynthTraining.data.phantom import phantom_subject, read_label_map
from MambaSynthTraining.data.phantom_config import PhantomConfig
from MambaSynthTraining.data.stacks import SliceRule, cut
from MambaSynthTraining.method import TrainingMethod

GRID = GridSpec("LPS", 4.0, (64, 64))
INTENSITY = IntensitySpec("percentile", 99.5, (0.0, 1000.0))
Pairs = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def subjects(shared: Path) -> list[Pairs]:
    """T1w and T2w slices (N,1,64,64) of two phantoms with their skulls, of two people's maps."""
    maps = shared / "data/brain_labels/training_label_maps"
    if not maps.is_dir():
        pytest.skip("the label maps of ../shared/data are missing")
    found = []
    for n, path in enumerate(sorted(maps.glob("*.nii*"))[:2]):
        rng, contrasts = np.random.default_rng((5, n)), ("T1w", "T2w")
        volumes = phantom_subject(*read_label_map(path), rng, contrasts, PhantomConfig())
        stacks = cut(volumes, GRID, INTENSITY, SliceRule(0.03), paired=True).slices
        found.append(tuple(torch.from_numpy(stacks[c][::2, None]) for c in contrasts))
    return found


@torch.no_grad()
def scores(method: TrainingMethod, pairs: Pairs) -> tuple[float, float]:
    """Mean absolute error and mean SSIM of the synthetic slices."""
    method.networks.eval()
    synthetic = method.synthesize(pairs[0], torch.Generator().manual_seed(99))
    similar = [
        structural_similarity(a, b, data_range=2.0)
        for a, b in zip(synthetic[:, 0].numpy(), pairs[1][:, 0].numpy(), strict=True)
    ]
    return float((synthetic - pairs[1]).abs().mean()), float(np.mean(similar))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*TWINS, *ABLATIONS])
def test_a_few_hundred_iterations_on_one_phantom_improve_losses_and_scores_on_another(
    name, subjects
):
    method, (seen, unseen) = twin(name), subjects
    error, similarity = scores(method, unseen)
    history = train(method, seen, 200, batch=2)
    error_after, similarity_after = scores(method, unseen)
    print(f"{name}: error {error:.3f} -> {error_after:.3f}, "
          f"SSIM {similarity:.3f} -> {similarity_after:.3f}")  # fmt: skip
    assert error_after < 0.5 * error
    assert similarity_after > similarity + 0.1
    for term in FALLING[name]:
        first, last = (sum(row[term] for row in rows) for rows in (history[:10], history[-10:]))
        assert last < 0.6 * first, term
