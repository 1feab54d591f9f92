"""What a run tells about its validation slices: error, correlation inside the tissue, a warning."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from engine_runs import some_data, tiny_recipe, train

from MambaSynthLib.image.intensity import EMPTY
from MambaSynthTraining.data.batches import Correlation
from MambaSynthTraining.data.slice_validation import correlation, mean_slice
from MambaSynthTraining.data.slices import SlicePairs, Slices
from MambaSynthTraining.engine.logs import VALIDATION, Logs
from MambaSynthTraining.record import read_record

ONE_STAGE = {"iterations": 4, "batch": 2, "crop": [64, 64]}


def validated(run) -> list[dict[str, str]]:
    with open(run / VALIDATION, newline="") as file:
        return list(csv.DictReader(file))


def test_the_correlation_is_pearsons_inside_the_tissue_of_the_acquired_slice():
    rng = np.random.default_rng(0)
    acquired = rng.uniform(-0.9, 1, (20, 24)).astype(np.float32)
    acquired[:, :6] = EMPTY
    image = rng.normal(size=acquired.shape).astype(np.float32) - acquired
    inside = acquired > EMPTY
    expected = np.corrcoef(image[inside], acquired[inside])[0, 1]
    assert correlation(image, acquired) == pytest.approx(expected, abs=1e-5)
    assert correlation(-acquired, acquired) == pytest.approx(-1, abs=1e-5)
    assert correlation(np.zeros_like(acquired), acquired) == 0


def test_the_mean_slice_is_of_targets_with_the_middles_on_one_another():
    small, large = np.full((2, 2), 1, np.float32), np.full((4, 4), 3, np.float32)
    mean = mean_slice([SlicePairs([large, large], [small, large])])
    assert mean.shape == (4, 4)
    assert mean[1, 1] == 2 and mean[0, 0] == (EMPTY + 3) / 2
    assert np.array_equal(mean_slice([Slices([large])]), large)


def test_a_run_writes_error_and_correlation_of_each_validation(tmp_path):
    train(tiny_recipe(), tmp_path)
    found = validated(tmp_path)
    assert [row["iteration"] for row in found] == ["4", "8"]
    r = float(found[-1]["r inside the tissue"])
    assert -1 <= r <= 1 and abs(float(found[-1]["r of the mean target"])) < 0.5  # noise
    record = read_record(tmp_path)
    assert record["validation_correlation"] == pytest.approx(r, abs=1e-4)
    errors = [float(row["mean absolute error"]) for row in found]
    assert record["best_validation_error"] == pytest.approx(min(errors), rel=1e-4)


def test_rows_that_a_killed_run_wrote_too_much_are_forgotten(tmp_path):
    (tmp_path / VALIDATION).write_text("iteration,mean absolute error\n4,0.5\n8,0.4\n")
    Logs(tmp_path, 4).close()
    assert [row["iteration"] for row in validated(tmp_path)] == ["4"]


@pytest.mark.parametrize(("sign", "warned"), [(1, False), (-1, True)])
def test_half_of_a_run_below_the_mean_target_is_told_once(sign, warned, tmp_path, capsys):
    """The acquired targets are all alike, so the mean target is them; a run of four iterations of
    a copying source reaches them or, with the sign turned, does not.
    """
    data = some_data()
    group = data.groups[0]
    rng = np.random.default_rng(3)
    target = rng.uniform(-0.8, 1, (64, 64)).astype(np.float32)
    held = SlicePairs([target, target], [sign * target, sign * target])
    recipe = tiny_recipe(stages=[ONE_STAGE], every={"log": 1, "save": 9, "validate": 1})
    learned = replace(data, groups=[group], shares=[1.0], validation=held)
    object.__setattr__(learned, "_mean_target", held.b[0] if warned else -held.b[0])
    train(recipe, tmp_path, data=learned)
    told = capsys.readouterr().err
    assert told.count("the contrast has not become the target's") == int(warned)
    if warned:
        assert "iteration 2: " in told and "'A contrast that does not turn'" in told


def test_without_a_number_the_correlation_counts_as_poor():
    assert Correlation(float("nan"), 0.2).is_poor and Correlation(0.1, 0.2).is_poor
    assert not Correlation(0.3, 0.2).is_poor
