"""What is told when a loss or a gradient is not finite: what was so first, and what to do."""

from __future__ import annotations

import copy

import pytest
import torch
from engine_runs import some_data, tiny_recipe
from planted import SpoiledBackward, ThreeLayers
from torch import nn

from MambaSynthTraining.data.batches import Batches
from MambaSynthTraining.engine.iteration import run_iteration
from MambaSynthTraining.engine.machine import BF16, Machine
from MambaSynthTraining.engine.nonfinite import Culprit, NotFinite, watch

PLAIN = {"augmentation": {}, "stages": [{"iterations": 9, "batch": 2, "crop": [64, 64]}]}


def spoil(values):
    return SpoiledBackward.apply(values, (torch.float32, torch.bfloat16))


def told(method, iteration: int = 3, precision: str = "32") -> str:
    """What an iteration of the method is refused with; its weights are left as they were."""
    recipe = tiny_recipe(**PLAIN)
    before = {name: p.detach().clone() for name, p in method.networks.named_parameters()}
    optimizers = {"net": torch.optim.SGD(method.networks.parameters(), lr=1.0)}
    shards = Batches(recipe, some_data(), iteration)[0]
    machine = Machine(precision=precision)
    with pytest.raises(NotFinite) as caught:
        run_iteration(method, optimizers, shards, recipe, iteration, machine)
    assert all(torch.equal(p, before[name]) for name, p in method.networks.named_parameters())
    assert str(caught.value).count("\n") == 0 and "slice" in str(caught.value)
    return str(caught.value)


def test_a_nan_in_a_backward_is_told_with_the_layer_and_a_finite_loss():
    text = told(ThreeLayers("second", spoil))
    assert text.startswith(
        "iteration 3: the norm of the gradient of the net is nan, while the loss"
    )
    assert "while the loss is 0." in text and "(square 0." in text
    assert "not finite first: the gradient at the output of net.second" in text
    assert text.endswith("lower the learning rate.")


def test_a_nan_in_the_gradient_of_one_weight_alone_names_that_weight():
    """As oneDNN's: input, weight and incoming gradient are finite."""
    method = ThreeLayers()
    weight = method.networks["net"]["second"].weight
    weight.register_hook(lambda gradient: torch.full_like(gradient, torch.nan))
    assert "not finite first: the gradient of net.second.weight (" in told(method)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_layer_whose_output_is_not_finite_is_named_with_the_loss(value):
    text = told(ThreeLayers("first", lambda values: values * value))
    assert text.startswith(
        ("iteration 3: the loss of the net is nan", "iteration 3: the loss of the net is inf")
    )
    assert "not finite first: the output of net.second (Conv2d)" in text
    assert text.endswith("lower the learning rate.")


def test_a_loss_that_alone_is_not_finite_is_named():
    text = told(ThreeLayers("third", lambda values: values / 0))
    assert "not finite first: the loss itself" in text


def test_the_remedy_fits_the_precision_and_the_iteration():
    method = ThreeLayers("second", spoil)
    assert told(method, precision=BF16).endswith("use --precision 32.")
    assert told(method, iteration=0).endswith("so look at the recipe's network and weights.")


def test_what_went_wrong_once_and_not_again_is_told_as_such():
    times = iter([torch.nan, 1.0])
    text = told(ThreeLayers("third", lambda values: values * next(times)))
    assert "repeated, all was finite" in text and "give the same command again" in text


def test_the_sentence_comes_whole_out_of_a_training_in_another_process():
    """``copy`` makes it anew by the protocol that brings it from one process to another."""
    error = NotFinite("the loss is nan", 3, Culprit("the loss itself", ("A",)), "rest")
    assert str(copy.copy(error)) == str(error)
    assert (
        str(error) == "iteration 3: the loss is nan; not finite first: the loss itself (A); rest."
    )


def test_watching_leaves_no_hooks_behind():
    layer = nn.Linear(2, 2)
    with watch(layer) as seen:
        layer(torch.full((1, 2), torch.nan)).sum().backward()
    assert len(seen) > 1
    layer(torch.full((1, 2), torch.nan)).sum().backward()
    assert not layer._forward_hooks and not layer.weight._backward_hooks
