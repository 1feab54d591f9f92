"""Scores of candidates, from volumes to tables, checked against direct computation."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import skimage.metrics
import torch
from tiny_data import GRID, INTENSITY, head, write_tiny_data

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.metrics import foreground, z_score
from MambaSynthLib.image.preparation import prepare, scaling_of
from MambaSynthLib.image.trivial import shifted, trivial_answers
from MambaSynthLib.report.evaluation import evaluate
from MambaSynthTraining.data.canvas import center
from MambaSynthTraining.evaluation.candidates import Pair, Wrapped
from MambaSynthTraining.evaluation.measures import CANVAS, NATIVE, slice_measures
from MambaSynthTraining.evaluation.results import read_result, read_results
from MambaSynthTraining.evaluation.score_files import subject_means, write_scores
from MambaSynthTraining.evaluation.scoring import score
from MambaSynthTraining.evaluation.statistics import holm, paired_t_test
from MambaSynthTraining.evaluation.table import comparisons, main_row, to_markdown
from MambaSynthTraining.evaluation.trivial import MeanTarget, Trivial, trivial_candidates

pytestmark = pytest.mark.usefixtures("without_lpips")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trivial(data, tmp_path_factory):
    """Folder of the trivial answers, scored by the command."""
    out = tmp_path_factory.mktemp("trivial")
    words = ["evaluate-set", "trivial", "--data", str(data.folder), "--out", str(out)]
    assert main(words) == 0
    return out


class Blur:
    """A method without a network: the source smoothed, with noise of a strength."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def synthesize(self, source, generator):
        smooth = torch.nn.functional.avg_pool2d(source, 3, 1, 1)
        return smooth + self.noise * torch.randn(source.shape, generator=generator)


def shifted_target(data, pixels):
    return Trivial(f"target shifted {pixels} px", shifted(pixels, "S"), data)


def rows_of(folder, name):
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


# --- measures -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slices():
    rng = np.random.default_rng(4)
    reference = rng.uniform(-1, 1, (40, 44))
    return reference + 0.2 * rng.standard_normal((40, 44)), reference


def test_the_alternatives_are_what_their_names_say(slices):
    image, reference = slices
    found = slice_measures(image, reference)
    y, r = z_score(image), z_score(reference)
    span = np.ptp(r)
    direct = skimage.metrics.structural_similarity(y, r, data_range=span)
    assert found["ssim"] == pytest.approx(direct)
    raw = np.clip(image, -1, 1)
    direct = skimage.metrics.structural_similarity(raw, reference, data_range=np.ptp(reference))
    assert found["ssim_network_range"] == pytest.approx(direct)
    assert found["psnr_network_range"] == pytest.approx(
        10 * np.log10(4 / np.mean((raw - reference) ** 2))
    )
    names = {m.name for m in NATIVE} - {"lpips"}
    assert set(found) == names
    four = [found[name] for name in names if name.startswith("ssim")]
    assert len({round(value, 4) for value in four}) == 4  # conventions differ


def test_equal_slices_are_perfect_by_every_convention_and_constant_ones_have_no_score(slices):
    _, reference = slices
    found = slice_measures(reference, reference)
    for name, value in found.items():
        if name.startswith("ssim"):
            assert value == pytest.approx(1, abs=1e-5)
    assert (found["nmi"], found["mse"], found["psnr"]) == (pytest.approx(2), 0, np.inf)
    assert slice_measures(np.zeros((40, 44)), reference) is None


def test_lpips_sees_the_references_range_clipped_to_one(slices):
    seen = []
    image, reference = slices
    image = image * 7 + 3  # a gain and an offset change nothing
    found = slice_measures(image, reference, lambda y, r: seen.append((y, r)) or 0.25)
    (y, r) = seen[0]
    assert found["lpips"] == 0.25
    assert (r.min(), r.max()) == (-1, 1) and y.min() >= -1 and y.max() <= 1
    inside = (y > -1) & (y < 1)
    assert np.corrcoef(y[inside], image[inside])[0, 1] == pytest.approx(1)


# --- candidates ---------------------------------------------------------------------------------


