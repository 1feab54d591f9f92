"""Training on heads: what is drawn, what the losses forgive, and what becomes of a run."""

from __future__ import annotations

import argparse
import csv

import numpy as np
import pytest
import torch

from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume, write_volume
from MambaSynthTraining.contrast.cravim.heads import CRAViMHeads
from MambaSynthTraining.data.heads import prepared_data
from MambaSynthTraining.data.heads_list import HeadPair, read_list
from MambaSynthTraining.data.heads_set import make_pair, write_list
from MambaSynthTraining.engine.fit import Hardware, fit
from MambaSynthTraining.evaluation.heads import TRIVIAL, inputs_of, read_rows, score, write_rows
from MambaSynthTraining.evaluation.interval import interval_of_scores
from MambaSynthTraining.export import Description, draft, export
from MambaSynthTraining.recipe_file import recipe_of
from MambaSynthTraining.runs import open_run
from MambaSynthTraining.start import start_of
from Testing.training.contrast.head_runs import RECIPE, head
from Testing.training.made_up_heads import COLUMNS, LAS

INTERVAL = RECIPE | {
    "network": RECIPE["network"] | {"interval": 1},
    "optimization": {"learning_rates": {"generator": 3.0e-3, "interval": 3.0e-3}},
    "stages": [
        *RECIPE["stages"],
        {"iterations": 4, "batch": 2, "crop": [64, 64], "objective": "interval"},
    ],
}
STILL = {"learning_rates": {"generator": 0.0, "interval": 0.0}}


@pytest.fixture(scope="module")
def run(heads, tmp_path_factory):
    """A finished run of eight iterations."""
    out = tmp_path_factory.mktemp("run")
    recipe = recipe_of(RECIPE)
    path = out / "heads.yaml"
    fit(recipe, path, prepared_data(heads[2], recipe), out / "run", Hardware("cpu"))
    return out / "run"


def test_a_list_without_a_column_is_refused(tmp_path):
    path = tmp_path / "list.tsv"
    path.write_text("id\tperson\nx\ty\n")
    with pytest.raises(FileError, match="lacks share, source"):
        read_list(path)


def test_a_share_has_to_be_positive(tmp_path):
    path = tmp_path / "list.tsv"
    path.write_text("\t".join(COLUMNS) + "\n" + "\t".join(["x", "y", "0"] + ["z"] * 7) + "\n")
    with pytest.raises(FileError, match="share of x is no positive number"):
        read_list(path)


def test_the_person_who_is_left_out_is_not_drawn(heads):
    data = prepared_data(heads[2], recipe_of(RECIPE))
    assert [planes[0].entry.person for planes in data.heads] == ["anna"]
    assert [h.entry.person for h in data.left_out] == ["bert"]


def test_to_leave_out_a_stranger_is_refused(heads):
    with pytest.raises(FileError, match="carl: is no person of these heads"):
        write_list(heads[2], [head[0].entry for head in prepared_data(
            heads[2], recipe_of(RECIPE)).heads], ["carl"])  # fmt: skip


def test_a_draw_is_a_function_of_seed_and_iteration(heads):
    recipe = recipe_of(RECIPE)
    data = prepared_data(heads[2], recipe)
    first, again, other = (data.draw(recipe, n, 0, 1) for n in (3, 3, 4))
    torch.testing.assert_close(first.batch, again.batch)
    assert first.names == again.names and not torch.equal(first.batch.source, other.batch.source)
    assert first.batch.source.shape == (2, 3, 64, 64) and first.batch.target.shape[1] == 1


def test_with_an_overlap_the_targets_of_the_neighbors_are_drawn_too(heads):
    recipe = recipe_of(RECIPE | {"network": RECIPE["network"] | {"overlap": 1}})
    data = prepared_data(heads[2], recipe)
    batch = data.draw(recipe, 3, 0, 1).batch
    assert batch.target.shape == batch.weight.shape == (2, 3, 64, 64)
    alone = prepared_data(heads[2], recipe_of(RECIPE)).draw(recipe, 3, 0, 1).batch
    torch.testing.assert_close(batch.target[:, :1], alone.target)
    network = CRAViMHeads.build(recipe)
    (phase,) = network.iteration(batch, torch.Generator())
    assert torch.isfinite(phase.loss)


