"""Scores and the table of the cine methods."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_runs import CPU
from scipy import stats
from tiny_cines import TINY

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError
from MambaSynthLib.image.cine_metrics import frame_scores
from MambaSynthLib.io.atomic import write_json
from MambaSynthTraining.cine.rivals.frame_model import SyntheticFrames
from MambaSynthTraining.data.heart_cine import HeartCine, write_subject
from MambaSynthTraining.data.kinds import open_data
from MambaSynthTraining.engine.checkpoint import read_checkpoint, write_checkpoint
from MambaSynthTraining.engine.fit import fit
from MambaSynthTraining.evaluation import reproduction
from MambaSynthTraining.evaluation.cine import score
from MambaSynthTraining.evaluation.cine.comparison import RowScores, p_values, row_scores
from MambaSynthTraining.evaluation.cine.table_text import to_markdown
from MambaSynthTraining.evaluation.rows import find_rows, shortened
from MambaSynthTraining.recipe_file import read_recipe
from MambaSynthTraining.runs import open_run

RECIPES = Path(__file__).resolve().parents[3] / "training/recipes"
SIZE = (16, 32, 32)
VALID = ((2, 14), (3, 29), (3, 29))


def moving_blob(name: str, seed: int) -> HeartCine:
    """Five frames of a blob that walks one voxel per frame along W, with padding around."""
    texture = np.random.default_rng(seed).random(SIZE) * 0.3
    z, y, x = np.indices(SIZE)
    frames, labels = [], []
    for step in range(5):
        distance = np.sqrt((z - 8) ** 2 + (y - 16) ** 2 + (x - 12 - step) ** 2)
        inside = np.zeros(SIZE)
        box = tuple(slice(*ends) for ends in VALID)
        image = np.exp(-((distance / 5) ** 2)) + texture
        inside[box] = (image[box] - image[box].min()) / np.ptp(image[box])
        frames.append(inside)
        labels.append(np.where(distance < 4, 3, np.where(distance < 6, 2, 0)))
    return HeartCine(
        name, np.stack(frames).astype(np.float32), (0.0, 40.0, 80.0, 120.0, 160.0),
        np.stack(labels).astype(np.uint8), tuple(range(5)), (3.15, 1.5, 1.5), 0, 4, VALID,
    )  # fmt: skip


class Oracle:
    """Gives the acquired frames and the true shift."""

    def __init__(self, cine: HeartCine) -> None:
        self.cine = cine

    def synthesize(self, ed, es, fractions) -> SyntheticFrames:
        fields = np.zeros((len(fractions), 3, *SIZE), np.float32)
        for field, fraction in zip(fields, fractions, strict=True):
            field[2] = -4 * fraction
        images = np.stack([self.cine.frames[round(4 * fraction)] for fraction in fractions])
        return SyntheticFrames(images, fields, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blobs")
    names = [f"blob-{n}" for n in range(3)]
    for seed, name in enumerate(names):
        write_subject(folder, moving_blob(name, seed))
    write_json(folder / "splits.json", {"train": names[:1], "validation": [], "test": names})
    return folder


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    """A table of two rows with a small form each."""
    folder = tmp_path_factory.mktemp("recipes")
    for order, (name, title) in enumerate((("plus", "MSTG+"), ("tiny", "tiny"))):
        expected = {"row": title, "order": order}
        small = {"stages": [{"iterations": 1, "batch": 1}]}
        values = {**TINY, "expected": expected, "small": small}
        (folder / f"{name}.yaml").write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module")
def run(data, recipes, tmp_path_factory):
    """A training run."""
    path = recipes / "tiny.yaml"
    recipe, folder = read_recipe(path, small=True), tmp_path_factory.mktemp("run")
    fit(recipe, path, open_data(recipe, data), folder, CPU)
    return folder


def test_the_truth_scores_perfectly():
    cine = moving_blob("blob", 0)
    record, _ = score.score_subject(Oracle(cine), cine)
    assert [frame["frame"] for frame in record["frames"]] == [1, 2, 3]
    assert all(frame["ssim"] == pytest.approx(1) for frame in record["frames"])
    assert all(frame["nmse"] == 0 for frame in record["frames"])
    assert record["dice"] == pytest.approx(1)
    assert record["folding"] == 0


def test_a_field_that_turns_space_inside_out_folds():
    cine = moving_blob("blob", 0)
    field = np.zeros((3, *SIZE), np.float32)
    field[2] = -2 * np.arange(SIZE[2])  # x -> -x
    assert score.folding(field, cine) == 100


def test_padding_flatters_and_is_left_out_of_the_second_scores(data, tmp_path):
    score.score_trivial("no-motion", tmp_path, data)
    frames = score.read_scores(tmp_path)["subjects"]["blob-0"]["frames"]
    assert all(frame["psnr"] > frame["psnr_unpadded"] for frame in frames)
    kept = np.prod([high - low for low, high in VALID]) / np.prod(SIZE)
    gap = frames[0]["psnr"] - frames[0]["psnr_unpadded"]
    assert gap == pytest.approx(-10 * np.log10(kept), abs=0.05)


def test_scores_are_made_once_and_again_for_new_weights_or_other_data(data, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    assert score.score_run(folder, data) and not score.score_run(folder, data)
    other = shutil.copytree(data, tmp_path / "data")
    write_subject(other, moving_blob("blob-1", 7))
    assert score.score_run(folder, other)
    content = read_checkpoint(folder / "last.ckpt")
    write_checkpoint(folder / "last.ckpt", {**content, "best": 0.5})
    assert score.score_run(folder, other)
    (folder / "scores.json").write_text("{}")
    with pytest.raises(FileError, match="score the run again"):
        score.read_scores(folder)


def test_a_run_is_scored_by_the_averaged_weights(data, run):
    score.score_run(run, data)
    cine = moving_blob("blob-0", 0)
    with open_run(run).trained() as method:
        expected, _ = score.score_subject(method.frame_model("cpu"), cine)
    found = score.read_scores(run)["subjects"]["blob-0"]["frames"]
    for one, other in zip(found, expected["frames"], strict=True):
        assert one["psnr"] == pytest.approx(other["psnr"], abs=0.01)  # stored in float16


def test_the_command_scores_a_run_of_cines_into_the_run(data, run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "scores.json").unlink(missing_ok=True)
    words = ["evaluate-set", str(folder), "--data", str(data)]
    assert main(words) == 0 and main(words) == 0
    assert [line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "scored", "was scored before"
    ]  # fmt: skip
    assert set(score.read_scores(folder)["subjects"]) == {"blob-0", "blob-1", "blob-2"}
    assert main([*words, "--direction", "ED", "ES"]) == 2
    assert main([*words, "--out", str(tmp_path / "scores")]) == 2
    assert main([*words, "--segmenter", str(tmp_path / "segmenter.pt")]) == 2
    told = "leave --out, --split, --steps, --samples, --name, --direction and --segmenter out"
    assert capsys.readouterr().err.count(told) == 3


def test_a_reference_frame_is_scored_in_the_data_sets_own_scale():
    frame = np.linspace(0.1, 0.6, 12**3).reshape(12, 12, 12)
    assert frame_scores(frame, frame).nmse == 0
    assert frame_scores(frame / 2, frame).nmse > 0


def _runs(folder, psnr: dict[str, list[list[float]]]) -> None:
    """Made-up scores: row -> seeds x subjects."""
    for name, seeds in psnr.items():
        for seed, values in enumerate(seeds):
            subjects = {
                f"s{n}": {
                    "frames": [
                        {column: value + offset for column in _columns()} for offset in (-1, 1)
                    ],
                    "dice": None, "folding": 0.0, "passes": 2, "seconds": 1.0,
                }
                for n, value in enumerate(values)
            }  # fmt: skip
            run = folder / name / f"seed-{seed}"
            run.mkdir(parents=True)
            (run / "scores.json").write_text(json.dumps({"subjects": subjects}))


def _row(folder, name: str, title: str = "") -> RowScores:
    return row_scores(name, title or name, sorted((folder / name).iterdir()))


def _columns():
    return [f"{m}{end}" for m in score.METRICS for end in ("", "_unpadded")]


def test_the_test_is_paired_over_subjects_not_over_frames_or_seeds(tmp_path):
    ours = [[30.0, 31, 33, 32], [30.4, 31.2, 33.4, 32.2]]
    _runs(tmp_path, {"mstg+": ours, "mstg": [[29.0, 30.5, 31, 31], [29.2, 30.1, 31.6, 31.4]]})
    rows = [_row(tmp_path, name) for name in ("mstg", "mstg+")]
    means = [np.mean(one.values["psnr"], axis=0) for one in rows]
    expected = stats.ttest_1samp(means[1] - means[0], 0).pvalue
    assert p_values(rows, "mstg+", "psnr") == {"mstg": pytest.approx(expected)}
    assert rows[1].mean("psnr") == pytest.approx(np.mean(ours))
    assert rows[1].over_seeds("psnr") == pytest.approx(np.std(np.mean(ours, axis=1), ddof=1))


def test_the_table_states_n_seeds_and_what_is_missing(tmp_path):
    _runs(tmp_path, {"mstg+": [[30.0, 31, 33]], "blend": [[29.0, 30.5, 31]]})
    rows = [_row(tmp_path, "blend", "linear blend"), _row(tmp_path, "mstg+", "MSTG+")]
    text = to_markdown(rows, 1, 2.0)
    assert (
        "n = 3 test subjects" in text
        and "the mean of one training." in text
        and "against MSTG+" in text
    )
    blend = next(line for line in text.splitlines() if line.startswith("| linear blend"))
    assert blend.split("|")[2].strip() == "30.17 ± 1.04"
    assert blend.split("|")[8].strip() == "-"  # no Dice


def reproduce(recipes, data, out, *more) -> int:
    words = [str(recipes), "--data", str(data), "--out", str(out), "--small", *more]
    return main(["reproduce", *words, "--accelerator", "cpu"])


def test_from_data_to_table_in_one_command(data, recipes, tmp_path, capsys, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- made by: make tables-cine -->\n<!-- /made -->\nafter\n")
    out, place = tmp_path / "out", tmp_path / "out" / recipes.name
    assert reproduce(recipes, data, out, "--seeds", "2", "--readme", str(readme)) == 0
    assert "| linear blend" in capsys.readouterr().out
    assert (place / "table.md").read_text(encoding="utf-8").strip() in readme.read_text("utf-8")
    lines = (place / "table.md").read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:] == [
        "no motion", "linear blend", "TV-L1", "fit to the case, no network", "MSTG+", "tiny",
        "tiny, refined",
    ]  # fmt: skip
    assert "2 trainings with different seeds" in lines[0] and "against tiny, refined" in lines[2]
    with open(place / "table.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 4 * 3 + 3 * 2 * 3
    refined = [line for line in found if line["row"] == "tiny-small-refined"]
    assert all(float(line["psnr"]) > 30 for line in refined)  # whatever the network, the case fits
    tiny = [line["psnr"] for line in found if line["row"] == "tiny-small"]
    assert tiny[0] != tiny[3]  # another seed, another training
    assert {line["dice"] for line in found if line["row"] == "blend"} == {""}  # it has none
    assert (place / "table.png").stat().st_size > 10_000
    card = json.loads((place / "card.json").read_text())
    assert [row["name"] for row in card["entry"]["rows"]][-1] == "tiny, refined"
    run = open_run(out / "runs/tiny-small/seed-1")
    hashes = card["checkpoints"]  # one for each seed: both recipes are the same
    assert run.checkpoint_sha256 in hashes and len(hashes) == 2
    assert run.record["recipe"]["seed"] == 1

    monkeypatch.setattr(reproduction, "train", None)  # all is done
    assert reproduce(recipes, data, out, "--seeds", "2") == 0
    other = shutil.copytree(recipes, tmp_path / "other")
    changed = (recipes / "tiny.yaml").read_text().replace('"ema": 0.5', '"ema": 0.6')
    (other / "tiny.yaml").write_text(changed)
    assert reproduce(other, data, out, "--seeds", "2") == 2
    assert "another optimization; choose another folder" in capsys.readouterr().err
    others = shutil.copytree(data, tmp_path / "others")
    names = json.loads((data / "splits.json").read_text())["test"]
    write_json(others / "splits.json", {"train": names[1:], "validation": [], "test": names})
    assert reproduce(recipes, others, out, "--seeds", "2") == 2
    assert "learned from other data" in capsys.readouterr().err


def test_a_share_shortens_every_row_alike_and_the_table_says_so(recipes, data, tmp_path, capsys):
    rows = find_rows(RECIPES / "cine", small=True)
    for row, short in zip(rows, shortened(rows, 0.1), strict=True):
        assert short.recipe.iterations == round(0.1 * row.recipe.iterations)
    words = ("--seeds", "1", "--share", "0.5", "--rows", "tiny")
    assert reproduce(recipes, data, tmp_path, *words) == 0
    assert "trained for 50 % of its recipe's iterations" in capsys.readouterr().out
    for share in ("0", "1.5", "nan"):
        assert reproduce(recipes, data, tmp_path, "--share", share) == 2
        assert f"--share is {share}; give more than 0" in capsys.readouterr().err


@pytest.mark.slow  # the fast one, above, trains one after another
def test_trainings_side_by_side_end_with_the_same_weights(data, recipes, tmp_path):
    for jobs in "12":
        assert reproduce(recipes, data, tmp_path / jobs, "--seeds", "1", "--jobs", jobs) == 0
    for name in ("plus-small", "tiny-small"):
        one, two = (
            read_checkpoint(tmp_path / jobs / f"runs/{name}/seed-0/last.ckpt")["networks"]
            for jobs in "12"
        )
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=1e-5, rtol=0)


def test_a_missing_data_set_or_row_is_told(recipes, tmp_path, capsys):
    (tmp_path / "README.md").write_text("no marks\n")
    assert reproduce(recipes, tmp_path, tmp_path, "--readme", str(tmp_path / "README.md")) == 2
    assert "holds 0 blocks of 'make tables-cine'" in capsys.readouterr().err
    assert reproduce(recipes, tmp_path, tmp_path / "out") == 2
    assert "no data set to train on" in capsys.readouterr().err
    assert reproduce(recipes, tmp_path, tmp_path / "out", "--rows", "unet") == 2
    assert "'unet' is no row; choose among plus, tiny" in capsys.readouterr().err
    shutil.copy(RECIPES / "table1/cravim.yaml", recipes / "cravim.yaml")
    try:
        assert reproduce(recipes, tmp_path, tmp_path / "out") == 2
    finally:
        (recipes / "cravim.yaml").unlink()
    assert (
        "cravim.yaml: learns from contrast data, but plus.yaml from cine data"
        in capsys.readouterr().err
    )
    heads = RECIPES / "heads"
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["reproduce", str(heads), *words]) == 2
    assert "learns from heads, which have no tables" in capsys.readouterr().err
