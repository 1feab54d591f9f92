"""The engine around any training method: whole runs, their folders, logs and locks."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_runs import (
    FORK,
    in_processes,
    iterate,
    logged,
    longer,
    rows,
    some_data,
    tiny_recipe,
    train,
    weights_hash,
)

import MambaSynthTraining
from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.methods.cravim import evss
from MambaSynthTraining.engine import module as module_module
from MambaSynthTraining.engine.checkpoint import latest_checkpoint, read_checkpoint
from MambaSynthTraining.engine.lock import LOCK, lock
from MambaSynthTraining.engine.machine import BF16, Machine
from MambaSynthTraining.engine.recomputing import recompute_activations
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.record import read_record
from MambaSynthTraining.run_folder import BEST, LAST, PREVIOUS


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished small run. Tests must not change it."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    train(tiny_recipe(), run)
    return run


def test_a_checkpoint_holds_no_code_and_can_be_read_by_torch_alone(finished):
    content = torch.load(finished / LAST, weights_only=True)
    assert content["iteration"] == 8 and content["exported"] == "a_to_b"


def test_a_finished_run_folder_holds_checkpoints_losses_record_and_pictures(finished):
    assert {path.name for path in finished.iterdir()} == {
        LAST, PREVIOUS, BEST, LOCK, "losses.csv", "validation.csv", "run.json", "tensorboard"
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


@pytest.mark.parametrize("name", ["splits.json", "heads.json"])
def test_a_run_goes_on_with_the_subjects_that_it_began_with(tmp_path, name):
    """Else the record would say that who was learned from was left out."""
    data = replace(some_data(), sha256={name: "a", "dataset.json": "made so"})
    train(tiny_recipe(), tmp_path, data=data)
    other = replace(data, sha256={name: "b", "dataset.json": "made so"})
    with pytest.raises(FileError, match=rf"run.json: .* learned from other data \(their {name}"):
        train(tiny_recipe(), tmp_path, data=other)
    made_again = replace(data, sha256={name: "a", "dataset.json": "made by a later version"})
    assert train(tiny_recipe(), tmp_path, data=made_again).iteration == 8


def test_a_second_training_in_one_folder_is_refused(tmp_path):
    ready, done = FORK.Event(), FORK.Event()

    def hold() -> None:
        with lock(tmp_path):
            ready.set()
            done.wait(60)

    holder = FORK.Process(target=hold)
    holder.start()
    ready.wait(60)
    with pytest.raises(RequestError, match=rf"written by process {holder.pid} on .*; wait for it"):
        train(tiny_recipe(), tmp_path)
    holder.kill()
    holder.join()
    with lock(tmp_path):  # the dead hold nothing
        assert not (tmp_path / LAST).exists()


def test_too_little_memory_is_told_with_the_remedies(tmp_path, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("tried to allocate 7 GiB")

    monkeypatch.setattr(module_module, "run_iteration", full)
    told = "iteration 0: the memory .* 2 slices of .64, 64. at a time; use --precision bf16-mixed"
    with pytest.raises(RequestError, match=told):
        train(tiny_recipe(), tmp_path)


def test_in_bf16_the_scan_stays_in_float32_and_so_do_the_weights(monkeypatch):
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
    recipe = tiny_recipe()
    state = State(recipe)
    try:
        iterate(state, recipe, machine=Machine(precision=BF16))
    finally:
        hook.remove()
    assert set(seen) == {(torch.float32, False)} and convolutions == {torch.bfloat16}
    weights = state.content()["networks"].values()
    assert {value.dtype for value in weights} <= {torch.float32, torch.int64}


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


def test_without_subjects_to_validate_with_there_is_no_best_checkpoint(tmp_path):
    recipe = tiny_recipe(stages=[{"iterations": 1, "batch": 2, "crop": [64, 64]}])
    train(recipe, tmp_path, data=some_data(validation=0))
    assert (tmp_path / LAST).exists() and not (tmp_path / BEST).exists()


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
    package = Path(MambaSynthTraining.__file__).parent
    heavy = re.compile(r"^(?:import|from) (torch|lightning|zarr|training\.engine)", re.MULTILINE)
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.parent.name != "engine":
            assert not re.search(r"^\s*(import|from) lightning", text, re.MULTILINE), path
        if path.parent.name == "commands":
            assert not heavy.search(text), path


def test_the_command_wants_data(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path / "x.yaml"), "--out", str(tmp_path / "run")])
    assert "required: --data" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
