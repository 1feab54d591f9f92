"""A training run is scored by the engine and becomes a package that states its scores."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from baseline_twins import twin
from tiny_data import CRAVIM, head, train, write_tiny_data
from torch.optim.swa_utils import AveragedModel

from MambaSynthLib.cli import main
from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.model.package import read_package
from MambaSynthLib.report.evaluation import evaluate
from MambaSynthTraining.contrast.cravim.card import card_scores, parity
from MambaSynthTraining.engine.checkpoint import read_checkpoint, write_checkpoint
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.evaluation.results import read_results, results_in
from MambaSynthTraining.export import draft, half_weights
from MambaSynthTraining.runs import open_run

PIX2PIX = """
method: pix2pix
preset: paper
seed: 3
network: {width: 4, levels: 3, discriminator_width: 4}
stages: [{iterations: 1, batch: 1, crop: [64, 64]}]
"""

pytestmark = pytest.mark.usefixtures("without_lpips")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """data, run (CRAViM), paired (Pix2Pix), scores/run, scores/trivial, scores/paired."""
    place = tmp_path_factory.mktemp("place")
    write_tiny_data(place / "data")
    (place / "tiny.yaml").write_text(CRAVIM)
    (place / "pix2pix.yaml").write_text(PIX2PIX)
    train(place / "tiny.yaml", place / "data", place / "run")
    train(place / "pix2pix.yaml", place / "data", place / "paired")
    for what in (place / "run", place / "paired", "trivial"):
        out = place / "scores" / str(what).rpartition("/")[2]
        words = ["evaluate-set", str(what), "--data", str(place / "data"), "--seeds", "2"]
        assert main([*words, "--out", str(out)]) == 0
    return place


def export(place, out, *scores, run="run"):
    words = ["export", str(place / run), str(out), "--id", "tiny", "--title", "Tiny",
             "--trained-on", "Nobody.", "--license", "CC-BY-4.0",
             "--attribution", "The generator of NumPy."]  # fmt: skip
    named = ["--scores", *(str(place / "scores" / name) for name in scores)] if scores else []
    return main([*words, *named])


def damaged_copy(place, folder, change):
    shutil.copytree(place / "run", folder)
    content = read_checkpoint(folder / "last.ckpt")
    change(content["averaged"])
    write_checkpoint(folder / "last.ckpt", content)
    return folder


def test_what_is_scored_is_what_the_engine_synthesizes(place, tmp_path):
    engine = Engine(draft(open_run(place / "run"), tmp_path / "draft"), "cpu")
    source, target = head(4)
    with open(place / "scores/run/per_subject.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["subject"] == "p4"]
    assert [row["seed"] for row in rows] == ["0", "1"]
    for row in rows:
        made = engine.synthesize({"T1w": source}, seed=int(row["seed"]), pixel_mark=False)
        expected = evaluate(made.volumes["T2w"], target).rows[0]
        for name in ("ssim", "nmi", "mse", "psnr"):
            assert float(row[name]) == pytest.approx(getattr(expected, name), rel=1e-4)


def test_a_package_states_the_scores_of_its_weights_and_the_trivial_ones_first(place, tmp_path):
    assert export(place, tmp_path / "package", "run", "trivial") == 0
    package = read_package(tmp_path / "package")
    (scores,) = package.card.scores
    names = [row["name"] for row in scores["rows"]]
    assert names[:2] == ["source itself", "source inverted"]
    assert names[-1] == "synthetic, 4 steps x 1 draw"
    record = json.loads((place / "scores/run/scores.json").read_text(encoding="utf-8"))
    assert scores["rows"][-1]["ssim"] == pytest.approx(record["mean_over_subjects"]["ssim"])
    assert scores["rows"][-1]["seeds"] == [0, 1]
    assert "lpips" not in scores["rows"][-1]
    assert scores["data"].endswith("never trained on (tiny heads, test split)")
    assert all(one["subject"] in scores["data"] for one in record["data"]["subjects"])
    text = package.describe()
    assert package.card.license == "CC-BY-4.0" and "| license | CC-BY-4.0 |" in text
    assert f"{scores['rows'][-1]['ssim']:.4f} ± " in text and "The generator of NumPy." in text
    assert package.card.extra["training"]["recipe_file"] == "tiny.yaml"


@pytest.mark.parametrize("scores", [(), ("trivial",), ("trivial", "paired")])
def test_without_scores_of_these_weights_there_is_no_package(place, tmp_path, capsys, scores):
    assert export(place, tmp_path / "package", *scores) == 2
    assert "has no scores of its weights" in capsys.readouterr().err
    assert not (tmp_path / "package").exists()


def test_scores_of_former_weights_do_not_count(place, tmp_path, capsys):
    def change(averaged):
        next(iter(averaged.values())).add_(0.1)

    damaged_copy(place, place / "changed", change)
    assert export(place, tmp_path / "package", "run", run="changed") == 2
    assert "has no scores of its weights" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--license", " "]])
def test_weights_without_a_license_are_not_exported(place, tmp_path, capsys, words):
    named = ["--id", "tiny", "--title", "Tiny", "--trained-on", "Nobody."]
    assert main(["export", str(place / "run"), str(tmp_path / "p"), *named, *words]) == 2
    message = capsys.readouterr().err
    assert "--license is missing; name the license of the weights" in message
    assert message.count("\n") == 1 and not (tmp_path / "p").exists()


def test_an_id_that_no_model_can_have_is_refused_with_one_that_it_can(place, tmp_path, capsys):
    words = ["export", str(place / "run"), str(tmp_path / "package"), "--id", "My model",
             "--title", "t", "--trained-on", "t", "--license", "MIT"]  # fmt: skip
    assert main(words) == 2
    assert "--id 'My model' is no model's id" in (told := capsys.readouterr().err)
    assert "take my-model." in told and not (tmp_path / "package").exists()


def test_an_existing_package_is_not_overwritten(place, tmp_path):
    assert export(place, tmp_path / "package", "run") == 0
    before = (tmp_path / "package/model.json").read_bytes()
    assert export(place, tmp_path / "package", "run") == 2
    assert (tmp_path / "package/model.json").read_bytes() == before


def test_the_weights_are_the_averaged_ones_in_float16(place, tmp_path):
    package = draft(open_run(place / "run"), tmp_path / "draft")
    content = read_checkpoint(place / "run/last.ckpt")
    weights = package.read_weights()
    assert set(weights) == set(content["averaged"])
    raw = {k.partition(".")[2]: v for k, v in content["networks"].items() if k.startswith("a_to_b")}
    differs = False
    for name, value in content["averaged"].items():
        if value.is_floating_point():
            assert weights[name].dtype == np.float16
            assert np.array_equal(weights[name], value.numpy().astype(np.float16))
            differs |= not torch.equal(raw[name], value)
    assert differs  # the averaged weights are not the last ones


def test_the_card_tells_how_far_export_is_from_training(place, tmp_path):
    assert export(place, tmp_path / "package", "run") == 0
    stated = read_package(tmp_path / "package").card.extra["training"]["parity"]
    assert stated == parity(open_run(place / "run"), read_package(tmp_path / "package"))
    assert 0 < stated["mean_difference"] < stated["largest_difference"] < 0.01


def test_weights_beyond_float16_are_refused_by_name(place, tmp_path):
    def change(averaged):
        averaged["conv1.weight"].fill_(1e5)

    run = damaged_copy(place, tmp_path / "large", change)
    with pytest.raises(FileError, match="conv1.weight holds values that float16 does not"):
        half_weights(open_run(run))


def test_a_method_without_a_network_in_the_library_is_scored_but_not_exported(
    place, tmp_path, capsys
):
    record = json.loads((place / "scores/paired/scores.json").read_text(encoding="utf-8"))
    assert record["name"] == "pix2pix" and record["about"]["method"] == "pix2pix"
    assert export(place, tmp_path / "package", "paired", run="paired") == 2
    assert "no network of the method pix2pix" in capsys.readouterr().err
    words = ["evaluate-set", str(place / "paired"), "--data", str(place / "data")]
    assert main([*words, "--steps", "2", "--out", str(tmp_path / "s")]) == 2
    assert "no choice of steps" in capsys.readouterr().err


def test_an_unfinished_run_is_neither_scored_nor_exported(place, tmp_path, capsys):
    shutil.copytree(place / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text(encoding="utf-8"))
    (tmp_path / "run/run.json").write_text(json.dumps({**record, "finished": False}))
    with pytest.raises(FileError, match="not finished after .* minutes"):
        open_run(tmp_path / "run")
    (tmp_path / "run/last.ckpt").write_bytes(b"")
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    with pytest.raises(FileError, match="last.ckpt"):
        open_run(tmp_path / "run").weights()


def test_a_package_is_scored_as_the_run_it_was_made_of(place, tmp_path, capsys):
    assert export(place, tmp_path / "package", "run") == 0
    words = ["evaluate-set", str(tmp_path / "package"), "--data", str(place / "data"), "--seeds",
             "2", "--out", str(tmp_path / "scores")]  # fmt: skip
    assert main(words) == 0
    again = json.loads((tmp_path / "scores/scores.json").read_text(encoding="utf-8"))
    first = json.loads((place / "scores/run/scores.json").read_text(encoding="utf-8"))
    assert again["mean_over_subjects"] == first["mean_over_subjects"]


def test_scores_of_other_people_make_a_table_of_their_own_and_keep_their_names(place, tmp_path):
    """Such as a twin's, trained the other way round."""
    other = tmp_path / "other"
    shutil.copytree(place / "scores/run", other)
    record = json.loads((other / "scores.json").read_text(encoding="utf-8"))
    record["data"] |= {"name": "other heads", "split": "validation"}
    record["about"]["weights_sha256"] = "0" * 64
    record["name"] = "twin"
    (other / "scores.json").write_text(json.dumps(record))
    results = results_in([place / "scores/run", other])
    weights = results[0].record["about"]["weights_sha256"]
    ours, others = card_scores(results, weights)
    assert ours["rows"][0]["name"] == "synthetic, 4 steps x 1 draw"
    assert "other heads" in others["data"] and others["rows"][0]["name"] == "twin"


