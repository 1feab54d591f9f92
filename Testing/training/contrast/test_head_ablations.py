"""What can be left out of the training of heads, or added to it, one thing at a time."""

from __future__ import annotations

import pytest
import torch

from MambaSynthTraining.contrast.cravim.heads import CRAViMHeads
from MambaSynthTraining.data.heads import prepared_data
from MambaSynthTraining.recipe_file import recipe_of
from Testing.training.contrast.head_runs import RECIPE

ADVERSARY = RECIPE | {
    "options": {"discriminator": 4},
    "weights": {"lambda_adversarial": 0.5},
    "optimization": {"learning_rates": {"generator": 3.0e-3, "discriminator": 3.0e-3}},
    "stages": [RECIPE["stages"][0], RECIPE["stages"][1] | {"objective": "adversary"}],
}


def test_the_discriminator_learns_in_its_stage_alone_and_the_generator_learns_from_it(heads):
    from MambaSynthTraining.engine.iteration import run_iteration
    from MambaSynthTraining.engine.machine import Machine
    from MambaSynthTraining.engine.state import State

    def after(lambda_adversarial, iteration):
        weights = {"lambda_adversarial": lambda_adversarial}
        recipe = recipe_of(ADVERSARY | {"weights": weights})
        data, state = prepared_data(heads[2], recipe), State(recipe)
        before = {n: v.clone() for n, v in state.method.networks.state_dict().items()}
        shard = data.draw(recipe, iteration, 0, 1)
        run_iteration(state.method, state.optimizers, [shard], recipe, iteration, Machine())
        found = state.method.networks.state_dict()
        return found, {n for n, value in found.items() if not value.equal(before[n])}

    _, moved = after(0.5, 0)
    assert moved and not any(name.startswith("discriminator.") for name in moved)
    judged, moved = after(0.5, 7)
    assert {name.split(".")[0] for name in moved} == {"discriminator", "generator"}
    assert not any("running_" in name for name in moved)  # as in the frozen stage
    alone, _ = after(0.0, 7)
    assert not judged["generator.heads.weight"].equal(alone["generator.heads.weight"])
    for name in (n for n in judged if n.startswith("discriminator.")):
        assert judged[name].equal(alone[name])


@pytest.mark.parametrize(
    "options", [{}, {"discriminator": 4, "planes": "one"}], ids=["without", "idle"]
)
def test_a_discriminator_and_its_stage_need_each_other(options):
    stages = ADVERSARY["stages"] if not options else RECIPE["stages"]
    with pytest.raises(ValueError, match="give its width where a stage has the objective adv"):
        CRAViMHeads.build(recipe_of(RECIPE | {"options": options, "stages": stages}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": 2}, "options.shift is 2; give 0 or 1 pixels"),
        ({"discriminator": -8}, "options.discriminator is -8; give 0 or more"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CRAViMHeads.build(recipe_of(RECIPE | {"options": options}))


def test_a_target_that_lies_a_pixel_off_costs_more_where_no_shift_is_allowed(heads):
    """Both networks have the same weights; a target that is moved by a pixel is found again."""
    batch = prepared_data(heads[2], recipe_of(RECIPE)).draw(recipe_of(RECIPE), 3, 0, 1).batch
    losses = {}
    for shift in (0, 1):
        torch.manual_seed(0)
        method = CRAViMHeads.build(recipe_of(RECIPE | {"options": {"shift": shift}}))
        with torch.no_grad():
            made = method.networks["generator"](batch.source)[:, 0]
        moved = batch._replace(target=made.roll(1, dims=3))
        (phase,) = method.iteration(moved, torch.Generator())
        losses[shift] = float(phase.terms["value"])
    assert losses[1] < 0.5 * losses[0]


def test_each_ablation_of_the_recipe_differs_in_what_it_is_named_after():
    from dataclasses import replace
    from pathlib import Path

    from MambaSynthTraining.data.augmentation import Augmentation
    from MambaSynthTraining.recipe_file import read_recipe

    folder = Path(__file__).parents[3] / "training/recipes/head_ablations"
    found = {path.stem: read_recipe(path) for path in folder.glob("*.yaml")}
    whole, judged = found.pop("whole"), found.pop("plus-adversary")
    changed = {
        **{f"minus-{n}": replace(whole, weights={**whole.weights, f"lambda_{n}": 0.0})
           for n in ("gradient", "structure", "air", "detail")},
        "minus-shift": replace(whole, options={**whole.options, "shift": 0}),
        "minus-planes": replace(whole, options={**whole.options, "planes": "one"}),
        "minus-augmentation": replace(whole, augmentation=Augmentation()),
        "minus-overlap": replace(whole, network={**whole.network, "overlap": 0}),
    }  # fmt: skip
    assert found == changed
    assert sum(s.iterations for s in judged.stages) == whole.iterations
    assert judged.weights == {**whole.weights, "lambda_adversarial": 0.02}
    full = read_recipe(folder.parent / "heads/cravim-head-t1w-t2w.yaml")
    options = {**whole.options, "white_over_gray": 1.284}  # is younger than the table
    assert replace(whole, stages=full.stages, every=full.every, options=options) == full
