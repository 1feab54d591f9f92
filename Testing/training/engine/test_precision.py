"""bfloat16 on a CPU: used where its gradients are those of float32, and else float32 is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from engine_runs import CPU, finish, in_processes, rows, train, weights_hash
from planted import ThreeLayers, spoiled_convolutions
from tiny_cines import tiny_cines, tiny_recipe

from MambaSynthTraining.engine import precision as precision_module
from MambaSynthTraining.engine.machine import BF16, Machine
from MambaSynthTraining.engine.precision import Precision, fault_of_bf16
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.record import read_record

SHORT = {"iterations": 2, "batch": 1}
VOXELMORPH = {
    "method": "voxelmorph",
    "network": {},
    "weights": {},
    "optimization": {"learning_rates": {"voxelmorph": 1e-3}},
    "stages": [{"iterations": 8, "batch": 1}],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_cines(tmp_path_factory.mktemp("cines"))


def reason_of(run) -> str:
    return read_record(run).get("precision_reason", "")


def test_a_nan_of_bf16_alone_makes_the_run_go_on_in_float32_and_say_so(tmp_path, data, capsys):
    recipe = tiny_recipe(stages=[SHORT], precision=BF16)
    with spoiled_convolutions(torch.nn.Conv3d, torch.bfloat16):
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


def test_gradients_that_are_finite_and_wrong_are_found_too(tmp_path, data):
    def halve(module, _, output):
        if type(module) is torch.nn.Conv3d and output.dtype is torch.bfloat16:
            output.register_hook(lambda gradient: gradient / 2)

    hook = torch.nn.modules.module.register_module_forward_hook(halve)
    try:
        train(tiny_recipe(stages=[SHORT], precision=BF16), tmp_path, data=data)
    finally:
        hook.remove()
    assert "gradients in bfloat16 are " in reason_of(tmp_path)


def test_a_run_that_started_in_float32_stays_there_and_is_not_tested_again(
    tmp_path, data, monkeypatch
):
    recipe = tiny_recipe(precision=BF16)
    stages, advance = recipe.stages, State.advance

    def stopping(state):
        if state.iteration == 3:
            raise KeyError("stop")
        advance(state)

    monkeypatch.setattr(State, "advance", stopping)
    with spoiled_convolutions(torch.nn.Conv3d, torch.bfloat16), pytest.raises(KeyError):
        train(recipe, tmp_path / "killed", data=data)
    monkeypatch.setattr(State, "advance", advance)
    reason = reason_of(tmp_path / "killed")
    monkeypatch.setattr(precision_module, "fault_of_bf16", None)
    train(recipe, tmp_path / "killed", data=data)
    train(replace(recipe, stages=stages, precision="32"), tmp_path / "whole", data=data)
    assert reason and reason_of(tmp_path / "killed") == reason
    assert weights_hash(tmp_path / "killed") == weights_hash(tmp_path / "whole")


def test_a_resumed_run_in_bf16_ends_bit_equal_to_an_uninterrupted_one(tmp_path, data, monkeypatch):
    recipe, advance = tiny_recipe(**VOXELMORPH, precision=BF16), State.advance
    train(recipe, tmp_path / "whole", data=data)
    if reason_of(tmp_path / "whole"):
        pytest.skip(reason_of(tmp_path / "whole"))

    def stopping(state):
        if state.iteration == 5:
            raise KeyError("stop")
        advance(state)

    monkeypatch.setattr(State, "advance", stopping)
    with pytest.raises(KeyError):
        train(recipe, tmp_path / "killed", data=data)
    monkeypatch.setattr(State, "advance", advance)
    train(recipe, tmp_path / "killed", data=data)
    assert read_record(tmp_path / "killed")["precision"] == BF16
    assert weights_hash(tmp_path / "killed") == weights_hash(tmp_path / "whole")


def test_one_engine_learns_the_same_in_both_precisions_where_the_test_is_passed(tmp_path, data):
    recipe = tiny_recipe(**VOXELMORPH)
    for precision in ("32", BF16):
        train(recipe, tmp_path / precision, replace(CPU, precision=precision), data)
    if reason_of(tmp_path / BF16):
        pytest.skip(reason_of(tmp_path / BF16))
    assert weights_hash(tmp_path / BF16) != weights_hash(tmp_path / "32")
    for exact, rounded in zip(rows(tmp_path / "32"), rows(tmp_path / BF16), strict=True):
        assert float(rounded["voxelmorph"]) == pytest.approx(float(exact["voxelmorph"]), rel=0.05)


def test_two_processes_agree_on_what_the_worse_of_them_can(tmp_path, data, monkeypatch):
    test = precision_module.fault_of_bf16

    def second_fails(new_state, trials):
        import os

        return "a planted fault" if os.environ.get("RANK") == "1" else ""

    monkeypatch.setattr(precision_module, "fault_of_bf16", second_fails)
    recipe = tiny_recipe(stages=[{"iterations": 1, "batch": 2}], precision=BF16)
    finish(in_processes(2, recipe, tmp_path, data=data))
    monkeypatch.setattr(precision_module, "fault_of_bf16", test)
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
            assert float(layer(one)) == value
    assert torch.is_autocast_enabled("cpu") is False


def test_the_trial_leaves_the_weights_as_they_are(data):
    """Its steps have no length, and its randomness is the run's own."""
    recipe = tiny_recipe(stages=[SHORT])
    states = []

    def new_state() -> State:
        states.append(State(recipe))
        return states[-1]

    fault_of_bf16(new_state, [(0, data.draw(recipe, 0, 0, 1))])
    fresh = State(recipe).method.networks.state_dict()
    for state in states:
        for name, value in state.method.networks.state_dict().items():
            assert torch.equal(value, fresh[name]), name
    assert len(states) == 2


def test_three_layers_of_plain_convolutions_pass(monkeypatch):
    """So that a test which never lets bfloat16 through is noticed."""
    from engine_runs import some_data
    from engine_runs import tiny_recipe as contrasts

    recipe = contrasts(augmentation={}, stages=[{"iterations": 1, "batch": 2, "crop": [64, 64]}])

    class Small:
        def __init__(self) -> None:
            self.method, self.recipe = ThreeLayers(), recipe
            parameters = self.method.networks.parameters()
            self.optimizers = {"net": torch.optim.SGD(parameters, lr=1.0)}

    shard = some_data().draw(recipe, 0, 0, 1)
    if fault := fault_of_bf16(Small, [(0, shard)]):
        pytest.skip(fault)  # this processor's convolutions are wrong
    with spoiled_convolutions(torch.nn.Conv2d, torch.bfloat16):
        assert "net.third" in fault_of_bf16(Small, [(0, shard)])
