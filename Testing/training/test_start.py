"""A run begins with the weights of a model package, or says in one sentence why it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_data import CRAVIM, train, write_tiny_data

from MambaSynthLib.cli import main
from MambaSynthLib.model.package import read_package
from MambaSynthTraining.data.kinds import open_data
from MambaSynthTraining.export import draft
from MambaSynthTraining.model_readme import start_words
from MambaSynthTraining.recipe_file import read_recipe
from MambaSynthTraining.runs import open_run
from MambaSynthTraining.start import PackageStart, remarks, start_of

ROOT = Path(__file__).parents[2]
HEADS = ROOT / "training/recipes/heads/cravim-head-t1w-t2w.yaml"
STILL = "optimization.learning_rates={generators: 0.0, discriminators: 0.0}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """data, tiny.yaml, and package, of a run of another seed."""
    place = tmp_path_factory.mktemp("place")
    write_tiny_data(place / "data")
    text = CRAVIM.replace("n_blocks: 1", "n_blocks: 2")
    (place / "tiny.yaml").write_text(text)
    (place / "other.yaml").write_text(text.replace("seed: 3", "seed: 4"))
    run = train(place / "other.yaml", place / "data", place / "other")
    draft(open_run(run), place / "package")
    return place


def words(place, out, *more):
    return ["train", str(place / "tiny.yaml"), "--data", str(place / "data"), "--out", str(out),
            "--accelerator", "cpu", *more]  # fmt: skip


def test_a_run_begins_with_the_weights_of_a_package_and_its_card_says_so(place, tmp_path):
    start = ["--init", str(place / "package")]
    assert main(words(place, tmp_path / "run", *start, "--set", STILL)) == 0
    run, package = open_run(tmp_path / "run"), read_package(place / "package")
    theirs, ours = package.read_weights(), run.weights()
    for name in ("conv1.weight", "deconv3_content.weight"):
        expected = torch.from_numpy(theirs[name]).float()
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=1e-6)
    assert run.record["start"]["weights_sha256"] == package.weights_sha256
    again = draft(run, tmp_path / "again")
    assert "They began with those of `draft` 0.0.0 (NOASSERTION; sha256 " in again.describe()
    assert main(words(place, tmp_path / "run", *start, "--set", STILL)) == 0  # it is finished


def test_without_a_start_the_card_names_none():
    assert start_words({}) == ""
    assert "20 iterations (3 minutes, `tiny.yaml`)" in start_words(
        {"start": {"iterations": 20, "minutes": 3.2, "recipe": "tiny.yaml"}}
    )


def test_a_run_begins_with_the_mean_of_several_and_its_card_names_each(place, tmp_path):
    first, second = place / "other", tmp_path / "second"
    assert main(words(place, second, "--start", str(first))) == 0
    both = ["--start", str(first), str(second), "--set", STILL]
    assert main(words(place, tmp_path / "run", *both)) == 0
    run, each = open_run(tmp_path / "run"), [open_run(first).weights(), open_run(second).weights()]
    assert not torch.equal(each[0]["conv1.weight"], each[1]["conv1.weight"])
    for name in ("conv1.weight", "deconv3_content.weight"):
        expected = (each[0][name] + each[1][name]) / 2
        torch.testing.assert_close(run.weights()[name], expected, rtol=0, atol=1e-6)
    told = draft(run, tmp_path / "draft").describe()
    n = open_run(first).record["iterations"]
    assert "They began with the mean of those of a run of " in told
    assert "`other.yaml`), and of a run of " in told
    assert f"They began with those of a run of {n} iterations" in told  # the second one did
    assert main(words(place, tmp_path / "run", *both)) == 0  # it is finished


def test_the_history_that_several_runs_share_is_told_once():
    oldest = {"iterations": 5, "minutes": 1.0, "recipe": "a.yaml"}
    old = {"iterations": 10, "minutes": 2.0, "recipe": "b.yaml", "start": oldest}
    new = {"iterations": 20, "minutes": 3.0, "recipe": "c.yaml", "start": old}
    told = start_words({"start": {"mean_of": [old, new]}})
    assert told == (
        " They began with the mean of those of a run of 10 iterations (2 minutes, `b.yaml`), and "
        "of a run of 20 iterations (3 minutes, `c.yaml`). They began with those of a run of 10 "
        "iterations (2 minutes, `b.yaml`). They began with those of a run of 5 iterations (1 "
        "minutes, `a.yaml`)."
    )


def test_runs_of_unlike_networks_have_no_mean(place, tmp_path, capsys):
    text = (place / "tiny.yaml").read_text().replace("ngf: 4", "ngf: 8")
    (tmp_path / "wide.yaml").write_text(text)
    train(tmp_path / "wide.yaml", place / "data", tmp_path / "wide")
    more = ["--start", str(place / "other"), str(tmp_path / "wide")]
    assert main(words(place, tmp_path / "run", *more)) == 2
    assert "its layers are not those of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_with_another_run_or_mean(place, tmp_path, capsys):
    first, second = str(place / "other"), str(tmp_path / "second")
    assert main(words(place, tmp_path / "second", "--start", first)) == 0
    assert main(words(place, tmp_path / "run", "--start", first, second)) == 0
    assert main(words(place, tmp_path / "run", "--start", second)) == 2
    told = capsys.readouterr().err
    assert "the run in this folder began with the mean of 2 runs; choose another folder" in told


def test_a_run_does_not_go_on_with_another_start(place, tmp_path, capsys):
    assert main(words(place, tmp_path / "run")) == 0
    assert main(words(place, tmp_path / "run", "--init", str(place / "package"))) == 2
    told = capsys.readouterr().err
    assert "the run in this folder began with weights of its own; choose another folder" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("network.ngf=8", "conv1.weight is 4 x 2 x 7 x 7, the recipe's 8 x 2 x 7 x 7"),
        ("network.n_blocks=3", "it lacks resnet_blocks.2"),
        ("network.n_blocks=1", "the recipe has no resnet_blocks.1"),
    ],
)
def test_other_layers_are_refused_in_one_sentence_before_anything_is_written(
    place, tmp_path, capsys, change, told
):
    out = tmp_path / "run"
    assert main(words(place, out, "--init", str(place / "package"), "--set", change)) == 2
    message = capsys.readouterr().err
    assert told in message and "--set 'network={" in message and message.count("\n") == 1
    assert not out.exists()


def test_a_run_of_other_layers_is_refused_likewise(place, tmp_path, capsys):
    more = ["--start", str(place / "other"), "--set", "network.ngf=8"]
    assert main(words(place, tmp_path / "run", *more)) == 2
    message = capsys.readouterr().err
    assert "the recipe's 8 x 2 x 7 x 7); give the recipe of that run" in message


def test_what_is_no_package_is_refused(place, tmp_path, capsys):
    assert main(words(place, tmp_path / "run", "--init", "cravim-head-t1w-t2")) == 2
    assert "did you mean cravim-head-t1w-t2w?" in capsys.readouterr().err


def test_a_run_begins_with_one_network_alone(place, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(words(place, tmp_path / "run", "--init", "a", "--start", "b"))
    assert "not allowed with argument" in capsys.readouterr().err


def test_another_direction_and_other_intensities_are_told(place):
    recipe = read_recipe(place / "tiny.yaml")
    data = open_data(recipe, place / "data")
    other = PackageStart(read_package(ROOT / "models/cravim-head-t2w-t1w"))
    assert remarks(other, data) == [
        "cravim-head-t2w-t1w: was trained T2w -> T1w, this run T1w -> T2w",
        "cravim-head-t2w-t1w: knows intensities by the rule median, not percentile",
    ]
    assert remarks(PackageStart(read_package(place / "package")), data) == []
    assert remarks(open_run(place / "other"), data) == remarks(None, data) == []


def test_the_recipe_of_heads_goes_on_from_the_shipped_model():
    start = start_of([], str(ROOT / "models/cravim-head-t1w-t2w"), read_recipe(HEADS))
    assert isinstance(start, PackageStart)
    assert {value.dtype for value in start.weights().values()} == {torch.float32, torch.int64}
