"""How near a head comes to the acquired one, and how wide its intervals have to be."""

from __future__ import annotations

import numpy as np
import pytest

from MambaSynthTraining.evaluation.head_measures import (
    LEVELS,
    head_scores,
    interval_factors,
    share_in_air,
)
from MambaSynthTraining.evaluation.interval import coverage, interval_of_scores


def test_a_person_is_tested_with_the_factor_of_the_others():
    levels = {f"factor of {level:g}": 2.0 * level for level in LEVELS}
    anna = {"person": "anna", "input": "whole", "region": "head", **levels}
    bert = {**anna, "person": "bert", "factor of 0.9": 1.0}
    assert interval_of_scores([anna, bert]) == pytest.approx(1.8)  # of the harder person
    assert coverage(anna, [anna, bert]) == pytest.approx(0.5)  # bert's factor 1 is anna's of 50 %
    assert coverage(anna, [anna]) is None
    assert interval_of_scores([{"person": "carl", "input": "whole", "region": "head"}]) == 1


def test_factors_bring_the_widths_to_the_errors_in_any_unit():
    rng = np.random.default_rng(0)
    acquired = rng.random((20, 20, 20)).astype(np.float32)
    error = rng.uniform(-0.1, 0.1, acquired.shape).astype(np.float32)
    region = np.ones(acquired.shape, bool)
    made = (acquired + error) * 500 - 70
    found = interval_factors(made, np.full(made.shape, 50, np.float32), acquired, region)
    assert found[LEVELS.index(0.9)] == pytest.approx(0.9, abs=0.06)
    assert found == sorted(found)


def test_the_acquired_volume_has_perfect_scores_whatever_its_unit():
    acquired = np.random.default_rng(0).random((40, 40, 6)).astype(np.float32) + 1
    region = np.ones(acquired.shape, bool)
    found = head_scores(5 - 2 * acquired, acquired, region)
    assert found["psnr"] > 50 and found["r"] == pytest.approx(1)
    assert found["detail"] == pytest.approx(1, abs=0.02)


def test_light_in_a_tenth_of_the_air_is_counted():
    made = np.ones((10, 10, 10), np.float32)
    air = np.zeros(made.shape, bool)
    air[5:] = True
    made[5:] = 0
    made[5:, 0] = 0.5
    assert share_in_air(made, air) == pytest.approx(0.1)
