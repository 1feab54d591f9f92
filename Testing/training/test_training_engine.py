"""The engine around any training method: rates, averages, phases, checkpoints, logs, locks."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_runs import (
    CPU,
    FORK,
    in_processes,
    logged,
    longer,
    rows,
    some_data,
    some_slices,
    tiny_recipe,
    train,
    weights_hash,
)

import training
from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.layers import evss
from training.data.batches import Batches, shard_count
from training.data.prepared import write_dataset, write_subject
from training.data.slices import SlicePairs
from training.data.sources import prepared_data
from training.engine import checkpoint as checkpoint_module
from training.engine import module as module_module
from training.engine.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    latest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from training.engine.distributed import launcher_size
from training.engine.iteration import Machine, run_iteration
from training.engine.lock import LOCK, locked
from training.engine.memory import recompute_activations
from training.engine.rates import learning_rate
from training.engine.state import State
from training.method import Phase
from training.recipe import Recipe
from training.record import read_record

NETWORKS = {"a_to_b", "b_to_a", "of_a", "of_b"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished small run. Tests must not change it."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    train(tiny_recipe(), run)
    return run


def iterate(state: State, recipe: Recipe, data=None, machine: Machine | None = None) -> dict:
    batches = Batches(recipe, data or some_data(), state.iteration)
    state.set_rates()
    terms = run_iteration(
        state.method, state.optimizers, batches[0], recipe, state.iteration, machine or Machine()
    )
    state.advance()
    return {name: float(value) for name, value in terms.items()}


def weights_of(state: State) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in state.method.networks.named_parameters()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The networks with a changed parameter."""
    return {k.partition(".")[0] for k in before if not torch.equal(before[k], after[k])}


# ---- rates


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


# ---- iterations


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
    told = "iteration 0: the loss of the generators is (nan|inf) .*patient 7, slice 3.*lower the"
    with pytest.raises(RequestError, match=told):
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
    with pytest.raises(RequestError, match="iteration 3: the norm of the gradient is inf"):
        run_iteration(method, {"one": optimizer}, parts, recipe, 3, explode)


# ---- batches


def test_the_batches_are_a_function_of_seed_iteration_and_shard():
    recipe, data = tiny_recipe(shards=2), some_data()
    whole, later = Batches(recipe, data), Batches(recipe, data, first=3)
    assert len(whole) == 8 and len(later) == 5
    for one, two in zip(whole[3], later[0], strict=True):
        assert torch.equal(one.batch.source, two.batch.source) and one.seed == two.seed
        assert one.names == two.names
    first, second = (Batches(recipe, data, rank=rank, processes=2)[3] for rank in (0, 1))
    for one, two in zip(whole[3], [*first, *second], strict=True):
        assert torch.equal(one.batch.target, two.batch.target) and one.seed == two.seed
    assert len({shard.seed for k in range(8) for shard in whole[k]}) == 16
    other = Batches(replace(recipe, seed=12), data)[3][0]
    assert not torch.equal(other.batch.source, whole[3][0].batch.source)


def test_prepared_data_give_training_and_validation_slices_with_names_and_hashes(tmp_path):
    data, stacks = some_data(), {}
    for n, subject in enumerate(("IXI002", "IXI012", "IXI013")):
        slices = np.random.default_rng(n).uniform(-1, 1, (2, n + 1, 64, 60)).astype(np.float32)
        stacks[subject] = dict(zip(("T1w", "T2w"), slices, strict=True))
        write_subject(tmp_path, subject, stacks[subject], {}, {"paired": True})
    splits = {"train": ["IXI002", "IXI012"], "validation": ["IXI013"]}
    options = ("small", ("T1w", "T2w"), data.grid, data.intensity, {}, splits)
    write_dataset(tmp_path, *options)
    found = prepared_data(tmp_path)
    (group,), held_out = found.groups, found.validation
    assert [len(group), len(held_out)] == [3, 3] and found.contrasts == ("T1w", "T2w")
    assert np.array_equal(group.b[2], stacks["IXI012"]["T2w"][1])
    assert np.array_equal(held_out.a[1], stacks["IXI013"]["T1w"][1])
    assert (group.name(0), held_out.name(2)) == ("IXI002, slice 0", "IXI013, slice 2")
    digest = hashlib.sha256((tmp_path / "splits.json").read_bytes()).hexdigest()
    assert found.sha256["splits.json"] == digest and "dataset.json" in found.sha256
    assert found.grid == data.grid