def test_source_and_target_of_a_draw_are_of_the_same_place(heads):
    """The made-up fluid is the brightest tissue of T2w and nearly the darkest of T1w."""
    recipe = recipe_of(RECIPE)
    data = prepared_data(heads[2], recipe)
    batch = torch.cat([torch.cat(data.draw(recipe, n, 0, 1).batch[:2], 1) for n in range(12)])
    a, b = batch[:, 0], batch[:, -1]
    fluid = b > -0.1
    assert fluid.any() and a[fluid].mean() < a[(b > -0.9) & (b < -0.3)].mean()


def test_augmentation_leaves_the_air_dark_and_the_target_clean(heads):
    recipe = recipe_of(RECIPE | {"augmentation": {"gamma": 0.3, "bias": 0.2, "noise": 0.1}})
    data = prepared_data(heads[2], recipe)
    batch = data.draw(recipe, 0, 0, 1).batch
    changed = batch.augmented(recipe, recipe.stages[0], torch.Generator().manual_seed(0))
    torch.testing.assert_close(changed.target, batch.target)
    assert (changed.source[batch.source <= -1] == -1).all()
    assert not torch.equal(changed.source, batch.source)


def test_the_stage_of_the_interval_changes_no_estimate(heads):
    from MambaSynthTraining.engine.iteration import run_iteration
    from MambaSynthTraining.engine.machine import Machine
    from MambaSynthTraining.engine.state import State

    recipe = recipe_of(INTERVAL)
    data, state = prepared_data(heads[2], recipe), State(recipe)
    before = {name: value.clone() for name, value in state.exported.state_dict().items()}
    shard = data.draw(recipe, 9, 0, 1)
    run_iteration(state.method, state.optimizers, [shard], recipe, 9, Machine())
    changed = {n for n, value in state.exported.state_dict().items() if not value.equal(before[n])}
    assert changed and all(name.startswith("interval.") for name in changed)


def test_a_stage_of_the_interval_needs_a_network_with_one():
    with pytest.raises(ValueError, match="a stage learns the interval"):
        CRAViMHeads.build(recipe_of(INTERVAL | {"network": RECIPE["network"]}))


def test_the_command_trains_on_the_folder(heads, tmp_path, capsys):
    import yaml

    from MambaSynthTraining.commands import train

    path = tmp_path / "heads.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    commands = argparse.ArgumentParser().add_subparsers()
    train.add_parser(commands)
    options = commands.choices["train"].parse_args(
        [str(path), "--data", str(heads[2]), "--out", str(tmp_path / "run"), "--accelerator", "cpu"]
    )
    assert options.run(options) == 0
    assert "8 iterations done" in capsys.readouterr().out


def test_frozen_statistics_do_not_move(heads):
    from MambaSynthTraining.engine.iteration import run_iteration
    from MambaSynthTraining.engine.machine import Machine
    from MambaSynthTraining.engine.state import State

    recipe = recipe_of(RECIPE)
    data, state = prepared_data(heads[2], recipe), State(recipe)
    mean = state.exported.conv1.norm.running_mean
    before = mean.clone()
    shard = data.draw(recipe, 7, 0, 1)
    run_iteration(state.method, state.optimizers, [shard], recipe, 7, Machine())
    assert torch.equal(mean, before)
    run_iteration(state.method, state.optimizers, [shard], recipe, 0, Machine())
    assert not torch.equal(mean, before)


def test_a_run_learns_and_says_whom_it_left_out(run):
    with open(run / "losses.csv", newline="") as stream:
        values = [float(row["value"]) for row in csv.DictReader(stream)]
    record = open_run(run).record
    assert values and np.isfinite(values).all()
    assert record["left_out"] == ["bert"] and record["heads"] == ["anna"]


def test_a_run_can_begin_with_the_weights_of_another(run, heads, tmp_path):
    recipe = recipe_of(RECIPE | {"optimization": {"learning_rates": {"generator": 0.0}}})
    start = open_run(run)
    fit(recipe, run / "x.yaml", prepared_data(heads[2], recipe), tmp_path / "on", Hardware("cpu"),
        start)  # fmt: skip
    ours, theirs = open_run(tmp_path / "on"), start.weights()
    torch.testing.assert_close(ours.weights()["heads.weight"], theirs["heads.weight"])
    assert ours.record["start"]["iterations"] == 8


def test_a_network_with_an_interval_can_begin_with_one_without(run, heads, tmp_path):
    recipe = recipe_of(INTERVAL | {"optimization": STILL})
    start = start_of([run], None, recipe)
    fit(recipe, run / "x.yaml", prepared_data(heads[2], recipe), tmp_path / "on", Hardware("cpu"),
        start)  # fmt: skip
    found = open_run(tmp_path / "on").weights()
    assert found["heads.weight"].equal(start.weights()["heads.weight"])
    assert "interval.inner.weight" in found


