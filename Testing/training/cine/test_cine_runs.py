"""Cine methods on the engine: draws, killed runs, several processes, refusals, the command."""

from __future__ import annotations

import json
import math
import random
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_runs import (
    CPU,
    finish,
    in_processes,
    kill_after,
    logged,
    longer,
    rows,
    train,
    weights_hash,
)
from tiny_cines import TINY, tiny_cines, tiny_recipe, write_cines
from tiny_data import CRAVIM, write_tiny_data

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.data.batches import Batches
from MambaSynthTraining.engine.checkpoint import read_checkpoint
from MambaSynthTraining.record import read_record
from MambaSynthTraining.run_folder import BEST, LAST


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_cines(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data) -> Path:
    """A finished run. Tests must not change it."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    train(tiny_recipe(), run, data=data)
    return run


# ---- draws


def test_a_batch_is_a_function_of_seed_and_iteration_and_the_shards_are_its_parts(data):
    recipe = tiny_recipe()
    (whole,), (later,) = Batches(recipe, data)[3], Batches(recipe, data, first=3)[0]
    assert torch.equal(whole.batch.ed, later.batch.ed) and whole.seed == later.seed
    rng = np.random.default_rng([5, 3])  # as this draws, whoever asks
    expected, names = data.beats.draw(2, 0.1, rng, (16, 16, 16))
    assert torch.equal(whole.batch.frame, expected.frame) and whole.names == tuple(names)
    assert whole.seed == int(rng.integers(2**62))
    first, second = (Batches(recipe, data, rank=rank, processes=2)[3] for rank in (0, 1))
    for left, right in zip(
        [*first, *second], Batches(replace(recipe, shards=2), data)[3], strict=True
    ):
        assert torch.equal(left.batch.es, right.batch.es) and left.seed == right.seed
    gamma = torch.cat([first[0].batch.gamma, second[0].batch.gamma])
    assert torch.equal(gamma, whole.batch.gamma) and first[0].seed == whole.seed
    assert first[0].seed != second[0].seed
    (other,) = Batches(replace(recipe, seed=6), data)[3]
    assert other.seed != whole.seed and not torch.equal(other.batch.ed, whole.batch.ed)


# ---- runs


def test_a_finished_run_says_what_it_learned_from_and_what_it_cost(finished):
    record = read_record(finished)
    assert record["kind"] == "cine" and record["device"] == "cpu" and record["finished"]
    assert record["subjects"] == ["a", "b"] and record["validation_subjects"] == ["c"]
    assert record["size"] == [16, 16, 16] and record["spacing_mm"] == [3.0, 1.5, 1.5]
    assert 0 < record["cpu_minutes"] < 5
    assert record["best_validation_error"] == read_checkpoint(finished / BEST)["best"] > 0
    found = rows(finished)
    assert [row["iteration"] for row in found] == ["1", "2", "3", "4"]
    assert all(math.isfinite(float(value)) for row in found for value in row.values())


def test_tensorboard_shows_acquired_above_synthetic_frames(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    pictures = events.Images("validation/acquired above, synthetic below")
    assert [picture.step for picture in pictures] == [2, 4]
    assert (pictures[0].width, pictures[0].height) == (2 * 16, 2 * 16)  # two frames between


def test_the_averaged_network_differs_from_the_last(finished):
    content = read_checkpoint(finished / LAST)
    name = "deformation.field.weight"
    assert not torch.equal(content["averaged"][name], content["networks"][f"mstg.{name}"])


def test_a_run_killed_twice_ends_bit_equal_to_an_uninterrupted_one(tmp_path, data):
    recipe, draw, kills = longer(tiny_recipe(), 2), random.Random(7), 0
    train(recipe, tmp_path / "whole", data=data)
    for _ in range(2):
        (process,) = in_processes(1, recipe, tmp_path / "killed", data=data)
        wanted = logged(tmp_path / "killed") + draw.randint(1, 3)
        kill_after(wanted, draw.uniform(0, 0.1), process, tmp_path / "killed")
        kills += process.exitcode == -signal.SIGKILL
    finish(in_processes(1, recipe, tmp_path / "killed", data=data))
    assert kills == 2
    assert weights_hash(tmp_path / "killed") == weights_hash(tmp_path / "whole")
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


def test_two_processes_end_with_the_weights_of_one_that_takes_the_same_batches(
    tmp_path, data, finished
):
    """Worked off in the same two shards; as one shard, a batch has the same losses."""
    finish(in_processes(2, tiny_recipe(), tmp_path / "two", data=data))
    train(tiny_recipe(shards=2), tmp_path / "one", data=data)
    one, two = (read_checkpoint(tmp_path / n / LAST)["networks"] for n in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=2e-6, msg=name)
    for left, right in zip(rows(finished), rows(tmp_path / "two"), strict=True):
        for name, value in left.items():
            assert float(right[name]) == pytest.approx(float(value), rel=2e-3), name
    assert read_record(tmp_path / "two")["processes"] == 2


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_subject(tmp_path):
    data = tiny_cines(tmp_path / "data")
    for frames in data.beats._frames:
        frames[0, 4] = torch.nan
    told = r"loss of the mstg is nan .*not finite first: the data \(\w+\) \([ab]; [ab]\); look at"
    with pytest.raises(RequestError, match=f"iteration 0: the {told} these data"):
        train(tiny_recipe(), tmp_path / "run", data=data)
    assert not (tmp_path / "run" / LAST).exists()


# ---- gradient checkpointing


def test_gradient_checkpointing_is_refused_where_a_method_has_no_blocks_for_it(tmp_path, data):
    saving = replace(CPU, gradient_checkpointing=True)
    for method in ("mstg", "r2net", "ukan"):
        of_mstg = TINY if method == "mstg" else {"network": {}, "weights": {}}
        recipe = tiny_recipe(
            method=method,
            network=of_mstg["network"],
            weights=of_mstg["weights"],
            optimization={"learning_rates": {method: 1e-3}},
        )
        with pytest.raises(RequestError, match=f"the method {method} has no blocks"):
            train(recipe, tmp_path / method, saving, data)


# ---- the command


def command(recipe: Path, data: Path, out: Path, *more: str) -> int:
    words = ["train", str(recipe), "--data", str(data), "--out", str(out)]
    return main([*words, "--accelerator", "cpu", *more])


def test_the_command_trains_and_does_not_train_what_is_finished(tmp_path, capsys):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(json.dumps({**TINY, "stages": [{"iterations": 1, "batch": 1}]}))
    data = write_cines(tmp_path / "data")
    for _ in range(2):
        assert command(recipe, data, tmp_path / "run") == 0
        assert "1 iterations done" in capsys.readouterr().out
    assert read_record(tmp_path / "run")["recipe_file"] == "tiny.yaml"
    assert command(recipe, data, tmp_path / "run", "--seed", "6") == 2
    assert "another seed; choose another folder" in capsys.readouterr().err


def test_data_of_the_wrong_kind_are_refused_in_one_sentence(tmp_path, capsys):
    (tmp_path / "cine.yaml").write_text(json.dumps(TINY))
    (tmp_path / "contrast.yaml").write_text(CRAVIM)
    write_tiny_data(tmp_path / "heads")
    write_cines(tmp_path / "hearts")
    run = tmp_path / "run"
    for recipe, data, told in (
        ("cine", "heads", "is a contrast data set, but the method mstg learns from cine data"),
        ("contrast", "hearts", "is a cine data set, but the method cravim learns from contrast"),
    ):
        assert command(tmp_path / f"{recipe}.yaml", tmp_path / data, run) == 2
        message = capsys.readouterr().err
        assert told in message and message.count("\n") == 1
    assert command(tmp_path / "cine.yaml", tmp_path / "nothing", run) == 2
    assert "no data set to train on" in capsys.readouterr().err
    assert not run.exists()


def test_a_contrast_recipe_with_settings_of_a_cine_is_refused(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(CRAVIM + "cine: {targets: all}\n")
    assert command(tmp_path / "r.yaml", tmp_path, tmp_path / "run") == 2
    assert "cine is not for the method cravim" in capsys.readouterr().err


def test_a_data_set_without_subjects_to_train_on_is_told(tmp_path):
    write_cines(tmp_path)
    splits = json.loads((tmp_path / "splits.json").read_text())
    (tmp_path / "splits.json").write_text(json.dumps({**splits, "train": []}))
    from MambaSynthTraining.data.kinds import open_data

    with pytest.raises(RequestError, match="no subjects"):
        open_data(tiny_recipe(), tmp_path)
    (tmp_path / "splits.json").write_text(json.dumps({"train": [1]}))
    with pytest.raises(FileError, match="splits.json lacks 'validation'"):
        open_data(tiny_recipe(), tmp_path)
