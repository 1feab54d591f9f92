"""The referee: what is hidden, what a perfect method scores, and what motion explains."""

import math

import numpy as np
import pytest

from MambaSynthLib.cine.contestants import Ours, Rival
from MambaSynthLib.cine.engine import CineEngine
from MambaSynthLib.cine.leaving_out import ed_and_es_given, every_kth_given
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.cine.phases import Phases
from MambaSynthLib.cine.referee import Referee, pull
from MambaSynthLib.cine.rivals import RIVALS, pulled
from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.cine import Cine
from Testing.library.cine_hearts import heart, random_package

RADII = (5.0, 4.6, 4.0, 3.4, 3.0, 3.6, 4.6)
PHASES = Phases(0, 4, "given")


@pytest.fixture(scope="module")
def cine():
    return Cine(tuple(heart(r, "beat") for r in RADII), [50.0 * n for n in range(7)], "beat")


@pytest.fixture(scope="module")
def task(cine):
    return ed_and_es_given(cine, PHASES)


class Oracle:
    """Knows the acquired frames."""

    name = "oracle"

    def __init__(self, task):
        self.task = task

    def frames(self, interval, fractions):
        a, b = self.task.given[interval : interval + 2]
        for tau in fractions:
            yield self.task.cine.frames[round(a + tau * (b - a))].array

    def fields(self, interval, fractions):
        return None


def test_between_ed_and_es_all_frames_are_hidden_and_the_rest_is_not_used(task):
    assert (task.given, task.hidden) == ((0, 4), (1, 2, 3))
    assert task.coarse.times_ms == (0.0, 200.0) and task.coarse.phases[:2] == (0, 1)


def test_every_third_frame_is_given_up_to_the_last_one(cine):
    task = every_kth_given(cine, 3, PHASES)
    assert (task.given, task.hidden) == ((0, 3, 6), (1, 2, 4, 5))
    assert [task.interval_of(f) for f in task.hidden] == [0, 0, 1, 1]
    assert task.phases.ed != task.phases.es


@pytest.mark.parametrize("k", [0, 1, 7, 99])
def test_keeping_too_many_or_too_few_is_refused(cine, k):
    with pytest.raises(RequestError, match=f"--keep {k}: beat has 7 frames; .* 2 to 6"):
        every_kth_given(cine, k, PHASES)


def test_neighboring_phases_leave_nothing_to_compare(cine):
    with pytest.raises(RequestError, match="no acquired frame lies between ED .frame 1. and ES"):
        ed_and_es_given(cine, Phases(0, 1, "given"))


def test_the_acquired_frames_themselves_score_perfectly(task):
    for row in Referee(task).score(Oracle(task)):
        assert row.psnr == row.region_psnr == math.inf
        assert row.ssim == pytest.approx(1) and row.best_region_psnr == math.inf


def test_scores_are_those_of_their_definitions(task):
    referee = Referee(task)
    (first, *_) = referee.score(Rival("no motion", task.coarse), best_in_time=False)
    scale = np.percentile(np.stack([f.array for f in task.cine.frames]), 99.9)
    error = (task.cine.frames[0].array - task.cine.frames[1].array) / scale
    assert first.psnr == pytest.approx(-10 * np.log10(np.mean(error**2)), abs=0.02)
    assert first.region_psnr < first.psnr and math.isnan(first.best_psnr)


def test_the_best_in_time_is_never_worse(task):
    rows = Referee(task).score(Rival("linear blend", task.coarse))
    assert all(row.best_region_psnr >= row.region_psnr - 0.05 for row in rows)
    assert [row.best_fraction for row in rows] == sorted(row.best_fraction for row in rows)


@pytest.mark.parametrize("name", ["TV-L1", "demons"])
def test_registrations_explain_the_motion_and_no_motion_none(task, name):
    referee = Referee(task)
    assert referee.motion(Rival("no motion", task.coarse)).left == pytest.approx(1)
    assert math.isnan(referee.motion(Rival("linear blend", task.coarse)).left)
    found = referee.motion(Rival(name, task.coarse))
    assert found.left < 0.6 and found.folding_percent < 5


def test_our_engine_is_scored_through_the_same_door(task, tmp_path):
    engine = CineEngine(random_package(tmp_path / "tiny-cine"), "cpu")
    ours = Ours("ours", engine, task, CineOptions(steps=60))
    referee = Referee(task)
    mean = lambda rows: np.mean([row.region_psnr for row in rows])  # noqa: E731
    blend = mean(referee.score(Rival("linear blend", task.coarse), best_in_time=False))
    assert mean(referee.score(ours, best_in_time=False)) > blend + 1
    found = referee.motion(ours)
    assert found.left < 0.2 and found.folding_percent == 0


def test_the_volume_curve_of_a_mask_is_compared(task):
    masks = Cine(
        tuple(f.with_array((f.array > 200).astype(np.float32)) for f in task.cine.frames),
        task.cine.times_ms,
        "masks",
    )
    still = Referee(task).motion(Rival("no motion", task.coarse), masks, 1)
    moved = Referee(task).motion(Rival("TV-L1", task.coarse), masks, 1)
    assert 0 < moved.volume_error_percent < still.volume_error_percent


def test_a_rivals_field_moves_a_volume_as_it_moves_its_slices(task):
    rival = Rival("TV-L1", task.coarse)
    (field,) = rival.fields(0, [1.0])
    passage = rival._passage(0)
    by_slices = rival._stacks.volume(pulled(passage.first, passage.there))
    by_volume = pull(task.cine.frames[0].array, field)
    np.testing.assert_allclose(by_slices, by_volume, atol=0.5)


def test_a_cine_without_motion_is_refused():
    still = Cine((heart(4),) * 4, [0.0, 50, 100, 150], "still")
    with pytest.raises(RequestError, match="all frames of the cine are equal"):
        Referee(ed_and_es_given(still, Phases(0, 3, "given")))


def test_every_rival_passes_from_one_frame_to_the_other(task):
    first, last = (f.array.transpose(2, 0, 1) / 400 for f in task.coarse.frames)
    for make in RIVALS.values():
        passage = make(first, last)
        np.testing.assert_allclose(passage.frame(0.0), first, atol=1e-5)
        np.testing.assert_allclose(passage.frame(1.0), last, atol=1e-5)
