"""``mambasynth train``: recipes changed from the command line, and what it tells of a run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from engine_runs import TINY, rows, some_data, some_slices
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from tiny_cines import TINY as CINE
from tiny_cines import tiny_cines, tiny_recipe, write_cines
from tiny_data import write_tiny_data

from MambaSynthLib.cli import main
from MambaSynthLib.errors import RequestError
from MambaSynthTraining.engine import fit
from MambaSynthTraining.recipe_changes import with_changes
from MambaSynthTraining.recipe_file import read_recipe, recipe_of
from MambaSynthTraining.record import read_record
from MambaSynthTraining.unused import unused_parts

GRID = {"axis_codes": "LPS", "in_plane_spacing_mm": 1.0, "size": [72, 64]}


@pytest.fixture
def recipe(tmp_path) -> Path:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return tmp_path / "tiny.yaml"


def test_values_are_changed_by_dotted_keys_and_typed_as_in_the_file(recipe):
    words = [
        "seed=5",
        "optimization.ema=0.5",
        "stages.1.crop=[64, 68]",
        "options.spectral_norm=true",
    ]
    changed = read_recipe(recipe, [*words, "augmentation.noise=0.1"])
    assert (changed.seed, changed.optimization.ema) == (5, 0.5)
    assert changed.options["spectral_norm"] is True
    assert changed.stages[1].crop == (64, 68) and changed.stages[0].crop == (64, 64)
    assert (changed.augmentation.gamma, changed.augmentation.noise) == (0.2, 0.1)
    assert read_recipe(recipe) == recipe_of(TINY)


def test_a_change_goes_before_a_preset_and_the_last_of_two_counts(recipe):
    changed = read_recipe(recipe, ["preset=paper", "options.wiring=official", "seed=1", "seed=2"])
    assert changed.options["wiring"] == "official" and changed.seed == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("sneed=5", "unknown key 'sneed', meant seed?"),
        ("optimization.emma=0.5", "optimization has the unknown key 'emma', meant ema?"),
        ("optimization.learning_rates.generator=1.0e-4", "'generator', meant generators?"),
        ("network.n_block=2", "network has the unknown key 'n_block', meant n_blocks?"),
        ("weights.lambda_cycl=2.0", "weights has the unknown key 'lambda_cycl', meant lambda_cyc"),
        ("stages.0.bach=2", r"stages\[0\] has the unknown key 'bach', meant batch?"),
        ("stages.7.batch=2", "stages has the entries 0 to 2, no 7"),
        ("seed.x=5", "seed is 11, so it has no x"),
        ("seed=five", "seed is 'five', not of the type int"),
        ("optimization.learning_rates.generators=2e-4", "write it as 2.0e-4"),
        ("stages.0.crop=[66, 64]", "multiples of 4"),
        ("seed", "--set seed is no key=value"),
        ("=3", "--set =3 is no key=value"),
        ("a..b=3", "--set a..b=3 is no key=value"),
        ("seed=[1", r"--set seed=\[1 has a value that is no YAML"),
        ("optimization.ema=.inf", r"--set optimization.ema=.inf has .*\.inf is no finite number"),
        ("seed=" + "[" * 9000, "it is nested too deeply"),
    ],
)
def test_a_wrong_change_is_told_as_a_wrong_recipe_is(recipe, change, told, capsys):
    words = ["train", str(recipe), "--data", "d", "--out", str(recipe.parent / "run")]
    assert main([*words, "--set", change]) == 2
    message = capsys.readouterr().err
    assert re.search(told, message) and message.count("\n") == 1
    assert not (recipe.parent / "run").exists()


def test_what_was_read_is_not_changed():
    data = {"stages": [{"batch": 1}]}
    assert with_changes(data, ["stages.0.batch=2"]) == {"stages": [{"batch": 2}]}
    assert data == {"stages": [{"batch": 1}]}


@pytest.mark.parametrize(
    ("total", "lengths"), [(8, [3, 2, 3]), (80, [30, 20, 30]), (4, [2, 1, 1]), (3, [1, 1, 1])]
)
def test_the_stages_of_another_length_keep_their_shares(recipe, total, lengths):
    changed = read_recipe(recipe, iterations=total)
    assert [stage.iterations for stage in changed.stages] == lengths
    assert changed.iterations == total


def test_fewer_iterations_than_stages_are_refused(recipe):
    with pytest.raises(RequestError, match="2 iterations are too few for 3 stages"):
        read_recipe(recipe, iterations=2)


def train_cine(folder: Path, *more: str) -> int:
    recipe = folder / "cine.yaml"
    recipe.write_text(yaml.safe_dump({**CINE, "stages": [{"iterations": 9, "batch": 1}]}))
    data = folder / "data" if (folder / "data").exists() else write_cines(folder / "data")
    words = ["train", str(recipe), "--data", str(data), "--out", str(folder / "run")]
    return main([*words, "--accelerator", "cpu", *more])


def test_a_shorter_run_is_made_logged_in_lines_and_goes_on_as_itself_only(tmp_path, capsys):
    short = ["--iterations", "2", "--set", "optimization.clip=0.5", "--line-every", "1e-9"]
    assert train_cine(tmp_path, *short) == 0
    captured = capsys.readouterr()
    assert "2 iterations done" in captured.out and len(rows(tmp_path / "run")) == 2
    first, second = captured.err.splitlines()
    assert re.match(
        r"iteration 1 of 2: mstg \S+, total .*; learning rate mstg 0.001; .* left", first
    )
    assert second.startswith("iteration 2 of 2: ") and second.endswith(" 0 s left")
    assert read_record(tmp_path / "run")["recipe"]["optimization"]["clip"] == 0.5
    assert train_cine(tmp_path, "--iterations", "3") == 2
    assert "another optimization and stages; choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [("iterations", -1, 1), ("iterations", 0, 1), ("devices", -1, 1), ("nodes", 0, 1),
     ("threads", -2, 1), ("seed", -3, 0)],
)  # fmt: skip
def test_a_number_below_its_least_is_refused(option, value, least, tmp_path, capsys):
    assert train_cine(tmp_path, f"--{option}", str(value)) == 2
    assert f"train: --{option} is {value}; give at least {least}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_seed_beyond_the_largest_is_refused(tmp_path, capsys):
    assert train_cine(tmp_path, "--seed", str(2**63)) == 2
    assert "give another --seed" in capsys.readouterr().err


def test_the_folder_of_the_data_is_no_folder_of_a_run(recipe, tmp_path, capsys):
    folder = tmp_path / "data"
    write_tiny_data(folder)
    before = sorted(path.name for path in folder.iterdir())
    assert main(["train", str(recipe), "--data", str(folder), "--out", str(folder)]) == 2
    assert "data: holds the data; name another folder as --out." in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_an_accelerator_that_is_not_here_is_refused_in_one_sentence(tmp_path, capsys, monkeypatch):
    def none_here(**_):
        raise MisconfigurationException("No supported gpu backend found!\n Sorry.")

    monkeypatch.setattr(fit.pl, "Trainer", none_here)
    assert train_cine(tmp_path, "--accelerator", "gpu") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "accelerator gpu cannot be had here" in told and "such as cpu" in told


def test_parts_of_a_recipe_that_a_run_does_not_use_are_named_with_the_reason():
    optimization = {**TINY["optimization"], "decay": "constant"}
    stages = [{**stage, "augmentation": {"noise": 0.1}} for stage in TINY["stages"]]
    recipe = recipe_of({**TINY, "grid": GRID, "optimization": optimization, "stages": stages})
    data = replace(some_data(validation=0), groups=[some_slices()], shares=[1.0])
    assert [part.partition(" (")[0] for part in unused_parts(recipe, data)] == [
        "grid", "every.validate", "optimization.lr_end", "augmentation"
    ]  # fmt: skip
    same = replace(recipe, grid=some_data().grid)
    assert unused_parts(same, some_data())[0].startswith("optimization.lr_end (the decay is const")
    assert unused_parts(recipe_of(TINY), some_data()) == []


def test_they_are_told_in_one_line_at_the_start(tmp_path, capsys):
    write_cines(tmp_path / "data")
    splits = yaml.safe_load((tmp_path / "data/splits.json").read_text())
    (tmp_path / "data/splits.json").write_text(str({**splits, "validation": []}).replace("'", '"'))
    words = ["--iterations", "1", "--set", "optimization.decay=constant"]
    assert train_cine(tmp_path, *words, "--set", "optimization.lr_end=1.0e-5") == 0
    told = capsys.readouterr().err
    assert "cine.yaml: this run does not use every.validate (the data have no validation" in told
    assert "optimization.lr_end (the decay is constant)" in told and told.count("\n") == 1


def test_a_cine_run_with_validation_uses_all_of_its_recipe(tmp_path):
    assert unused_parts(tiny_recipe(), tiny_cines(tmp_path)) == []
