"""Scores and the table of the cine methods."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from scipy import stats
from training.cine.run_state import run_folder

from MambaSynthLib.cine_metrics import frame_scores
from MambaSynthLib.errors import FileError
from training.cine import score, tables
from training.cine.comparison import holm, p_values, row_scores
from training.cine.frame_model import Prediction
from training.data.heart_cine import HeartCine, write_json, write_subject

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

    def predict(self, ed, es, fractions) -> Prediction:
        fields = np.zeros((len(fractions), 3, *SIZE), np.float32)
        for field, fraction in zip(fields, fractions, strict=True):
            field[2] = -4 * fraction
        images = np.stack([self.cine.frames[round(4 * fraction)] for fraction in fractions])
        return Prediction(images, fields, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blobs")
    names = [f"blob-{n}" for n in range(3)]
    for seed, name in enumerate(names):
        write_subject(folder, moving_blob(name, seed))
    write_json(folder / "splits.json", {"train": names[:1], "validation": [], "test": names})
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
    score.score_run("no-motion", data, tmp_path)
    frames = score.read_scores(tmp_path)["blob-0"]["frames"]
    assert all(frame["psnr"] > frame["psnr_unpadded"] for frame in frames)
    kept = np.prod([high - low for low, high in VALID]) / np.prod(SIZE)
    gap = frames[0]["psnr"] - frames[0]["psnr_unpadded"]
    assert gap == pytest.approx(-10 * np.log10(kept), abs=0.05)


def test_scores_are_made_once_and_again_for_new_weights(data, tmp_path):
    score.score_run("blend", data, tmp_path)
    first = (tmp_path / "scores.json").stat().st_mtime_ns
    score.score_run("blend", data, tmp_path)
    assert (tmp_path / "scores.json").stat().st_mtime_ns == first
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(FileError, match="score the run again"):
        score.read_scores(tmp_path)


def test_each_draw_of_noise_is_scored_with_the_weights_of_the_one_training(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    shutil.copytree(data, tmp_path / "data/noise-1")
    score.score_all(tmp_path / "data", tmp_path, ["blend"], 1, "cpu", draws=2)
    folders = score.scored_of("blend", tmp_path, 1, 2)
    assert [folder.name for folder in folders] == ["seed-0", "noise-1"]
    assert row_scores("blend", tmp_path, 1, 2).values["psnr"].shape[0] == 2


def test_a_reference_frame_is_scored_in_the_data_sets_own_scale():
    frame = np.linspace(0.1, 0.6, 12**3).reshape(12, 12, 12)
    assert frame_scores(frame, frame, rescale=False).nmse == 0
    assert frame_scores(frame, frame).nmse > 0


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
            run = run_folder(folder, name, seed)
            run.mkdir(parents=True)
            (run / "scores.json").write_text(json.dumps({"subjects": subjects}))


def _columns():
    return [f"{m}{end}" for m in score.METRICS for end in ("", "_unpadded")]


def test_the_test_is_paired_over_subjects_not_over_frames_or_seeds(tmp_path):
    ours = [[30.0, 31, 33, 32], [30.4, 31.2, 33.4, 32.2]]
    _runs(tmp_path, {"mstg+": ours, "mstg": [[29.0, 30.5, 31, 31], [29.2, 30.1, 31.6, 31.4]]})
    rows = [row_scores(name, tmp_path, 2) for name in ("mstg", "mstg+")]
    means = [np.mean(one.values["psnr"], axis=0) for one in rows]
    expected = stats.ttest_1samp(means[1] - means[0], 0).pvalue
    assert p_values(rows, "mstg+", "psnr") == {"mstg": pytest.approx(expected)}
    assert rows[1].mean("psnr") == pytest.approx(np.mean(ours))
    assert rows[1].over_seeds("psnr") == pytest.approx(np.std(np.mean(ours, axis=1), ddof=1))


def test_holm_multiplies_the_smallest_most_and_never_reverses_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_table_states_n_seeds_and_what_is_missing(tmp_path):
    _runs(tmp_path, {"mstg+": [[30.0, 31, 33]], "blend": [[29.0, 30.5, 31]]})
    rows = [row_scores(name, tmp_path, 1) for name in ("blend", "mstg+")]
    text = tables.markdown(rows, 1, 2.0)
    assert "n = 3 test subjects" in text and "1 training seed" in text
    blend = next(line for line in text.splitlines() if line.startswith("| linear blend"))
    assert blend.split("|")[2].strip() == "30.17 ± 1.04"
    assert blend.split("|")[8].strip() == "-"  # no Dice


def test_from_data_to_table_in_one_command(data, tmp_path, capsys):
    arguments = ["--out", str(tmp_path), "--data", str(data), "--rows", "no-motion", "blend"]
    assert tables.main(arguments) == 0
    assert "| linear blend" in capsys.readouterr().out
    assert (tmp_path / "table.md").read_text(encoding="utf-8").count("\n|") == 4
    with open(tmp_path / "table.csv") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 and float(lines[0]["psnr"]) > 10
    assert (tmp_path / "table.png").stat().st_size > 10_000


def test_a_missing_data_set_is_told(tmp_path, capsys):
    assert tables.main(["--out", str(tmp_path)]) == 2
    assert "give one" in capsys.readouterr().err
    assert tables.main(["--out", str(tmp_path), "--data", str(tmp_path), "--rows", "ddm"]) == 2
    assert "mambasynth beating-heart" in capsys.readouterr().err
