"""What is drawn of an example is what its answers say."""

import numpy as np
import pytest

from MambaSynthLib.gate.look import SHAPE, Coarse, coarsened, look_at
from MambaSynthLib.gate.questions import DIRECTIONS, OPPOSITE, ORIENTATIONS, QUESTIONS, UPRIGHT
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.gate import strangers
from MambaSynthTraining.gate.draws import NOT_ASKED, draw, stretched, turned
from MambaSynthTraining.gate.examples import Example
from MambaSynthTraining.gate.made_up import made_up_heads
from Testing.analytic_heads import analytic_head

TRUTH = {"kind": "MR", "anatomy": "head", "contrast": "T1w"}


@pytest.fixture(scope="module")
def example():
    return Example(coarsened(analytic_head((2, 2, 4))["T1w"]), TRUTH)


def marked():
    """A box of air with one voxel that is the top of the head, and one that is its face."""
    array = np.zeros((41, 41, 41))
    array[20, 20, 36] = 1
    array[20, 36, 20] = 2
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -40
    return Volume(array, affine)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_turn_brings_top_and_face_to_where_its_name_says(orientation):
    volume = marked()
    affine = turned(volume.affine, orientation)
    assert abs(np.linalg.det(affine)) == pytest.approx(8)
    for letter, value in zip(orientation, (1, 2), strict=True):
        place = affine[:3, :3] @ np.argwhere(volume.array == value)[0] + affine[:3, 3]
        axis = "RAS".index(letter if letter in "RAS" else OPPOSITE[letter])
        assert int(np.argmax(np.abs(place))) == axis
        assert (place[axis] > 0) == (letter in "RAS")


def test_upright_is_no_turn():
    affine = marked().affine
    np.testing.assert_array_equal(turned(affine, UPRIGHT), affine)


def test_a_stretch_lengthens_one_patient_axis():
    coarse = coarsened(analytic_head((2, 2, 4))["T1w"])
    before = look_at(coarse).extent_mm
    after = look_at(Coarse(coarse.array, stretched(coarse.affine, 1, 2.0))).extent_mm
    np.testing.assert_allclose(np.divide(after, before), [1, 2, 1])


def test_draws_are_finite_and_their_answers_are_among_those_of_each_question(example):
    rng = np.random.default_rng(0)
    found = [draw(example, rng) for _ in range(60)]
    for one in found:
        assert one.image.shape == SHAPE and np.isfinite(one.image).all()
        for number, names in zip(one.answers, QUESTIONS.values(), strict=True):
            assert NOT_ASKED <= number < len(names)
    at = {question: n for n, question in enumerate(QUESTIONS)}
    kinds = {QUESTIONS["kind"][one.answers[at["kind"]]] for one in found}
    assert kinds == {"MR", "inverted"}
    turns = {one.answers[at["orientation"]] for one in found}
    assert ORIENTATIONS.index(UPRIGHT) in turns and len(turns) > 5


def test_of_what_is_no_head_nothing_but_its_kind_is_asked():
    rng = np.random.default_rng(1)
    for make, kind in ((strangers.noise, "noise"), (strangers.shape, "drawing")):
        for _ in range(4):
            one = draw(Example(coarsened(make(rng)), {"kind": kind}, real=False), rng)
            assert one.answers[0] == QUESTIONS["kind"].index(kind)
            assert set(one.answers[1:]) == {NOT_ASKED}


def test_bodies_differ_and_are_bodies():
    rng = np.random.default_rng(2)
    first, second = strangers.body(rng), strangers.body(rng)
    assert first.shape != second.shape or not np.array_equal(first.array, second.array)
    assert 0.02 < np.mean(first.array > first.array.max() / 10) < 1


def test_every_direction_is_the_opposite_of_its_opposite():
    assert all(OPPOSITE[OPPOSITE[letter]] == letter for letter in DIRECTIONS)


def test_heads_of_nobody_differ_and_have_both_contrasts_with_and_without_skull():
    found = list(made_up_heads(2, seed=0))
    assert len(found) == 8
    assert {(truth["contrast"], truth["anatomy"]) for _, truth in found} == {
        ("T1w", "head"), ("T1w", "brain"), ("T2w", "head"), ("T2w", "brain")
    }  # fmt: skip
    (head, _), (brain, _) = found[:2]
    assert np.count_nonzero(brain.array) < 0.6 * np.count_nonzero(head.array > 50)
    assert not np.array_equal(head.array, found[4][0].array)