def test_data_without_a_slice_are_refused():
    with pytest.raises(RequestError, match="hold no slice with tissue"):
        replace(some_data(), groups=[SlicePairs([], [])], shares=[1.0])


def test_batches_that_cannot_be_shared_evenly_are_refused():
    assert shard_count(tiny_recipe(), 2) == 2 and shard_count(tiny_recipe(shards=2), 1) == 2
    with pytest.raises(RequestError, match="3 processes cannot share batches of 2 in 1 shards"):
        shard_count(tiny_recipe(), 3)
    four = tiny_recipe(shards=2, stages=[{"iterations": 1, "batch": 4, "crop": [64, 64]}])
    with pytest.raises(RequestError, match="4 processes cannot share .* in 2 shards"):
        shard_count(four, 4)


def test_torchrun_and_slurm_say_how_many_processes_there_are(monkeypatch):
    assert launcher_size() == (1, 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert launcher_size() == (4, 2)


# ---- averages


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


# ---- checkpoints


def test_a_kill_while_saving_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / LAST, {"iteration": 1})

    def killed(old, new) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path / LAST, {"iteration": 2})
    assert latest_checkpoint(tmp_path) == {"iteration": 1}
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_a_full_disk_is_told_and_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / LAST, {"iteration": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module.os, "fsync", full)
    with pytest.raises(FileError, match="last.ckpt: cannot be written .No space left"):
        write_checkpoint(tmp_path / LAST, {"iteration": 2})
    assert latest_checkpoint(tmp_path) == {"iteration": 1}
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