def test_the_mean_of_runs_with_and_without_an_interval_has_none(run, heads, tmp_path):
    recipe = recipe_of(INTERVAL | {"optimization": STILL})
    fit(recipe, run / "x.yaml", prepared_data(heads[2], recipe), tmp_path / "with",
        Hardware("cpu"), start_of([run], None, recipe))  # fmt: skip
    mean = start_of([tmp_path / "with", run], None, recipe).weights()
    assert not any(name.startswith("interval.") for name in mean)
    assert mean["heads.weight"].equal(open_run(run).weights()["heads.weight"])


def test_the_factor_of_the_interval_is_found_on_people_who_were_left_out(heads, tmp_path):
    recipe = recipe_of(INTERVAL)
    fit(recipe, tmp_path / "x.yaml", prepared_data(heads[2], recipe), tmp_path / "run",
        Hardware("cpu"))  # fmt: skip
    engine = Engine(draft(open_run(tmp_path / "run"), tmp_path / "draft"), device="cpu")
    rows = [
        row
        for pair in read_list(heads[1])
        for given in inputs_of(pair, heads[0], "T1w", None)
        for row in score(given, {"twin": engine}, "T1w", tmp_path / "volumes")
    ]
    write_rows(tmp_path / "heads.csv", rows)
    factor = interval_of_scores(read_rows(tmp_path))
    description = Description("head", "1.0.0", "Heads", "computed", "CC0-1.0")
    package = export(tmp_path / "run", tmp_path / "head", description, [tmp_path])
    assert package.card.sampling.interval == pytest.approx(factor, abs=1e-3)
    narrow, wide = (
        e.synthesize({"T1w": head("T1w", 1)}, pixel_mark=False)
        for e in (engine, Engine(package, device="cpu"))
    )
    assert np.array_equal(narrow.volumes["T2w"].array, wide.volumes["T2w"].array)
    half_width, scaled = (made.spreads["T2w"].array for made in (narrow, wide))
    within_range = half_width < 250  # elsewhere single pixels reach the end of the range
    np.testing.assert_allclose(
        scaled[within_range], package.card.sampling.interval * half_width[within_range],
        rtol=1e-3, atol=1e-2,
    )  # fmt: skip
    assert within_range.mean() > 0.5
    assert "half-width" in wide.provenance.of_spread().sentence()
    within = [row.get("coverage") for entry in package.card.scores for row in entry["rows"]]
    assert within[0] is None and 0 <= within[1] <= 1  # the source itself has no interval
    of_tissues = package.card.scores[0]["rows"][1]
    assert all(0 <= of_tissues[f"coverage_{t}"] <= 1 for t in ("fluid", "gray", "white"))
    text = (package.folder / "README.md").read_text()
    assert "(fluid " in text and "scored in the white" not in text


def test_a_network_that_learned_all_planes_is_cut_and_scored_in_all_planes(heads, tmp_path):
    for contrast in ("T1w", "T2w"):  # anna again, in voxels of half the size
        array = head(contrast, 0).array.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        volume = Volume(array, LAS @ np.diag([0.5, 0.5, 0.5, 1]), contrast)
        write_volume(volume, tmp_path / f"anna_{contrast}.nii.gz")
    pair = read_list(heads[1])[0]
    write_list(tmp_path / "set", make_pair(tmp_path / "set", tmp_path, pair, None), [])
    recipe = recipe_of(RECIPE | {"options": {"planes": "all"}})
    data = prepared_data(tmp_path / "set", recipe)
    assert [len(planes) for planes in data.heads] == [3]
    drawn = {name.split()[1] for n in range(12) for name in data.draw(recipe, n, 0, 1).names}
    assert drawn == {"axial", "coronal", "sagittal"}
    fit(recipe, tmp_path / "x.yaml", data, tmp_path / "run", Hardware("cpu"))
    engine = Engine(draft(open_run(tmp_path / "run"), tmp_path / "draft"), device="cpu")
    assert engine.card.grid.planes == "all"
    given = next(inputs_of(pair, tmp_path, "T1w", None))
    scored = score(given, {"twin (ours)": engine}, "T1w", tmp_path / "volumes")
    rows = {row["candidate"]: row for row in scored if row["region"] == "brain"}
    assert list(rows) == [TRIVIAL, "twin (ours)", "twin, axial slices alone"]
    assert rows["twin (ours)"]["psnr"] != rows["twin, axial slices alone"]["psnr"]