def test_a_method_is_led_through_the_librarys_own_preparation():
    source, target = head(4)
    wrapped = Wrapped("blur", Blur(), GRID, INTENSITY)
    made = wrapped.synthesize(Pair("p4", source, target), 0)
    assert np.array_equal(made.affine, source.affine) and made.shape == source.shape
    stack = prepare(source, GRID, INTENSITY).stack()
    smooth = torch.nn.functional.avg_pool2d(torch.from_numpy(stack)[:, None], 3, 1, 1)[:, 0].numpy()
    back = prepare(source, GRID, INTENSITY)
    array = np.full(source.shape, -1, np.float32)
    from MambaSynthTraining.evaluation.candidates import NETWORK_RANGE

    back.write(array, np.arange(6), smooth, NETWORK_RANGE)
    np.testing.assert_allclose(made.array, array, atol=1e-6)
    assert (made.array[source.array == 0][:50] == -1).all()


def test_a_seed_changes_noise_and_gives_it_again():
    source, target = head(4)
    pair = Pair("p4", source, target)
    wrapped = Wrapped("noisy", Blur(0.3), GRID, INTENSITY)
    first, again, other = (wrapped.synthesize(pair, seed).array for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_trivial_answers_are_what_they_are_called(data):
    source, target = head(4)
    pair = Pair("p4", source, target)
    rows = {row.name: row for row in trivial_candidates(data)}
    itself, inverted, moved, fitted = (
        rows[name].synthesize(pair, 0).array
        for name in ("source itself", "source inverted", "target shifted 2 px",
                     "best linear map of source")
    )  # fmt: skip
    inside = itself > -0.9
    np.testing.assert_allclose(inverted[inside], -itself[inside], atol=1e-6)
    assert inverted[0, 0, 0] == itself[0, 0, 0] == pytest.approx(-1)
    scaled = scaling_of(target, INTENSITY).apply(target.array)
    np.testing.assert_allclose(moved[2:], scaled[:-2], atol=1e-6)  # the first axis runs to the left
    np.testing.assert_allclose(moved[:2], scaled.min(), atol=1e-6)
    mask = foreground(target.array)
    gain, offset = np.polyfit(itself[mask].astype(float), scaled[mask].astype(float), 1)
    np.testing.assert_allclose(fitted[inside], gain * itself[inside] + offset, atol=1e-5)
    mean = MeanTarget(data)
    stacks = np.concatenate([s.slices("T2w")[:] for s in data.subjects("train")])
    np.testing.assert_allclose(mean.mean, stacks.mean(axis=0), atol=1e-6)
    assert set(np.unique(mean.synthesize(pair, 0).array[..., 2])) <= {
        *np.unique(np.float32(mean.mean).clip(-1, 1)), np.float32(-1)
    }  # fmt: skip


def test_an_image_is_cropped_and_padded_around_its_middle():
    image = np.arange(12.0).reshape(3, 4)
    assert center(image, (1, 2), -1)[0].tolist() == [[5, 6]]
    larger, box = center(image, (5, 4), -1)
    assert larger[[0, 4]].tolist() == [[-1] * 4] * 2 and box == ((1, 4), (0, 4))
    assert np.array_equal(center(center(image, (7, 8), -1)[0], (3, 4))[0], image)


# --- scoring ------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_mambasynth_evaluate(data, trivial):
    """Every trivial answer, which both score beside a model; ``evaluate`` sees the raw volumes."""

    def read_rows(folder):
        return {row["subject"]: row for row in rows_of(folder, "per_subject.csv")}

    source, target = head(5)
    expected = {row.name: row for row in evaluate(target, target, source=source).rows}
    for row in trivial_answers():
        scored = read_rows(trivial / row.replace(" ", "-"))["p5"]
        assert int(scored["n_slices"]) == expected[row].n_slices
        for name in ("ssim", "nmi", "mse", "psnr"):
            assert float(scored[name]) == pytest.approx(getattr(expected[row], name), rel=1e-4)


def test_subject_means_are_means_over_slices_and_the_record_over_subjects(trivial):
    folder = trivial / "target-shifted-1-px"
    slices = rows_of(folder, "per_slice.csv")
    for row in rows_of(folder, "per_subject.csv"):
        own = [float(s["ssim"]) for s in slices if s["subject"] == row["subject"]]
        assert float(row["ssim"]) == pytest.approx(np.mean(own), rel=1e-6)
        assert int(row["n_slices"]) == len(own)
        assert row["lpips"] == ""  # not computed is empty, never a number
    record = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    means = [float(row["mse"]) for row in rows_of(folder, "per_subject.csv")]
    assert record["mean_over_subjects"]["mse"] == pytest.approx(np.mean(means), rel=1e-6)
    assert "lpips" not in record["mean_over_subjects"]


def test_the_canvas_is_the_slices_that_training_sees(data, trivial):
    """The source itself on the canvas is the stored source slice, against the stored target."""
    per_slice = {(row["subject"], int(row["slice"])): row
                 for row in rows_of(trivial / "source-itself", "per_canvas.csv")}  # fmt: skip
    for subject in data.subjects("test"):
        numbers = subject.attributes["slices"]["T2w"]
        assert {n for name, n in per_slice if name == subject.id} == set(numbers)
        for n, source, target in zip(
            numbers, subject.slices("T1w")[:], subject.slices("T2w")[:], strict=True
        ):
            expected = slice_measures(np.float64(source), np.float64(target))
            row = per_slice[subject.id, n]
            for name in ("ssim", "nmi", "mse", "psnr"):
                found = float(row[CANVAS + name])
                assert found == pytest.approx(expected[name], rel=1e-3), name


def test_the_table_names_both_frames_and_says_whose_contrast_is_not_flipped(trivial):
    text = to_markdown(read_results([trivial]), read_result(trivial / "source-itself"))
    assert "Frame: canvas, the data set's slices of 32 x 32 pixels" in text
    assert "Frame: native, every slice" in text
    first, further = text.split("Frame: canvas")
    native = read_result(trivial / "source-itself").of_subjects("ssim")
    canvas = read_result(trivial / "source-itself").of_subjects("canvas_ssim")
    assert f"{100 * np.mean([*canvas.values()]):.2f}" in first
    assert f"{100 * np.mean([*native.values()]):.2f}" in further
    row = next(line for line in further.splitlines() if line.startswith("| source itself"))
    correlation = float(row.split("|")[10])
    assert -1 < correlation < -0.3  # the T2w is nearly the inverted T1w


def test_scores_of_before_the_canvas_are_still_read(trivial, tmp_path):
    import shutil

    shutil.copytree(trivial, tmp_path / "old")
    for path in (tmp_path / "old").glob("*/per_subject.csv"):
        rows = list(csv.DictReader(path.open(newline="")))
        kept = [name for name in rows[0] if not name.startswith(CANVAS) and name != "ms_ssim"]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, kept, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        record = json.loads((path.parent / "scores.json").read_text())
        for key in ("tissues", "distribution"):
            del record[key]
        (path.parent / "scores.json").write_text(json.dumps(record))
    results = read_results([tmp_path / "old"])
    text = to_markdown(results, results[0])
    assert "Frame: native, the slices of the acquired volumes" in text and "MS-SSIM" not in text


def test_noise_is_scored_with_every_seed_and_its_absence_once(data):
    noisy = Wrapped("noisy", Blur(0.3), GRID, INTENSITY)
    scored = score(noisy, data, "test", [0, 1, 2])
    rows, examples = scored.rows, scored.examples
    assert {row.seed for row in rows} == {0, 1, 2}
    means = subject_means(rows)
    assert len(means) == 9 and len({round(m["ssim"], 9) for m in means}) == 9
    middle = [name for name in examples.images if name.startswith("middle:")]
    assert middle == [f"middle:p{n}, slice 3" for n in (4, 5, 6)]
    best, worst = (
        next(name for name in examples.images if name.startswith(f"{kind}:"))
        for kind in ("best", "worst")
    )
    first = [row.measures["ssim"] for row in rows if row.seed == 0 and row.measures]
    assert best.endswith(f"{max(first):.3f}") and worst.endswith(f"{min(first):.3f}")
    assert examples.images[best].shape == (3, 32, 34)
    plain = score(replace(noisy, random=False), data, "test", [7, 8]).rows
    assert {row.seed for row in plain} == {7}


def test_a_perfect_candidate_beats_a_shift_and_a_shift_of_two_is_worse_than_of_one(data):
    def mean(pixels):
        rows = score(shifted_target(data, pixels), data, "test", [0]).rows
        return np.mean([row.measures["mse"] for row in rows])

    assert mean(1) < mean(2)
    assert mean(1) > 0.01


def test_a_split_without_people_and_an_unknown_one_are_refused(data, tmp_path):
    empty = replace(data, splits={**data.splits, "validation": ()})
    with pytest.raises(RequestError, match="its split validation has no subjects"):
        score(shifted_target(data, 1), empty, "validation", [0])
    with pytest.raises(RequestError, match="is no split"):
        score(shifted_target(data, 1), data, "exam", [0])


def test_something_that_is_neither_run_nor_package_is_told(data, tmp_path, capsys):
    words = ["evaluate-set", str(tmp_path), "--data", str(data.folder), "--out", str(tmp_path)]
    assert main(words) == 2
    assert "is no record of a training run" in capsys.readouterr().err
    assert main([*words, "--seeds", "0"]) == 2


def test_half_written_scores_are_not_read(trivial, tmp_path):
    (tmp_path / "per_subject.csv").write_text("subject,seed\n")
    with pytest.raises(FileError, match="holds no complete scores"):
        read_result(tmp_path)
    with pytest.raises(RequestError, match="no folder holds scores"):
        read_results([tmp_path])


# --- statistics ---------------------------------------------------------------------------------


def test_the_paired_t_test_is_the_textbook_formula():
    a, b = {"x": 1.0, "y": 2.5, "z": 3.0, "w": 9.0}, {"z": 2.0, "x": 0.5, "y": 2.6}
    test = paired_t_test(a, b)
    d = np.array([0.5, -0.1, 1.0])
    t = d.mean() / (d.std(ddof=1) / np.sqrt(3))
    # two-sided p of Student's t with 2 degrees of freedom, in closed form
    assert test.p == pytest.approx(1 - t / np.sqrt(2 + t**2))


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ({"x": 1.0}, {"x": 2.0}, "n = 1"),
        ({"x": 1.0}, {"y": 2.0}, "n = 0"),
        ({"x": 1.0, "y": 2.0}, {"x": 0.0, "y": 1.0}, "all differences are equal"),
    ],
)
def test_where_no_test_is_possible_there_is_no_p(a, b, reason):
    test = paired_t_test(a, b)
    assert test.p is None and test.reason.startswith("no test possible") and reason in test.reason


