"""Frames made of two moved ones: what agrees is averaged, what moves moves, what fades fades."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from MambaSynthLib.cine.frame_stacks import Stacks
from MambaSynthLib.cine.judgment import judge_motion, judge_pair, last_step
from MambaSynthLib.cine.motion import MOST_LEFT, fit_pair
from MambaSynthLib.cine.noise import noise_of
from MambaSynthLib.cine.pace import with_neighbors
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.methods.mstg.velocity_fit import FitSettings
from Testing.library.cine_hearts import heart, oblique

SETTINGS = FitSettings(steps=60)
SHAPE = (40, 36, 2)


def ball(row, name="ball", radius=6.0, level=300.0):
    """A bright ball whose center lies at ``row``, on a smooth ground."""
    i, j = np.meshgrid(*map(np.arange, SHAPE[:2]), indexing="ij")
    distance = np.hypot(i - row, j - 17.0)
    slice_ = 50 + 0.5 * j + level / (1 + np.exp(1.5 * (distance - radius)))
    return Volume(np.repeat(slice_[..., None], SHAPE[2], 2), oblique(), name)


def center(array):
    """The row of the center of brightness above the ground."""
    bright = np.clip(array[..., 0] - 120, 0, None)
    return float((bright.sum(1) * np.arange(len(bright))).sum() / bright.sum())


def pair(first, last):
    return fit_pair(first, last, Stacks.of([first, last]), settings=SETTINGS)


def test_a_ball_moves_instead_of_fading_and_its_field_says_how_far():
    motion = pair(ball(14), ball(22))
    assert motion.unexplained() < 0.1
    for share in (0.25, 0.5, 0.75):
        frame = motion.frame(share, share)
        assert abs(center(frame) - (14 + 8 * share)) < 0.7
        assert frame.max() > 0.9 * ball(14).array.max()  # not two half-bright balls
    assert abs(motion.field(1.0, 1.0)[0, 22, 17, 0] + 8) < 1.2  # looks 8 rows back


def far_pair(first, last):
    settings, seen = replace(SETTINGS, far_apart=True), []
    motion = fit_pair(first, last, Stacks.of([first, last]), settings=settings,
                      progress=lambda *step: seen.append(step))  # fmt: skip
    assert seen[-1] == (90, 90) and seen == sorted(seen)
    return motion


def test_a_stack_whose_motion_is_too_stiff_is_loosened_and_no_other():
    explained = far_pair(ball(14), ball(22))
    assert explained.fit.planned == SETTINGS.steps
    assert np.array_equal(explained.field(1.0, 1.0), pair(ball(14), ball(22)).field(1.0, 1.0))
    rng = np.random.default_rng(0)  # what comes from beside the slices is not there to be moved
    came, went = (
        ball(14).with_array(
            ball(14).array + 200 * gaussian_filter(rng.normal(0, 3, SHAPE), (3, 3, 0))
        )
        for _ in range(2)
    )
    stiff, loose = pair(came, went), far_pair(came, went)
    assert stiff.unexplained() > MOST_LEFT and loose.fit.planned == 90
    assert loose.unexplained() < 0.9 * stiff.unexplained()
    one = [Volume(image.array[..., :1], image.affine, "one") for image in (came, went)]
    assert far_pair(*one).fit.planned == SETTINGS.steps  # a single slice


def test_the_units_and_the_grid_are_those_of_the_source():
    first, last = ball(14), ball(18)
    frame = pair(first, last).frame(0.5, 0.5)
    assert frame.shape == SHAPE and frame.dtype == np.float32
    np.testing.assert_allclose(frame[0, 0], first.array[0, 0], rtol=0.01)


def test_noise_of_what_stands_still_is_averaged_away():
    rng = np.random.default_rng(0)
    clean = ball(16)
    first, last = (clean.with_array(clean.array + rng.normal(0, 8, SHAPE)) for _ in range(2))
    frame = pair(first, last).frame(0.1, 0.1)
    assert np.std(frame - clean.array) < 0.8 * np.std(first.array - clean.array)


def test_the_noise_is_estimated_where_most_stands_still():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 0.02, (2, 3, 50, 50))
    a[:, :2] += 1
    assert noise_of(a, b) == pytest.approx(0.02**2, rel=0.15)
    assert 0 < noise_of(a, a) < 1e-6


def test_light_that_goes_out_fades_in_place():
    first, last = ball(16), ball(16, level=30.0)
    frame = pair(first, last).frame(0.5, 0.5)
    middle = frame[16, 17, 0]
    assert last.array[16, 17, 0] + 60 < middle < first.array[16, 17, 0] - 60
    assert abs(frame[30, 30, 0] - first.array[30, 30, 0]) < 3


def test_neighbors_bend_a_fall_into_its_parabola():
    rows = [10.0, 11.0, 14.0, 19.0]  # t squared
    frames = [ball(row) for row in rows]
    stacks = Stacks.of(frames)
    motions = [
        fit_pair(a, b, stacks, settings=SETTINGS) for a, b in zip(frames, frames[1:], strict=False)
    ]
    bent = with_neighbors(motions, [100.0] * 3)
    straight = center(motions[1].frame(0.5, 0.5))
    assert abs(straight - 12.5) < 0.25
    assert abs(center(bent[1].frame(0.5, 0.5)) - 12.25) < abs(straight - 12.25)
    for motion, end in zip(bent, frames[1:], strict=True):
        assert np.abs(motion.frame(1.0, 1.0) - end.array).mean() < 3  # still arrives
    assert with_neighbors(motions[:1], [100.0])[0].bends is None


def test_a_cine_sets_out_from_rest_and_comes_to_rest():
    rows = [10.0, 12.5, 17.5, 20.0]  # half a cosine
    frames = [ball(row) for row in rows]
    stacks = Stacks.of(frames)
    straight = [
        fit_pair(a, b, stacks, settings=SETTINGS) for a, b in zip(frames, frames[1:], strict=False)
    ]
    bent = with_neighbors(straight, [100.0] * 3)
    for number, known in ((0, 10.67), (2, 19.33)):
        found, linear = (center(m[number].frame(0.5, 0.5)) for m in (bent, straight))
        assert abs(found - known) < 0.5 * abs(linear - known)


def test_motion_that_explains_little_is_told_and_motion_that_does_is_not():
    assert judge_motion(pair(ball(14), ball(22))) == []
    rng = np.random.default_rng(0)
    first, last = (ball(16).with_array(gaussian_filter(rng.normal(200, 80, SHAPE), (1, 1, 0)))
                   for _ in range(2))  # fmt: skip
    (told,) = judge_motion(pair(first, last))
    assert "explains" in told and "ED and ES" in told


def test_noise_alone_is_told_as_no_motion():
    rng = np.random.default_rng(0)
    first, last = (ball(16).with_array(ball(16).array + rng.normal(0, 8, SHAPE)) for _ in range(2))
    (told,) = judge_motion(pair(first, last))
    assert "little more than noise" in told


def test_noise_that_is_stronger_in_some_places_is_no_motion_either():
    """As in magnitude images the lung's is, whose signal is low: much more than the median says."""
    rng = np.random.default_rng(0)
    strength = np.where(np.arange(SHAPE[0]) < 12, 12.0, 0.3)[:, None, None]
    first, last = (
        ball(16).with_array(ball(16).array + strength * rng.normal(0, 1, SHAPE)) for _ in range(2)
    )
    (told,) = judge_motion(pair(first, last))
    assert "little more than noise" in told


def test_another_persons_es_is_told():
    other = ball(30).with_array(-ball(30).array)
    (told, *_) = judge_pair(ball(10), other)
    assert "different people" in told
    assert judge_pair(heart(5), heart(3)) == []


def test_the_last_step_is_counted_in_steps_before():
    values = [0.0, 1.0, 2.0, 3.0, 9.0]
    frame = lambda n: np.full(4, values[n], np.float32)  # noqa: E731
    assert last_step(frame, 5) == pytest.approx(6)
    assert np.isnan(last_step(frame, 2))