@pytest.mark.parametrize("damage", ["empty", "text", "half", "one bit"])
def test_a_damaged_last_checkpoint_is_told_and_the_previous_taken(tmp_path, damage):
    for iteration in (1, 2):
        content = {"iteration": iteration, "w": torch.full((999,), float(iteration))}
        write_checkpoint(tmp_path / LAST, content)
    whole = (tmp_path / LAST).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damaged = {"empty": b"", "text": b"no checkpoint", "half": whole[: len(whole) // 2]}
    (tmp_path / LAST).write_bytes(damaged.get(damage, bytes(flipped)))
    with pytest.warns(UserWarning, match="last.ckpt: is no whole .*Continuing from previous.ckpt"):
        assert latest_checkpoint(tmp_path)["iteration"] == 1
    (tmp_path / PREVIOUS).write_bytes(b"")
    with (
        pytest.raises(FileError, match="previous.ckpt: is no whole checkpoint"),
        pytest.warns(UserWarning),
    ):
        latest_checkpoint(tmp_path)


def test_a_checkpoint_holds_no_code_and_can_be_read_by_torch_alone(finished):
    content = torch.load(finished / LAST, weights_only=True)
    assert content["iteration"] == 8 and content["exported"] == "a_to_b"


# ---- runs


def test_a_finished_run_folder_holds_checkpoints_losses_record_and_pictures(finished):
    assert {path.name for path in finished.iterdir()} == {
        LAST, PREVIOUS, BEST, LOCK, "losses.csv", "run.json", "tensorboard"
    }  # fmt: skip
    assert read_checkpoint(finished / LAST)["iteration"] == 8
    assert read_checkpoint(finished / PREVIOUS)["iteration"] == 6
    assert set(read_checkpoint(finished / BEST)) == {"iteration", "best", "exported", "averaged"}
    found = rows(finished)
    assert [row["iteration"] for row in found] == [str(n) for n in range(1, 9)]
    assert all(math.isfinite(float(v)) for row in found for v in row.values() if v)
    record = read_record(finished)
    assert record["recipe"]["network"]["ngf"] == 4 and record["recipe_file"] == "tiny.yaml"
    assert record["recipe"]["grid"]["size"] == [64, 64]
    assert record["finished"] and record["iterations"] == 8 and record["processes"] == 1
    assert record["slices"] == {"train": 8, "validation": 2}
    assert record["best_validation_error"] == read_checkpoint(finished / BEST)["best"] > 0
    assert record["versions"]["torch"] == torch.__version__


def test_tensorboard_gets_the_losses_and_a_picture_of_source_synthetic_and_target(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    losses = events.Scalars("losses/generators")
    assert [event.step for event in losses] == list(range(1, 9))
    pictures = events.Images("validation/source, synthetic, acquired")
    assert [picture.step for picture in pictures] == [4, 8]
    assert (pictures[0].width, pictures[0].height) == (3 * 64, 2 * 64)


def test_a_finished_run_is_not_trained_again(finished, monkeypatch):
    before = {p.name: p.stat().st_mtime_ns for p in finished.iterdir() if p.name != LOCK}
    monkeypatch.setattr(module_module, "run_iteration", None)
    assert train(tiny_recipe(), finished).iteration == 8
    assert before == {p.name: p.stat().st_mtime_ns for p in finished.iterdir() if p.name != LOCK}


def test_a_run_of_another_recipe_is_refused_and_the_difference_named(finished):
    before = weights_hash(finished)
    with pytest.raises(FileError, match="run.json: the run in this folder has another seed;"):
        train(tiny_recipe(seed=12), finished)
    assert weights_hash(finished) == before


def test_a_second_training_in_one_folder_is_refused(tmp_path):
    ready, done = FORK.Event(), FORK.Event()

    def hold() -> None:
        with locked(tmp_path):
            ready.set()
            done.wait(60)

    holder = FORK.Process(target=hold)
    holder.start()
    ready.wait(60)
    with pytest.raises(RequestError, match=rf"written by process {holder.pid} on .*; wait for it"):
        train(tiny_recipe(), tmp_path)
    holder.kill()
    holder.join()
    with locked(tmp_path):  # the dead hold nothing
        assert not (tmp_path / LAST).exists()


def test_too_little_memory_is_told_with_the_remedies(tmp_path, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("tried to allocate 7 GiB")

    monkeypatch.setattr(module_module, "run_iteration", full)
    told = "iteration 0: the memory .* 2 slices of .64, 64. at a time; use --precision bf16-mixed"
    with pytest.raises(RequestError, match=told):
        train(tiny_recipe(), tmp_path)


def test_bf16_trains_with_the_scan_in_float32(tmp_path, monkeypatch):
    seen = []
    scan = evss.selective_scan

    def watched(u, *others):
        seen.append((u.dtype, torch.is_autocast_enabled("cpu")))
        return scan(u, *others)

    convolutions = set()
    monkeypatch.setattr(evss, "selective_scan", watched)
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, _, out: (
            convolutions.add(out.dtype) if type(module) is torch.nn.Conv2d else None
        )
    )
    recipe = tiny_recipe(stages=[{"iterations": 1, "batch": 2, "crop": [64, 64]}])
    try:
        train(recipe, tmp_path, replace(CPU, precision="bf16-mixed"), some_data(validation=0))
    finally:
        hook.remove()
    assert set(seen) == {(torch.float32, False)} and convolutions == {torch.bfloat16}
    assert read_record(tmp_path)["precision"] == "bf16-mixed"
    weights = read_checkpoint(tmp_path / LAST)["networks"].values()
    assert {value.dtype for value in weights} <= {torch.float32, torch.int64}
    assert not (tmp_path / BEST).exists()


def test_gradient_checkpointing_changes_no_number():
    recipe = tiny_recipe()
    plain, saving = State(recipe), State(recipe)
    assert recompute_activations(saving.method.networks) == 2 * 1 + 2 * 3 * 4
    for state in (plain, saving):
        iterate(state, recipe)
    for name, value in plain.method.networks.state_dict().items():
        assert torch.equal(value, saving.method.networks.state_dict()[name]), name
    averaged = saving.averaged.module.resnet_blocks[0]
    assert averaged.conv1.weight is not saving.exported.resnet_blocks[0].conv1.weight


def test_a_terminated_run_exits_with_the_systems_code_and_can_go_on(tmp_path):
    recipe = longer(tiny_recipe(), 20)
    (process,) = in_processes(1, recipe, tmp_path)
    while process.is_alive() and logged(tmp_path) < 3:
        time.sleep(0.01)
    process.terminate()
    process.join(120)
    assert process.exitcode == 143
    assert latest_checkpoint(tmp_path)["iteration"] < recipe.iterations
    assert not list(tmp_path.glob("*.part"))


def test_only_the_engine_imports_lightning_and_commands_import_nothing_heavy():
    package = Path(training.__file__).parent
    heavy = re.compile(r"^(?:import|from) (torch|lightning|zarr|training\.engine)", re.MULTILINE)
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.parent.name != "engine":
            assert not re.search(r"^\s*(import|from) lightning", text, re.MULTILINE), path
        if path.parent.name == "commands":
            assert not heavy.search(text), path


def test_the_command_wants_one_kind_of_data(tmp_path, capsys):
    words = ["train", str(tmp_path / "x.yaml"), "--out", str(tmp_path / "run")]
    for more in ([], ["--data", "d", "--pair", "a", "b"]):
        assert main([*words, *more]) == 2
        assert "either --data or --pair" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