# ---- the second direction


def test_both_directions_of_one_run_are_scored_and_exported(place, tmp_path):
    data, out = str(place / "data"), tmp_path / "scores"
    way = ["--direction", "T2w", "T1w"]
    for what in (place / "run", "trivial"):
        words = ["evaluate-set", str(what), "--data", data, "--seeds", "1", *way]
        assert main([*words, "--out", str(out / str(what).rpartition("/")[2])]) == 0
    record = json.loads((out / "run/scores.json").read_text())
    assert (
        record["data"]["contrasts"] == ["T2w", "T1w"] and "--direction T2w T1w" in record["command"]
    )
    words = ["export", str(place / "run"), str(tmp_path / "back"), "--id", "back", "--title", "B",
             "--trained-on", "Nobody.", "--license", "CC-BY-4.0", "--scores", str(out)]  # fmt: skip
    assert main([*words, *way]) == 0
    package = read_package(tmp_path / "back")
    assert (package.card.source_contrasts, package.card.target_contrasts) == (("T2w",), ("T1w",))
    back = read_checkpoint(place / "run/last.ckpt")["averaged_back"]
    for name, value in package.read_weights().items():
        torch.testing.assert_close(
            torch.from_numpy(value).float(), back[name].float(), atol=1e-3, rtol=1e-3
        )
    source, target = head(4)
    made = Engine(package, "cpu").synthesize({"T2w": target}, seed=0).volumes["T1w"]
    rows = csv.DictReader((out / "run/per_subject.csv").read_text().splitlines())
    (row,) = [row for row in rows if row["subject"] == "p4"]
    assert float(row["ssim"]) == pytest.approx(evaluate(made, source).rows[0].ssim, rel=1e-4)


