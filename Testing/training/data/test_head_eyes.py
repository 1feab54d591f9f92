"""Eyeballs of heads without T2w: found as balls of fluid, and learned as bright."""

import numpy as np
import pytest

from MambaSynthLib.image.intensity import MEDIANS
from MambaSynthTraining.data import head_eyes, head_necks
from MambaSynthTraining.data.head_cord import follow
from Testing.training.made_up_neck import EYES, LOW, SLICE_MM, head, head_with_eyes


def off(eyes):
    """The most by which found middles are wrong, in mm."""
    return np.abs((np.array(eyes) - EYES) * (SLICE_MM, 1, 1)).max()


def test_both_eyeballs_are_found_in_noise():
    stack, brain = head_with_eyes()
    noise = np.random.default_rng(0).normal(0, 0.02, stack.shape)
    assert off(head_eyes.find(stack, brain, SLICE_MM)) <= 2
    assert off(head_eyes.find((stack + noise).astype(np.float32), brain, SLICE_MM)) <= 2


def test_balls_of_air_are_sinuses_and_a_head_without_eyes_has_none():
    assert head_eyes.find(*head_with_eyes(fluid=0.05), SLICE_MM) == []
    assert head_eyes.find(*head(), SLICE_MM) == []


def test_one_eye_whose_mirror_image_is_another_thing_is_not_believed():
    stack, brain = head_with_eyes()
    moved = stack.copy()
    moved[:, :, 60:] = np.roll(stack[:, :, 60:], 9, axis=0)  # 18 mm up
    assert head_eyes.find(moved, brain, SLICE_MM) == []


def test_eyes_are_bright_lenses_dark_and_both_count_though_they_lie_above_the_skull_base():
    stack, brain = head_with_eyes()
    eyes, cord = head_eyes.find(stack, brain, SLICE_MM), follow(stack, brain, SLICE_MM)
    weight = head_necks.weights(stack, brain, SLICE_MM, cord, eyes)
    t2w = (head_necks.target(stack, SLICE_MM, cord, eyes) + 1) * (MEDIANS / 2)
    for (n, row, column), inner in zip(EYES, (1, -1), strict=True):
        assert weight[n, row, column] == weight[n, row - 9, column] == head_necks.EYE
        assert weight[n, row, column + 16 * inner] == head_necks.PLAIN
        assert t2w[n, row, column] == pytest.approx(head_necks.FLUID_T2W, rel=0.01)
        assert t2w[n, row - 9, column] < 0.6
    assert weight[EYES[0][0], 20, 60] == head_necks.NOSE, "else the nose is taken for an eye"
    assert not weight[LOW + 10 :][brain[LOW + 10 :]].any()
    above = weight[LOW + 12]
    assert above[140, 60] == head_necks.PLAIN, "where eyes are known, scalp is told from them"
    assert not above[121, 60] and not above[80, 60], "but not from what is near the brain"
    without = head_necks.weights(stack, brain, SLICE_MM, cord, [])
    assert not without[LOW + 10 :, 75:].any(), "nothing but the face counts so high up"
