"""Heads of which T2w alone is known: their T1w is made, T1w -> T2w learns from them, no other."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume, write_volume
from MambaSynthTraining.commands import heads as heads_command
from MambaSynthTraining.data.heads import prepared_data
from MambaSynthTraining.data.heads_list import read_list
from MambaSynthTraining.data.heads_set import read_list_of, write_pair
from MambaSynthTraining.engine.fit import Hardware, fit
from MambaSynthTraining.recipe_file import recipe_of
from MambaSynthTraining.source_model import source_model
from Testing.training.contrast.head_runs import RECIPE, head
from Testing.training.made_up_heads import COLUMNS

BACK = RECIPE | {"options": {"source": "T2w"}}


@pytest.fixture(scope="module")
def runs(heads, tmp_path_factory):
    """Runs of anna, T2w -> T1w and T1w -> T2w."""
    out = tmp_path_factory.mktemp("runs")
    for name, content in (("back", BACK), ("forth", RECIPE)):
        recipe = recipe_of(content)
        fit(recipe, out / f"{name}.yaml", prepared_data(heads[2], recipe), out / name,
            Hardware("cpu"))  # fmt: skip
    return out


@pytest.fixture
def listed(tmp_path):
    """A folder of two acquired pairs, anna and bert, and carl, whose T1w nobody has."""
    rows = []
    for n, person in enumerate(("anna", "bert", "carl")):
        for contrast in ("T1w", "T2w"):
            write_volume(head(contrast, n), tmp_path / f"{person}_{contrast}.nii.gz")
        source = "" if person == "carl" else f"{person}_T1w.nii.gz"
        rows.append([person, person, "1", source, f"{person}_T2w.nii.gz", "no", "", "", "",
                     "CC0-1.0", "computed"])  # fmt: skip
    (tmp_path / "carl_T1w.nii.gz").unlink()
    (tmp_path / "list.tsv").write_text("\n".join(map("\t".join, [COLUMNS, *rows])) + "\n")
    return tmp_path


def make(folder, *more):
    commands = argparse.ArgumentParser().add_subparsers()
    heads_command.add_parser(commands)
    (parser,) = commands.choices.values()
    given = [folder, "--list", folder / "list.tsv", "--out", folder / "set", *more]
    options = parser.parse_args([str(text) for text in given])
    return options.run(options)


def test_a_head_without_source_gets_the_one_that_the_model_makes(listed, runs, tmp_path, capsys):
    make(listed, "--source-model", runs / "back")
    assert "carl: making, T1w by run back (" in capsys.readouterr().err
    entries = {entry.id: entry for entry in read_list_of(listed / "set")[1]}
    assert [entry.source_model[:10] for entry in entries.values()] == ["", "", "run back ("]
    model = source_model(runs / "back", tmp_path / "drafts")
    t2w = read_volume(listed / "carl_T2w.nii.gz")
    pair = read_list(listed / "list.tsv")[2]
    write_pair(tmp_path / "again", listed, pair, (model.make(t2w), t2w), None, model.name)
    first, second = (np.load(p / "carl.npz") for p in (listed / "set", tmp_path / "again"))
    assert np.ptp(first["source"].astype(np.float32)) > 0.1
    for name in ("source", "target", "weight"):
        np.testing.assert_array_equal(first[name], second[name])


def test_what_is_there_is_kept_and_made_anew_by_another_model_or_once_it_is_acquired(listed, runs):
    file = listed / "set" / "carl.npz"
    make(listed, "--source-model", runs / "back")
    made = file.stat().st_mtime_ns
    make(listed, "--source-model", runs / "back")
    assert file.stat().st_mtime_ns == made
    (runs / "other").symlink_to(runs / "back")
    make(listed, "--source-model", runs / "other")
    again = file.stat().st_mtime_ns
    assert again > made
    (runs / "other").unlink()
    write_volume(head("T1w", 2), listed / "carl_T1w.nii.gz")
    text = (
        (listed / "list.tsv").read_text().replace("1\t\tcarl_T2w", "1\tcarl_T1w.nii.gz\tcarl_T2w")
    )
    (listed / "list.tsv").write_text(text)
    make(listed)
    assert file.stat().st_mtime_ns > again
    assert not any(entry.source_model for entry in read_list_of(listed / "set")[1])


def test_it_teaches_t1w_to_t2w_alone(listed, runs):
    make(listed, "--source-model", runs / "back", "--leave-out", "bert")
    for recipe, learned in ((RECIPE, ["anna", "carl"]), (BACK, ["anna"])):
        data = prepared_data(listed / "set", recipe_of(recipe))
        assert [planes[0].entry.id for planes in data.heads] == learned


def test_a_head_is_stripped_of_its_skull_a_slice_alone_is_not(listed, runs, monkeypatch):
    monkeypatch.setattr(
        "MambaSynthTraining.data.brain_teacher.brain_masks",
        lambda choice: lambda volume: np.indices(volume.shape)[0] > 10,
    )
    text = (listed / "list.tsv").read_text()
    (listed / "list.tsv").write_text(text.replace("carl_T2w.nii.gz\tno", "carl_T2w.nii.gz\tyes"))
    make(listed, "--source-model", runs / "back")
    whole = head("T2w", 2)
    for volume, ids in (
        (whole, ["carl", "carl-brain"]),  # once there is a teacher
        (Volume(whole.array[:, :, 16:17], whole.affine, "one"), ["carl"]),
    ):
        write_volume(volume, listed / "carl_T2w.nii.gz", overwrite=True)
        make(listed, "--source-model", runs / "back", "--brain-teacher", "own")
        entries = read_list_of(listed / "set")[1]
        assert [entry.id for entry in entries if entry.source_model] == ids


def test_without_a_model_heads_without_source_are_named_and_not_used(listed, capsys):
    make(listed)
    assert "carl: not used, as no --source-model makes their T1w" in capsys.readouterr().err
    assert [entry.id for entry in read_list_of(listed / "set")[1]] == ["anna", "bert"]
    header, *lines = (listed / "list.tsv").read_text().splitlines()
    (listed / "list.tsv").write_text("\n".join([header, lines[2]]) + "\n")
    with pytest.raises(RequestError, match=r"list\.tsv: no line has a source; add --source-model"):
        make(listed)


def test_a_model_that_nothing_needs_is_refused(heads, runs, tmp_path):
    (tmp_path / "list.tsv").write_text(heads[1].read_text())
    with pytest.raises(RequestError, match="every line of .* has a source; leave the model out"):
        make(tmp_path, "--source-model", runs / "back")


def test_a_model_that_learned_from_whom_is_left_out_is_refused(listed, runs):
    with pytest.raises(RequestError, match=r"run back \(.*\) learned from anna, who is left out"):
        make(listed, "--source-model", runs / "back", "--leave-out", "anna")
    assert not (listed / "set").exists()


def test_a_model_of_the_other_direction_and_a_folder_of_something_else_are_refused(listed, runs):
    with pytest.raises(RequestError, match="forth: synthesizes T1w -> T2w; give one of T2w -> T1w"):
        make(listed, "--source-model", runs / "forth")
    with pytest.raises(RequestError, match="give a model package or a run of 'train'"):
        make(listed, "--source-model", listed)


def test_a_line_without_any_volume_is_refused(listed):
    text = (listed / "list.tsv").read_text().replace("carl_T2w.nii.gz", "")
    (listed / "list.tsv").write_text(text)
    with pytest.raises(FileError, match="carl has neither source nor target; name a volume"):
        read_list(listed / "list.tsv")