def test_white_matter_is_as_bright_beside_gray_in_training_as_the_engine_makes_it(heads, tmp_path):
    recipe = recipe_of(RECIPE | {"options": {"white_over_gray": 1.5}})
    data = prepared_data(heads[2], recipe)
    fit(recipe, tmp_path / "x.yaml", data, tmp_path / "run", Hardware("cpu"))
    card = Engine(draft(open_run(tmp_path / "run"), tmp_path / "draft"), device="cpu").card
    assert card.intensity.white_over_gray == 1.5
    source = read_volume(heads[0] / read_list(heads[1])[0].source)
    seen = prepare(source, card.grid, card.intensity).stack()
    seen = seen[(seen > -1).any(axis=(1, 2))]  # empty slices are not stored
    learned = data.heads[0][0].source
    plain = prepared_data(heads[2], recipe_of(RECIPE)).heads[0][0]
    apart = np.abs(learned - seen).mean()  # of a stack of 1 mm, and of voxels of 4 mm
    assert apart < 0.4 * np.abs(plain.source - seen).mean()
    np.testing.assert_array_equal(plain.target, data.heads[0][0].target)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"white_over_gray": 1.3, "source": "T2w"}, "white matter is not the brightest"),
        ({"white_over_gray": 0.8}, "is 0.8; give 1.05 to 2.0"),
    ],
)
def test_a_ratio_of_white_to_gray_matter_that_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        CRAViMHeads.build(recipe_of(RECIPE | {"options": options}))


def test_a_run_becomes_a_package_by_its_scores_alone(run, heads, tmp_path):
    description = Description("head", "1.0.0", "Heads", "computed", "CC0-1.0")
    with pytest.raises(RequestError, match="has no scores"):
        export(run, tmp_path / "head", description, [])
    pair = read_list(heads[1])[1]
    engine = Engine(draft(open_run(run), tmp_path / "draft"), device="cpu")
    rows = [
        row
        for given in inputs_of(pair, heads[0], "T1w", None)
        for row in score(given, {"twin": engine}, "T1w", tmp_path / "volumes")
    ]
    assert {row["candidate"] for row in rows} == {TRIVIAL, "twin"}
    write_rows(tmp_path / "heads.csv", rows)
    assert [row["psnr"] for row in read_rows(tmp_path)] == pytest.approx(
        [row["psnr"] for row in rows], abs=1e-3
    )
    package = export(run, tmp_path / "head", description, [tmp_path])
    assert package.card.network["skips"] == 1 and package.card.license == "CC0-1.0"  # as told
    assert "bert, given stripped" in (package.folder / "README.md").read_text()
    made = Engine(package, device="cpu").synthesize({"T1w": head("T1w", 1)})
    assert made.provenance.taken_for.startswith("a whole head, ")
    assert made.provenance.warnings == ()
    air = head("T1w", 1).array == 0
    assert np.abs(made.volumes["T2w"].array[air]).max() == 0


def test_a_head_with_a_skull_is_scored_as_a_brain_only_where_one_is_found(tmp_path, heads):
    from dataclasses import replace

    pair = read_list(heads[1])[0]
    identity = tmp_path / "identity.txt"
    identity.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        "Parameters: 1 0 0 0 1 0 0 0 1 0 0 0\nFixedParameters: 0 0 0\n"
    )
    texts = {"source_to_common": str(identity), "target_to_common": str(identity)}
    whole = replace(pair, skull="yes", **texts)
    for listed in (whole, replace(pair, skull="yes")):  # moved by texts, and on one grid
        (alone,) = inputs_of(listed, heads[0], "T1w", None)
        assert list(alone.regions) == ["head"]
        both = list(inputs_of(listed, heads[0], "T1w", lambda volume: volume.array == 500))
        assert [(given.input, list(given.regions)) for given in both] == [
            ("whole", ["head", "brain"]), ("stripped", ["brain"])
        ]  # fmt: skip


def test_pairs_of_the_open_list_name_license_and_citation():
    from pathlib import Path

    path = Path(__file__).parents[3] / "training/recipes/heads/open-heads.tsv"
    pairs = read_list(path)
    assert all(isinstance(pair, HeadPair) and pair.license and pair.citation for pair in pairs)
    assert not any("GPL" in pair.license or "NC" in pair.license for pair in pairs)
