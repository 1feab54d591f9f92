"""One training iteration of any method: rates, phases, shards, and the averaged weights."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_runs import (
    changed,
    iterate,
    some_data,
    some_slices,
    tiny_recipe,
    weights_of,
)

from MambaSynthTraining.data.batches import Batches
from MambaSynthTraining.data.slices import SlicePairs
from MambaSynthTraining.engine.iteration import run_iteration
from MambaSynthTraining.engine.machine import Machine
from MambaSynthTraining.engine.nonfinite import NotFinite
from MambaSynthTraining.engine.rates import learning_rate
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.method import Phase
from MambaSynthTraining.recipe import Recipe

NETWORKS = {"a_to_b", "b_to_a", "of_a", "of_b"}


def recipe_with(decay: str) -> Recipe:
    return tiny_recipe(optimization={"decay": decay, "lr_end": 1e-5})


def test_the_cosine_falls_from_start_to_end_and_starts_again_where_a_stage_says_so():
    rates = [learning_rate(1e-3, recipe_with("cosine"), i) for i in range(9)]
    assert rates[0] == rates[5] == pytest.approx(1e-3) and rates[8] == pytest.approx(1e-5)
    assert all(a > b for a, b in itertools.pairwise(rates[:5] + rates[8:]))
    fraction = (rates[2] - 1e-5) / (1e-3 - 1e-5)
    assert fraction == pytest.approx(math.cos(math.pi * 0.4 / 2) ** 2)  # the half-angle formula


def test_the_line_falls_over_the_second_half_and_a_constant_rate_does_not_fall():
    stages = [{"iterations": 8, "batch": 2, "crop": [64, 64]}]
    recipe = tiny_recipe(stages=stages, optimization={"decay": "linear", "lr_end": 0.0})
    rates = [learning_rate(4.0, recipe, i) for i in range(8)]
    assert rates == [4.0, 4.0, 4.0, 4.0, 4.0, 3.0, 2.0, 1.0]
    assert {learning_rate(2e-4, recipe_with("constant"), i) for i in range(8)} == {2e-4}


def test_one_iteration_changes_all_four_networks_and_reports_every_loss():
    recipe = tiny_recipe()
    state = State(recipe)
    before = weights_of(state)
    found = iterate(state, recipe)
    assert changed(before, weights_of(state)) == NETWORKS
    assert {"generators", "discriminators", "adv_a", "cyc_b", "paired_ab"} <= set(found)
    assert all(math.isfinite(value) for value in found.values())


def test_a_paired_stage_changes_the_exported_generator_alone():
    recipe = tiny_recipe()
    state = State(recipe)
    state.iteration = 5
    before = weights_of(state)
    found = iterate(state, recipe)
    assert changed(before, weights_of(state)) == {"a_to_b"}
    expected = 25 * found["paired_ab"] + 2 * found["structure_ab"] + found["trans_forward_a"]
    assert found["generators"] == pytest.approx(expected, rel=1e-5)


def test_a_stage_has_weights_and_augmentation_of_its_own():
    recipe = tiny_recipe()
    first, last = recipe.stages[0], recipe.stages[-1]
    assert recipe.augmentation_of(first).gamma == 0.2 and recipe.augmentation_of(last).noise == 0.02
    method = State(recipe).method
    for stage, structure in ((first, 0.0), (last, 2.0), (first, 0.0)):
        method.begin(stage)
        assert (method.weights.lambda_structure, method.weights.lambda_paired) == (structure, 25.0)


def test_the_generators_step_leaves_no_gradient_in_the_discriminators_step():
    """However strong the adversarial loss is, the discriminators move by their own loss alone."""

    def discriminators(strength: float) -> torch.Tensor:
        recipe = tiny_recipe(weights={"lambda_adv": strength})
        state = State(recipe)
        iterate(state, recipe)
        return state.method.networks["of_a"].cnns[0][0].conv.weight.detach()

    assert torch.equal(discriminators(1.0), discriminators(1000.0))


def test_a_phase_computes_gradients_of_what_it_steps_and_of_nothing_else():
    recipe = tiny_recipe()
    state, phases = State(recipe), []

    def backward(loss, inputs):
        state.method.networks.zero_grad()
        loss.backward(inputs=inputs)
        named = state.method.networks.named_parameters()
        phases.append({name.partition(".")[0] for name, p in named if p.grad is not None})

    iterate(state, recipe, machine=Machine(backward))
    assert phases == [{"a_to_b", "b_to_a"}, {"of_a", "of_b"}]


def test_paired_stages_pull_the_synthetic_image_to_the_acquired_one():
    recipe = tiny_recipe(
        augmentation={},
        stages=[{"iterations": 40, "batch": 2, "crop": [64, 64], "objective": "paired"}],
    )
    image = np.zeros((64, 64), dtype=np.float32)
    data = replace(some_data(), groups=[SlicePairs([image], [image + 0.5])], shares=[1.0])
    state = State(recipe)
    found = [iterate(state, recipe, data)["paired_ab"] for _ in range(40)]
    assert np.mean(found[-10:]) < 0.85 * np.mean(found[:10])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_are_not_finite_stop_the_training_name_the_slices_and_leave_the_weights(value):
    spoiled = some_slices(1)
    spoiled.b[0][20:40] = value
    spoiled = replace(spoiled, names=["patient 7, slice 3"])
    recipe = tiny_recipe()
    state = State(recipe)
    before = weights_of(state)
    told = "loss of the generators is (nan|inf) .*first: the data .target. .patient 7, slice 3; "
    with pytest.raises(NotFinite, match=f"iteration 0: the {told}.*look at these data"):
        iterate(state, recipe, replace(some_data(), groups=[spoiled], shares=[1.0]))
    assert changed(before, weights_of(state)) == set()


class Sum:
    """A method of one number: the loss is its product with the mean of the source."""

    objectives, presets, exported = ("all",), {}, "w"

    def __init__(self, scale: float = 1.0) -> None:
        self.networks = torch.nn.ModuleDict({"w": torch.nn.Linear(1, 1, bias=False)})
        self.scale = scale

    def begin(self, stage):
        self.stage = stage

    def iteration(self, batch, generator):
        source = batch.source
        loss = self.scale * self.networks["w"].weight.sum() * source.mean()
        yield Phase("one", loss, {"mean": source.mean()})


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_the_gradient_is_the_mean_over_the_shards(shards):
    recipe = replace(
        tiny_recipe(stages=[{"iterations": 1, "batch": 4, "crop": [64, 64]}]), shards=shards
    )
    method = Sum()
    optimizer = torch.optim.SGD(method.networks.parameters(), lr=1.0)
    start = method.networks["w"].weight.item()
    parts = Batches(recipe, some_data())[0]
    assert [len(part.batch.source) for part in parts] == [4 // shards] * shards
    recipe = replace(recipe, augmentation=type(recipe.augmentation)())
    terms = run_iteration(method, {"one": optimizer}, parts, recipe, 0, Machine())
    mean = float(torch.cat([part.batch.source for part in parts]).mean())
    assert start - method.networks["w"].weight.item() == pytest.approx(mean, abs=1e-6)
    assert float(terms["mean"]) == pytest.approx(mean, abs=1e-6)


def test_the_gradient_is_clipped_to_the_recipes_norm_and_refused_when_infinite():
    recipe = tiny_recipe(optimization={"clip": 0.01})
    parts = Batches(recipe, some_data())[0]
    method = Sum(scale=1e3)
    optimizer = torch.optim.SGD(method.networks.parameters(), lr=1.0)
    start = method.networks["w"].weight.item()
    run_iteration(method, {"one": optimizer}, parts, recipe, 0, Machine())
    assert abs(start - method.networks["w"].weight.item()) == pytest.approx(0.01, rel=1e-4)
    explode = Machine(add_up=lambda gradients: [g.fill_(math.inf) for g in gradients])
    told = "iteration 3: the norm of the gradient of the one is inf, .*repeated, all was finite"
    with pytest.raises(NotFinite, match=told):
        run_iteration(method, {"one": optimizer}, parts, recipe, 3, explode)


def test_the_averaged_network_follows_more_slowly_than_the_trained_one():
    recipe = tiny_recipe()
    state = State(recipe)
    history = []
    for _ in range(3):
        iterate(state, recipe)
        history.append(state.exported.conv1.weight.detach().clone())
    expected = history[0]  # averaging starts at the first weights it is given
    for weight in history[1:]:
        expected = 0.9 * expected + 0.1 * weight
    torch.testing.assert_close(state.averaged.module.conv1.weight, expected)


def test_validation_uses_the_averaged_weights_and_leaves_everything_as_it_was():
    recipe = tiny_recipe()
    state = State(recipe)
    iterate(state, recipe)
    iterate(state, recipe)
    before = {k: v.clone() for k, v in state.method.networks.state_dict().items()}
    with state.as_exported() as method:
        found = method.networks["a_to_b"].state_dict()
        averaged = state.averaged.module.state_dict()
        assert all(torch.equal(found[name], averaged[name]) for name in averaged)
        assert not method.networks.training
        method.synthesize(torch.zeros(1, 1, 64, 64), torch.Generator().manual_seed(0))
    after = state.method.networks.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert state.method.networks.training