def test_holm_multiplies_the_smallest_most_and_never_lets_order_turn():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_holm_keeps_false_alarms_rare_under_the_null():
    rng = np.random.default_rng(0)
    alarms = [min(holm(list(rng.uniform(size=8)))) < 0.05 for _ in range(2000)]
    assert np.mean(alarms) < 0.065


# --- tables -------------------------------------------------------------------------------------


def test_the_report_has_every_row_its_tests_and_its_conditions(trivial, tmp_path, capsys):
    words = ["report", str(trivial), "--main", "source inverted", "--out", str(tmp_path)]
    assert main(words) == 0
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert text.strip() == capsys.readouterr().out.strip()
    lines = text.splitlines()
    names = [line.split("|")[1].strip() for line in lines[2:8]]
    assert names == ["source itself", "source inverted", "best linear map of source",
                     "mean target of the training set", "target shifted 1 px",
                     "target shifted 2 px"]  # fmt: skip
    assert "main row" in lines[3] and "not computed" in lines[3]
    assert "n = 3 subjects" in text and "Holm" in text and "no test possible" not in text
    table = {row["row"]: row for row in rows_of(tmp_path, "table.csv")}
    source = read_result(trivial / "source-itself").of_subjects("ssim")
    inverted = read_result(trivial / "source-inverted").of_subjects("ssim")
    assert float(table["source itself"]["ssim"]) == pytest.approx(np.mean([*source.values()]))
    expected = paired_t_test(inverted, source).p
    assert float(table["source itself"]["ssim_p"]) == pytest.approx(expected)
    assert float(table["source itself"]["ssim_p_holm"]) >= float(table["source itself"]["ssim_p"])
    assert table["target shifted 1 px"]["ssim_p"] == ""
    for name in ("table.png", "examples.png", "best_and_worst.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_one_subject_means_no_test(trivial):
    results = [read_result(trivial / name) for name in ("source-itself", "source-inverted")]
    alone = [
        replace(r, rows=r.rows[:1], record={**r.record, "data": {
            **r.record["data"], "subjects": r.record["data"]["subjects"][:1]}})
        for r in results
    ]  # fmt: skip
    assert comparisons(alone, alone[0], "ssim")["source inverted"].p_holm is None
    assert "no test possible with n = 1 subject" in to_markdown(alone, alone[0])


def test_results_of_other_people_or_with_one_name_are_not_compared(data, trivial, tmp_path):
    with pytest.raises(RequestError, match="source itself: names two results"):
        read_results([trivial / "source-itself", trivial / "source-itself"])
    candidate = shifted_target(data, 3)
    scored = score(candidate, data, "validation", [0])
    write_scores(tmp_path, candidate, data, "validation", scored, "test")
    with pytest.raises(RequestError, match="was scored on other subjects"):
        read_results([trivial, tmp_path])


def test_an_unknown_main_row_is_refused_with_the_known_ones(trivial):
    with pytest.raises(RequestError, match="is no row of this table.*source itself"):
        main_row(read_results([trivial]), "CRAVIM")
