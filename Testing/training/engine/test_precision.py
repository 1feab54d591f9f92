"""bfloat16 on a CPU: used where its gradients are those of float32, and else float32 is."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from engine_runs import CPU, finish, in_processes, rows, some_data, train, weights_hash
from planted import spoiled_layers
from tiny_cines import tiny_cines
from tiny_cines import tiny_recipe as cine_recipe

from MambaSynthTraining.engine import precision as precision_module
from MambaSynthTraining.engine.machine import BF16, Machine
from MambaSynthTraining.engine.nonfinite import Culprit, NotFinite
from MambaSynthTraining.engine.precision import Precision, fault_of_bf16
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.methods import METHODS, Entry
from MambaSynthTraining.recipe_file import recipe_of
from MambaSynthTraining.record import read_record

THREE = "three-layers"
SMALL = {
    "method": THREE,
    "optimization": {"learning_rates": {"net": 1e-3}},
    "stages": [{"iterations": 8, "batch": 2, "crop": [64, 64]}],
    "every": {"log": 1, "save": 2, "validate": 4},
}


@pytest.fixture(autouse=True)
def three_layers(monkeypatch):
    """A method that a test runs in no time, whatever this processor needs for bfloat16."""
    monkeypatch.setitem(METHODS, THREE, Entry("planted:ThreeLayers"))


def small_recipe(**changes):
    return recipe_of({**SMALL, **changes})


def train_small(recipe, run) -> None:
    train(recipe, run, data=some_data(validation=0))


def reason_of(run) -> str:
    return read_record(run).get("precision_reason", "")


def skip_where_float32_was_used(run) -> None:
    if reason_of(run):
        pytest.skip(reason_of(run))


def stop_at(monkeypatch, iteration: int) -> None:
    advance = State.advance

    def stopping(state):
        if state.iteration == iteration:
            raise KeyError("stop")
        advance(state)

    monkeypatch.setattr(State, "advance", stopping)


def test_a_nan_of_bf16_alone_makes_the_run_go_on_in_float32_and_say_so(tmp_path, capsys):
    recipe = cine_recipe(stages=[{"iterations": 1, "batch": 1}], precision=BF16)
    data = tiny_cines(tmp_path / "data")
    with spoiled_layers(torch.nn.Conv3d, torch.bfloat16):
        train(recipe, tmp_path / "asked", data=data)
    told = capsys.readouterr().err
    assert "Training in float32, not in bf16-mixed: on this processor the gradient " in told
    assert "is not finite in bfloat16." in told and told.count("\n") == 1
    record = read_record(tmp_path / "asked")
    assert record["precision"] == "32" and record["precision_reason"] in told
    assert record["recipe"]["precision"] == BF16 and record["finished"]
    train(recipe, tmp_path / "float32", replace(CPU, precision="32"), data)
    assert weights_hash(tmp_path / "asked") == weights_hash(tmp_path / "float32")
    assert not reason_of(tmp_path / "float32") and not capsys.readouterr().err


def test_a_run_whose_bf16_fails_halfway_goes_on_in_float32_and_says_so(
    tmp_path, monkeypatch, capsys
):
    advance = State.advance
    with ExitStack() as planted:

        def advance_and_plant(state):
            advance(state)
            if state.iteration == 5:
                planted.enter_context(spoiled_layers(torch.nn.Conv2d, torch.bfloat16))

        monkeypatch.setattr(State, "advance", advance_and_plant)
        train_small(small_recipe(precision=BF16), tmp_path)
    reason, record = reason_of(tmp_path), read_record(tmp_path)
    if reason.startswith("Training in float32"):
        pytest.skip(reason)
    assert reason.startswith("From iteration 5 on in float32, not in bf16-mixed: the norm of the")
    assert reason in capsys.readouterr().err
    assert record["precision"] == "32" and record["finished"] and record["iterations"] == 8


@pytest.mark.parametrize(("in_data", "processes"), [(True, 1), (False, 2)])
def test_data_that_are_not_finite_and_runs_of_several_processes_still_stop(in_data, processes):
    error = NotFinite("the loss is nan", 3, Culprit("it", ("A",), in_data), "wait")
    with pytest.raises(NotFinite, match="iteration 3: the loss is nan"):
        Precision(BF16).after(error, torch.device("cpu"), processes)


def test_gradients_that_are_finite_and_wrong_are_found_too(tmp_path):
    def halve(module, _, output):
        if type(module) is torch.nn.Conv2d and output.dtype is torch.bfloat16:
            output.register_hook(lambda gradient: gradient / 2)

    hook = torch.nn.modules.module.register_module_forward_hook(halve)
    try:
        train_small(small_recipe(precision=BF16), tmp_path)
    finally:
        hook.remove()
    told = re.search(r"gradients in bfloat16 are (\d+)% away", reason_of(tmp_path))
    assert 50 <= int(told[1]) <= 100  # the last layer's are halved, the first one's are an eighth


def test_a_run_that_started_in_float32_stays_there_and_is_not_tested_again(tmp_path, monkeypatch):
    recipe = small_recipe(precision=BF16)
    with monkeypatch.context() as patch, spoiled_layers(torch.nn.Conv2d, torch.bfloat16):
        stop_at(patch, 5)
        with pytest.raises(KeyError):
            train_small(recipe, tmp_path / "killed")
    reason = reason_of(tmp_path / "killed")
    with monkeypatch.context() as patch:
        patch.setattr(precision_module, "fault_of_bf16", None)
        train_small(recipe, tmp_path / "killed")
    train_small(small_recipe(), tmp_path / "whole")
    assert reason and reason_of(tmp_path / "killed") == reason
    assert weights_hash(tmp_path / "killed") == weights_hash(tmp_path / "whole")


def test_a_resumed_run_in_bf16_ends_bit_equal_to_an_uninterrupted_one(tmp_path, monkeypatch):
    recipe = small_recipe(precision=BF16)
    train_small(recipe, tmp_path / "whole")
    skip_where_float32_was_used(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyError):
        stop_at(patch, 5)
        train_small(recipe, tmp_path / "killed")
    train_small(recipe, tmp_path / "killed")
    assert read_record(tmp_path / "killed")["precision"] == BF16
    assert weights_hash(tmp_path / "killed") == weights_hash(tmp_path / "whole")


def test_one_engine_learns_the_same_in_both_precisions_where_the_test_is_passed(tmp_path):
    for precision in ("32", BF16):
        train_small(small_recipe(precision=precision), tmp_path / precision)
    skip_where_float32_was_used(tmp_path / BF16)
    assert weights_hash(tmp_path / BF16) != weights_hash(tmp_path / "32")
    for exact, rounded in zip(rows(tmp_path / "32"), rows(tmp_path / BF16), strict=True):
        assert float(rounded["net"]) == pytest.approx(float(exact["net"]), rel=0.05)


def test_two_processes_agree_on_what_the_worse_of_them_can(tmp_path, monkeypatch):
    def second_fails(new_state, trials):
        return "a planted fault" if os.environ.get("RANK") == "1" else ""

    monkeypatch.setattr(precision_module, "fault_of_bf16", second_fails)
    finish(in_processes(2, small_recipe(precision=BF16), tmp_path, data=some_data(validation=0)))
    assert read_record(tmp_path)["precision"] == "32"
    assert "another process failed its test" in reason_of(tmp_path)


def test_float32_and_other_devices_are_not_tested():
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert Precision(BF16).needs_test(cpu)
    assert not Precision("32").needs_test(cpu)
    assert not Precision(BF16).needs_test(cuda)
    assert not Precision(BF16, "It was slow.").needs_test(cpu)
    assert Precision(BF16, "It was slow.").used == "32"


def test_a_new_phase_casts_the_weights_that_the_last_one_stepped():
    layer, machine = torch.nn.Linear(1, 1, bias=False), Machine(precision=BF16)
    one = torch.ones(1, 1)
    for value in (1.0, 2.0):
        with torch.no_grad():
            layer.weight.fill_(value)
        with machine.autocast():
            assert float(layer(one).detach()) == value
    assert torch.is_autocast_enabled("cpu") is False


def test_the_trial_leaves_the_weights_as_they_are_and_looks_at_every_stage():
    stage = SMALL["stages"][0]
    recipe = small_recipe(stages=[stage, {**stage, "crop": [68, 64]}])
    assert recipe.stage_starts == [0, 8]
    states, shapes = [], []

    def new_state() -> State:
        states.append(State(recipe))
        layer = states[-1].method.networks["net"]["first"]
        layer.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[2:]))
        return states[-1]

    trials = [(n, some_data().draw(recipe, n, 0, 1)) for n in recipe.stage_starts]
    assert fault_of_bf16(new_state, trials) == "" or len(states) >= 2
    fresh = State(recipe).method.networks.state_dict()
    for state in states:
        for name, value in state.method.networks.state_dict().items():
            assert torch.equal(value, fresh[name]), name
    if len(states) == 4:  # bfloat16 is fine here
        assert [tuple(shape) for shape in shapes] == [(64, 64)] * 2 + [(68, 64)] * 2


def test_the_layer_whose_gradient_bf16_spoils_is_named():
    recipe = small_recipe()
    trials = [(0, some_data().draw(recipe, 0, 0, 1))]
    with spoiled_layers(torch.nn.Conv2d, torch.bfloat16):
        fault = fault_of_bf16(lambda: State(recipe), trials)
    assert fault == "the gradient of net.third.weight is not finite in bfloat16"


def test_what_is_not_finite_in_float32_either_is_not_blamed_on_bf16():
    recipe = small_recipe()
    trials = [(0, some_data().draw(recipe, 0, 0, 1))]
    with (
        spoiled_layers(torch.nn.Conv2d, torch.bfloat16, torch.float32),
        pytest.raises(NotFinite, match="no step was made yet, so look at the recipe's network"),
    ):
        fault_of_bf16(lambda: State(recipe), trials)
