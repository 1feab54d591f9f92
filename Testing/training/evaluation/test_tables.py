"""Whole tables in miniature: rows are trained once, kept when finished, and reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_data import CRAVIM, write_tiny_data

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from MambaSynthTraining.data.miniature import average, average_labels, write_miniature
from MambaSynthTraining.data.prepared import open_prepared
from MambaSynthTraining.evaluation import reproduction
from MambaSynthTraining.evaluation.results import one_row, read_result
from MambaSynthTraining.evaluation.rows import find_rows
from MambaSynthTraining.runs import open_run

START, END = "<!-- made by: make tables -->", "<!-- /made -->"
EXPECTED = """expected: {{row: {row}, order: {order}, minutes: 60}}
small: {{expected: {{minutes: 1}}}}
"""
PIX2PIX = """
method: pix2pix
preset: paper
seed: 3
network: {width: 4, levels: 3, discriminator_width: 4}
stages: [{iterations: 4, batch: 1, crop: [64, 64]}]
"""
ABLATION = CRAVIM + "weights: {lambda_rdn: 0.0}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """data, recipes of two tables that share a row, README.md; the tables made once into out."""
    place = tmp_path_factory.mktemp("tables")
    write_tiny_data(place / "data")
    write_recipe(place / "one/cravim.yaml", CRAVIM, row="CRAViM", order=1)
    write_recipe(place / "two/all.yaml", CRAVIM, row="everything", order=1)
    write_recipe(place / "two/ablation.yaml", ABLATION, row="no rdn", order=2)
    (place / "README.md").write_text(f"before\n{START}\nold\n{END}\nafter\n")
    assert reproduce(place) == 0
    return place


def write_recipe(path: Path, text: str, **expected) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + EXPECTED.format(**expected))


def reproduce(place: Path, *options: str) -> int:
    words = ["reproduce", str(place / "one"), str(place / "two"), "--small", "--data",
             str(place / "data"), "--out", str(place / "out"), "--seeds", "2", "--accelerator",
             "cpu", "--readme", str(place / "README.md")]  # fmt: skip
    return main([*words, *options])


def test_every_table_has_its_rows_and_the_trivial_ones(place):
    one, two = (
        (place / f"out/{name}/table.md").read_text(encoding="utf-8") for name in ("one", "two")
    )
    table = two.partition("Frame: canvas")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")][2:]
    assert rows == ["everything", "no rdn", "source itself", "source inverted",
                    "best linear map of source",
                    "mean target of the training set", "target shifted 1 px",
                    "target shifted 2 px"]  # fmt: skip
    assert "paper: " not in one + two  # these people are not the paper's
    for name in ("table.csv", "table.png", "examples.png", "best_and_worst.png"):
        assert (place / "out/two" / name).stat().st_size > 100


def test_a_row_of_two_tables_is_one_run(place):
    runs = sorted(path.name for path in (place / "out/runs").iterdir())
    assert len(runs) == 2 and all(name.startswith("cravim-") for name in runs)


def test_the_readme_gets_the_tables_between_its_marks_and_nothing_else_changes(place):
    text = (place / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"before\n{START}\n") and text.endswith(f"{END}\nafter\n")
    assert "old" not in text and "cannot be compared with the paper's" in text
    assert text.count("| everything") == 2 and "n = 3 subjects" in text


def test_a_second_call_trains_and_scores_nothing(place, monkeypatch):
    def stamps():
        return {p: p.stat().st_mtime_ns for p in (place / "out").rglob("*")
                if p.name in ("last.ckpt", "scores.json")}  # fmt: skip

    before = stamps()
    assert len(before) == 2 + 2 + 6  # runs, their scores, the trivial answers
    assert reproduce(place) == 0
    assert stamps() == before


def test_scores_of_another_checkpoint_are_made_again(place):
    run = next((place / "out/runs").iterdir())
    record = json.loads((run / "scores/scores.json").read_text(encoding="utf-8"))
    sha256 = record["about"]["checkpoint_sha256"]
    record["about"]["checkpoint_sha256"] = "0"
    (run / "scores/scores.json").write_text(json.dumps(record))
    assert reproduce(place) == 0
    again = json.loads((run / "scores/scores.json").read_text(encoding="utf-8"))
    assert again["about"]["checkpoint_sha256"] == sha256


def test_more_seeds_of_sampling_are_scored_where_a_method_draws_noise(place, tmp_path):
    words = ["reproduce", str(place / "one"), "--small", "--data", str(place / "data"), "--out",
             str(tmp_path), "--accelerator", "cpu", "--seeds"]  # fmt: skip
    assert main([*words, "1"]) == 0
    assert main([*words, "2"]) == 0
    table = (tmp_path / "one/table.md").read_text(encoding="utf-8")
    assert "sampling seeds 0 to 1" in table or "sampling seeds 0, 1" in table


@pytest.mark.parametrize("option", ["seeds", "trainings", "iterations", "jobs", "threads"])
def test_a_number_below_one_is_refused(place, option, capsys):
    assert reproduce(place, f"--{option}", "0") == 2
    assert f"reproduce: --{option} is 0; give at least 1" in capsys.readouterr().err


def test_two_data_sets_or_tables_of_one_name_are_refused(place, tmp_path, capsys, monkeypatch):
    """Else they would have one folder, and the second the runs of the first."""
    monkeypatch.setattr(reproduction, "train", lambda *_: pytest.fail("it ran"))
    other = [str(tmp_path / name) for name in ("data", "one")]
    shutil.copytree(place / "data", other[0])
    shutil.copytree(place / "one", other[1])
    assert reproduce(place, "--data", str(place / "data"), other[0]) == 2
    assert "two data sets are called data" in capsys.readouterr().err
    words = ["reproduce", str(place / "one"), other[1], "--small", "--data", other[0]]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "two tables are called one" in capsys.readouterr().err


def test_a_readme_without_marks_is_refused_before_anything_runs(place, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "train", lambda *_: pytest.fail("it ran"))
    (tmp_path / "plain.md").write_text("no marks")
    assert reproduce(place, "--readme", str(tmp_path / "plain.md")) == 2
    assert reproduce(place, "--readme", str(tmp_path / "none.md")) == 2


def test_a_folder_without_recipes_is_told(tmp_path):
    with pytest.raises(FileError, match="holds no recipe with a small: block"):
        find_rows(tmp_path, small=True)
    with pytest.raises(FileError, match="holds no recipe"):
        find_rows(tmp_path, small=False)


def test_iterations_can_be_cut_to_try_whether_all_runs(place):
    (row,) = find_rows(place / "one", small=True, iterations=1)
    assert row.recipe.iterations == 1
    assert row.key != find_rows(place / "one", small=True)[0].key


# --- loops --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looped(place, tmp_path_factory) -> Path:
    """Both directions, two trainings of each row, matched budgets; CRAViM and Pix2Pix."""
    out = tmp_path_factory.mktemp("looped")
    write_recipe(out / "three/cravim.yaml", CRAVIM, row="CRAViM", order=1)
    write_recipe(out / "three/pix2pix.yaml", PIX2PIX, row="Pix2Pix", order=2)
    words = ["reproduce", str(out / "three"), "--small", "--data", str(place / "data"), "--out",
             str(out), "--seeds", "1", "--accelerator", "cpu", "--trainings", "2",
             "--both-directions", "--budget", "matched"]  # fmt: skip
    assert main(words) == 0
    return out


def test_both_directions_come_from_one_run_where_a_method_trains_both(looped):
    runs = sorted(path.name for path in (looped / "runs").iterdir())
    turned = [name for name in runs if name.endswith("-T2w-T1w")]
    assert len([name for name in runs if name.startswith("cravim-")]) == 2  # trainings
    assert len(turned) == 2 and all(name.startswith("pix2pix-") for name in turned)
    assert len(runs) == 6
    forward, back = (
        (looped / name / "table.md").read_text(encoding="utf-8")
        for name in ("three", "three-T2w-T1w")
    )
    assert "T1w -> T2w, tiny heads" in forward and "T2w -> T1w, tiny heads" in back
    for text in (forward, back):
        assert "of 2 trainings of each row" in text and "Budget: matched" in text
        assert all(f"| {row} " in text for row in ("CRAViM", "Pix2Pix", "source inverted"))
    run = open_run(looped / "runs" / turned[0])
    assert run.contrasts == ("T2w", "T1w")


def test_matched_rows_see_as_many_slices_as_the_first(looped):
    rows = find_rows(looped / "three", small=True)
    seen = {row.title: row.recipe.slices_before(row.recipe.iterations) for row in rows}
    assert seen == {"CRAViM": 2, "Pix2Pix": 4}
    for run in (looped / "runs").iterdir():
        record = open_run(run).record
        assert sum(s["iterations"] * s["batch"] for s in record["recipe"]["stages"]) == 2


def test_several_trainings_are_one_row_with_the_mean_of_their_scores(looped):
    found = [read_result(p / "scores") for p in (looped / "runs").glob("cravim-*")]
    row = one_row(found)
    means = [np.mean([*one.of_subjects("ssim").values()]) for one in found]
    assert means[0] != means[1]
    assert np.mean([*row.of_subjects("ssim").values()]) == pytest.approx(np.mean(means))
    assert len(row.of_seeds("ssim")) == 2 and row.record["trainings"] == 2
    assert row.record["tissues"]["r"] == pytest.approx(
        np.mean([one.record["tissues"]["r"] for one in found])
    )
    assert one_row(found[:1]) is found[0]


def options(*words: str):
    import argparse

    from MambaSynthTraining.commands import reproduce as command

    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["reproduce", "t", *words])


def test_each_data_set_accelerator_and_precision_has_a_folder_of_its_own():
    from MambaSynthTraining.commands.reproduce import _variants

    (alone,) = _variants(options("--data", "a/ixi", "--out", "o"))
    assert (alone.out, alone.precision, alone.remarks) == (Path("o"), "", ())
    words = ["--data", "a/ixi", "b/brats", "--out", "o", "--precision", "32", "bf16-mixed"]
    many = list(_variants(options(*words)))
    assert [one.out.name for one in many] == ["ixi-32", "ixi-bf16-mixed", "brats-32",
                                              "brats-bf16-mixed"]  # fmt: skip
    assert many[1].data == Path("a/ixi") and many[1].precision == "bf16-mixed"


@pytest.mark.parametrize(
    ("words", "made_by", "told"),
    [
        (["--both-directions"], "make tables-cine", "cines have one direction"),
        (["--trainings", "2"], "make tables-cine", "cines have one direction"),
        (["--accelerator", "cpu", "gpu", "--readme", "r"], "make tables", "of one data set"),
    ],
)
def test_loops_that_make_no_sense_are_refused(words, made_by, told):
    from MambaSynthTraining.commands.reproduce import _check

    with pytest.raises(RequestError, match=told):
        _check(options("--data", "d", "--out", "o", *words), made_by)


def test_the_time_left_follows_what_rows_needed_that_were_not_finished_before(place):
    a, b = (
        reproduction.Job(row, place / "runs" / row.key)
        for row in find_rows(place / "two", small=True)
    )
    assert reproduction._minutes_left([a, b], [(a, 3.0)], 3.0) == pytest.approx(3.0)
    assert reproduction._minutes_left([a, b], [(a, 0.01)], 0.5) == b.row.minutes


# --- the miniature data set ---------------------------------------------------------------------


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR"])
def test_averaging_keeps_every_place_in_space(codes):
    """The center of mass, in mm, does not move."""
    axes = [{"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}[c] for c in codes]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for n, (axis, code) in enumerate(zip(axes, codes, strict=True)):
        affine[axis, n] = 1 if code in "RAS" else -1
    affine[:3, 3] = (5, -7, 11)
    shape = np.array([8, 12, 16])[axes]
    blocks = [4 if axis == 2 else 2 for axis in axes]
    array = np.random.default_rng(0).uniform(size=shape // blocks)
    array = np.kron(array, np.ones(blocks))  # constant where it is averaged
    small = average(Volume(array, affine))
    assert sorted(small.spacing) == [2, 2, 4] and small.spacing[axes.index(2)] == 4

    def center(volume):
        index = np.array([*np.ndindex(volume.shape)])
        places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        weights = volume.array.ravel()
        return (places * weights[:, None]).sum(axis=0) / weights.sum()

    np.testing.assert_allclose(center(small), center(Volume(array, affine)), atol=1e-4)
    assert small.array.mean() == pytest.approx(array.mean(), rel=1e-5)


def test_too_few_label_maps_or_patients_are_refused(tmp_path):
    with pytest.raises(RequestError, match="holds 0 label maps, but 8 are needed"):
        write_miniature(tmp_path, [], tmp_path / "v", tmp_path / "d")
    for n in range(8):
        (tmp_path / f"{n}.nii.gz").touch()
    with pytest.raises(RequestError, match="0 acquired patients were named; two are needed"):
        write_miniature(tmp_path, [], tmp_path / "v", tmp_path / "d")


def test_the_miniature_keeps_people_apart(tmp_path, monkeypatch):
    """Small made-up volumes stand for phantoms, which take seconds each."""
    from MambaSynthTraining.data import miniature

    def person(seed):
        array = np.zeros((120, 120, 48))
        array[8:112, 8:112, 4:44] = np.random.default_rng(seed).uniform(50, 100, (104, 104, 40))
        return Volume(array, np.diag([1.0, 1, 1, 1]))

    def phantom(path, n):
        halves = np.zeros((120, 120, 48))
        halves[8:60, 8:112, 4:44], halves[60:112, 8:112, 4:44] = 1, 2
        volumes = {"T1w": person((n, 0)), "T2w": person((n, 1))}
        tissues = average_labels(volumes["T1w"].with_array(halves), [1, 2])
        return lambda: {c: average(volume) for c, volume in volumes.items()} | {"labels": tissues}

    monkeypatch.setattr(miniature, "_phantom_of", phantom)
    for n in range(8):
        (tmp_path / f"map-{n}.nii.gz").touch()
    pairs = []
    for n in (100, 101):
        files = [tmp_path / f"patient-{n}-{c}.nii" for c in ("T1", "T2")]
        for k, path in enumerate(files):
            write_volume(person((n, k)), path)
        pairs.append(files)
    (tmp_path / "maps").mkdir()
    for path in tmp_path.glob("map-*.nii.gz"):
        path.rename(tmp_path / "maps" / path.name)
    write_miniature(tmp_path / "maps", pairs, tmp_path / "v", tmp_path / "d")
    data = open_prepared(tmp_path / "d")
    people = {split: [s.id for s in data.subjects(split)] for split in data.splits}
    assert len(people["train"]) == 6 and "acquired-1" in people["train"]
    assert people["validation"] == ["phantom-06"]
    assert sorted(people["test"]) == ["acquired-2", "phantom-07", "phantom-08"]
    first = next(one for one in data.subjects("test") if one.id == "phantom-07")
    assert first.slices("T1w").shape[1:] == (96, 80)
    labels = first.labels()
    assert labels.volume.shape == first.volume("T1w").shape
    assert set(np.unique(labels.volume.array)) == {0, 1, 2} and labels.names[1] == "white matter"
    assert data.subjects("train")[0].labels() is None  # acquired: nobody knows