def test_two_directions_do_not_stand_in_one_table(place, tmp_path):
    words = ["evaluate-set", str(place / "run"), "--data", str(place / "data"), "--seeds", "1"]
    assert main([*words, "--direction", "T2w", "T1w", "--out", str(tmp_path / "back")]) == 0
    with pytest.raises(RequestError, match="other subjects or another direction"):
        read_results([place / "scores/run", tmp_path / "back"])


@pytest.mark.parametrize(
    ("run", "way", "told"),
    [
        ("paired", "T2w T1w", "trained T1w -> T2w alone, not T2w -> T1w"),
        ("run", "T1w PDw", "has no PDw; choose among T1w, T2w"),
    ],
)
def test_a_direction_that_was_not_trained_is_refused(place, run, way, told, tmp_path, capsys):
    words = ["evaluate-set", str(place / run), "--data", str(place / "data"), "--direction"]
    assert main([*words, *way.split(), "--out", str(tmp_path / "s")]) == 2
    message = capsys.readouterr().err
    assert told in message and message.count("\n") == 1


def test_a_network_that_no_stage_trained_back_is_refused(place):
    run = open_run(place / "run")
    stage = {**run.record["recipe"]["stages"][0], "objective": "paired"}
    record = {**run.record, "recipe": {**run.record["recipe"], "stages": [stage]}}
    with pytest.raises(RequestError, match="trained T1w -> T2w alone"):
        replace(run, record=record).toward("T2w", "T1w")


@pytest.mark.parametrize("name", ["cyclegan", "attentiongan", "cravim"])
def test_as_exported_turns_the_method_round_and_back(name):
    method = twin(name)
    recipe = SimpleNamespace(optimization=SimpleNamespace(ema=0.0))
    state = State.__new__(State)
    state.method, state.recipe = method, recipe
    back = method.networks[method.exported_back]
    state.averaged = AveragedModel(method.networks[method.exported])
    state.averaged_back = AveragedModel(back)
    source = torch.rand(1, 1, 64, 64) * 2 - 1

    def made(key):
        with state.as_exported(back=key) as turned:
            return turned.synthesize(source, torch.Generator().manual_seed(0))

    forward, backward = made(False), made(True)
    assert not torch.equal(forward, backward) and torch.equal(made(False), forward)
    for parameter in method.networks[method.exported].parameters():
        parameter.data.zero_()
    assert torch.equal(made(True), backward)
