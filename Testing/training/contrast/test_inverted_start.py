"""The stage ``inverted``: both generators learn to turn their own source upside down, no pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MambaSynthLib.image.intensity import EMPTY
from MambaSynthTraining.contrast.cravim import losses
from MambaSynthTraining.contrast.cravim.method import CRAViMTraining
from MambaSynthTraining.data.slice_validation import correlation
from MambaSynthTraining.data.slices import SliceBatch
from MambaSynthTraining.data.sources import what_needs_pairs
from MambaSynthTraining.recipe_file import recipe_of

RECIPE = {
    "method": "cravim",
    "same_slice": False,
    "network": {"ngf": 4, "n_blocks": 1, "n_attentions": 2},
    "options": {"discriminator_width": 2, "steps": 1},
    "optimization": {"learning_rates": {"generators": 5e-3, "discriminators": 1e-4}},
    "stages": [{"iterations": 1, "batch": 2, "crop": [64, 64], "objective": "inverted"}],
}


def slices(seed: int) -> torch.Tensor:
    """(2,1,64,64): smooth tissue in the middle, background around it."""
    rng = np.random.default_rng(seed)
    tissue = np.kron(rng.uniform(-0.8, 0.9, (2, 6, 6)), np.ones((8, 8)))
    images = np.full((2, 1, 64, 64), EMPTY, np.float32)
    images[:, 0, 8:56, 8:56] = tissue
    return torch.from_numpy(images)


def test_upside_down_leaves_the_background_alone():
    image = torch.tensor([EMPTY, -0.5, 0.0, 0.75]).view(1, 1, 2, 2)
    expected = torch.tensor([EMPTY, 0.5, 0.0, -0.75]).view(1, 1, 2, 2)
    assert torch.equal(losses.inverted(image), expected)


def test_the_stage_needs_no_pairs_and_trains_both_directions():
    recipe = recipe_of(RECIPE)
    assert what_needs_pairs(recipe) == ""
    method = CRAViMTraining.build(recipe)
    method.begin(recipe.stages[0])
    assert method.trains_back and not method.needs_pairs


def test_after_it_both_generators_answer_with_their_source_upside_down():
    torch.manual_seed(0)
    recipe = recipe_of(RECIPE)
    method = CRAViMTraining.build(recipe)
    method.begin(recipe.stages[0])
    optimizers = method.optimizers()
    generator = torch.Generator().manual_seed(1)
    discriminators = [p.clone() for p in method.parts.discriminator_parameters()]
    for k in range(120):
        batch = SliceBatch(slices(2 * k), slices(2 * k + 1))  # of different people
        for phase in method.iteration(batch, generator):
            optimizers[phase.optimizer].zero_grad()
            phase.loss.backward()
            optimizers[phase.optimizer].step()
            assert set(phase.terms) == {"inverted_a_to_b", "inverted_b_to_a"}
    unseen = slices(1000)
    for name in ("a_to_b", "b_to_a"):
        method.exported = name
        with torch.no_grad():
            made = method.synthesize(unseen, generator)
        r = correlation(made[0, 0].numpy(), unseen[0, 0].numpy())
        assert r < -0.5, f"{name}: {r:+.2f} with its source"
    for before, after in zip(discriminators, method.parts.discriminator_parameters(), strict=True):
        assert torch.equal(before, after)


def test_an_objective_that_there_is_not_is_refused_with_those_that_are():
    recipe = recipe_of(RECIPE | {"stages": [{**RECIPE["stages"][0], "objective": "upside"}]})
    with pytest.raises(ValueError, match="'upside' is none of cycle, paired, inverted"):
        CRAViMTraining.build(recipe).begin(recipe.stages[0])
