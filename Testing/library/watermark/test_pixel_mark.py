"""The mark in the voxels: what it survives, what it costs, and what is not taken for it."""

from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from MambaSynthLib.errors import RefusedInput
from MambaSynthLib.gate.admission import admit
from MambaSynthLib.image.metrics import volume_scores
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.watermark.detection import TURNS, Projection, _sides, find_mark
from MambaSynthLib.watermark.embedding import with_mark
from MambaSynthLib.watermark.marking import OFF, TOO_SMALL, mark, words_of
from MambaSynthLib.watermark.pattern import code_in, code_of, drawn, pattern_of, word_of
from MambaSynthLib.watermark.texture import Levels
from Testing.library.textured_head import head
from Testing.survival.attacks import (
    TURNS as ORDERS,
)
from Testing.survival.attacks import (
    as_int16,
    as_jpeg,
    cut,
    in_8_bits,
    noisy,
    resampled,
    slices_as_jpeg,
    turned,
    windowed,
)

MODEL = "cravim-head-t1w-t2w"
KNOWN = (MODEL, "another", "a-third")
AFFINE = np.array([[-1.0, 0, 0, 60], [0, -1, 0, 70], [0, 0, 2, -30], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def plain():
    """Brain-like texture on air, 120 x 136 x 16 voxels of 1 x 1 x 2 mm."""
    array = head((120, 136, 16))
    grain = np.random.default_rng(1).standard_normal(array.shape)
    grain = ndimage.gaussian_filter(grain, 0.7) * 12
    return Volume(np.where(array > 0, array + grain, 0).clip(0), AFFINE, "plain")


@pytest.fixture(scope="module")
def marked(plain):
    return with_mark(plain, MODEL)


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(lambda volume: volume, id="nothing"),
        pytest.param(as_int16, id="whole numbers"),
        pytest.param(windowed, id="another slope and offset"),
        pytest.param(in_8_bits, id="8 bits"),
        pytest.param(partial(turned, order=(2, 1, 0), flips=(1, -1, 1)), id="turned"),
        pytest.param(partial(turned, order=(1, 0, 2), flips=(-1, 1, -1)), id="mirrored"),
        pytest.param(partial(resampled, factor=0.7), id="0.7 x"),
        pytest.param(partial(resampled, factor=1.5), id="1.5 x"),
        pytest.param(partial(cut, where=0.8), id="cut"),
        pytest.param(as_jpeg, id="JPEG"),
        pytest.param(noisy, id="noise"),
    ],
)
def test_the_mark_and_its_model_survive(marked, attack):
    found = find_mark(attack(marked), KNOWN)
    assert found is not None and found.model == MODEL and found.code == code_of(MODEL)


def test_one_slice_as_a_jpeg_tells_by_itself(marked):
    pictures = slices_as_jpeg(marked)
    assert find_mark(pictures[len(pictures) // 2], KNOWN).model == MODEL


def test_in_place_it_is_found_without_a_search_but_turned_it_is_not(marked):
    assert find_mark(marked, thorough=False) is not None
    assert find_mark(turned(marked, (1, 0, 2), (1, 1, 1)), thorough=False) is None


def test_a_wide_picture_is_searched_in_its_middle(marked):
    image = np.pad(marked.array, ((0, 900), (420, 420), (0, 0)))
    sides = [side.image.shape for side in _sides(Volume(image, np.eye(4)), Levels.of(image))]
    assert sides == [(512, 512)]


def test_an_unknown_model_is_told_by_its_number(marked):
    found = find_mark(marked, ["another"])
    assert found.model is None and found.code == code_of(MODEL)
    assert f"not known here (code {code_of(MODEL):06x})" in found.sentence()
    assert MODEL in find_mark(marked, KNOWN).sentence()


def test_a_model_that_nobody_asked_for_is_not_called_unknown(marked):
    with pytest.raises(RefusedInput, match=f"model code {code_of(MODEL):06x}") as refusal:
        admit(marked, "T1w")
    assert "not known" not in str(refusal.value)


def test_a_mark_of_another_key_is_not_seen(marked):
    assert find_mark(marked, key="somebody else's") is None


@pytest.mark.parametrize("kind", ["texture", "noise", "stripes", "checks", "constant"])
def test_what_was_not_marked_is_not_taken_for_it(plain, kind):
    rng = np.random.default_rng(5)
    i, j, _ = np.indices(plain.shape)
    array = {
        "texture": plain.array,
        "noise": rng.standard_normal(plain.shape),
        "stripes": np.sin(2 * np.pi * 13 * i / 64),  # a wave of the mark's own length
        "checks": (i // 2 + j // 2) % 2,
        "constant": np.ones(plain.shape),
    }[kind]
    assert find_mark(plain.with_array(array), KNOWN) is None


def test_wrong_keys_on_one_image_score_as_theory_says(plain):
    """A score is a sum of M cosines by sqrt(M / 2): of variance 1 at one place, and rarely high."""
    stack = np.moveaxis(plain.array, 2, 0)
    side = Projection.of(stack, Levels.of(plain.array), (1.0, 1.0))
    highest = [side.best((1.0,), pattern_of(f"wrong {n}"), TURNS[:1]).score for n in range(60)]
    assert 3.0 < np.median(highest) < 4.5 and max(highest) < 6.6


def test_it_costs_less_than_a_thousandth_of_ssim_and_a_tenth_of_a_decibel(plain):
    acquired = plain
    synthetic = plain.with_array(
        np.where(plain.array > 0, ndimage.gaussian_filter(plain.array, 0.6), 0)
    )
    mask = plain.array > 0
    before = volume_scores(synthetic.array, acquired.array, mask)
    after = volume_scores(with_mark(synthetic, MODEL).array, acquired.array, mask)
    assert 0 < before.ssim - after.ssim < 0.001
    assert abs(before.psnr - after.psnr) < 0.1


def test_air_and_flat_regions_keep_their_voxels_and_none_leaves_the_range(plain, marked):
    assert np.array_equal(marked.array[plain.array == 0], plain.array[plain.array == 0])
    assert marked.array.max() <= plain.array.max() and marked.array.min() >= plain.array.min()
    flat = plain.array.copy()
    flat[40:80, 40:80] = 100.0
    changed = with_mark(plain.with_array(flat), MODEL).array != flat
    assert not changed[45:75, 45:75].any() and changed[20:30, 60:70].any()


def test_the_same_voxel_gets_the_same_mark_whatever_the_order_of_the_axes(plain, marked):
    for order, flips in ORDERS[::7]:
        matrix = np.zeros((4, 4))
        matrix[list(order), range(3)] = flips
        matrix[3, 3] = 1
        matrix[:3, 3] = [
            0 if flips[order.index(axis)] > 0 else plain.shape[axis] - 1 for axis in range(3)
        ]
        one = Volume(turned(plain, order, flips).array, plain.affine @ matrix, "turned")
        assert np.array_equal(with_mark(one, MODEL).array, turned(marked, order, flips).array)


def test_thick_slices_of_any_direction_hold_it(plain):
    sagittal = Volume(plain.array, np.diag([2.0, 0.5, 0.5, 1]) @ np.eye(4)[[2, 0, 1, 3]], "s")
    assert find_mark(with_mark(sagittal, MODEL), KNOWN, thorough=False).model == MODEL


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_pattern_is_the_pattern_of_a_turned_image(turn):
    swapped, *flips = turn
    places = np.arange(64, dtype=np.float32)  # one period
    image = drawn(pattern_of(), 0, places, places)
    image = image.T if swapped else image
    image = np.roll(image[:: flips[0], :: flips[1]], [int(f < 0) for f in flips], (0, 1))
    hit = Projection(np.ascontiguousarray(image), (1.0, 1.0)).best((1.0,), pattern_of(), [turn])
    assert hit.score == pytest.approx(np.sqrt(2 * pattern_of().waves), rel=1e-3)
    assert hit.shift == (0.0, 0.0)


def test_the_phases_that_say_here_point_everywhere():
    phases = pattern_of().sync[pattern_of().sync != 0]
    counts, _ = np.histogram(np.angle(phases), bins=8, range=(-np.pi, np.pi))
    assert abs(phases.sum()) < 2 * np.sqrt(2 * len(phases)) and counts.min() > len(phases) / 16


def test_any_two_words_differ_in_a_sixth_of_their_signs_or_more_and_noise_is_corrected():
    codes = [0, 1, 2**21 - 1, 127, 128, code_of("x"), code_of("y")]
    words = np.array([word_of(code) for code in codes], int)
    agreement = words @ words.T - 192 * np.eye(len(codes), dtype=int)
    assert len(set(codes)) == 7 and agreement.max() <= 192 - 2 * 32
    rng = np.random.default_rng(0)
    for code, word in zip(codes, words, strict=True):
        flips = rng.permutation(192) < 24  # one in eight is wrong
        assert code_in(np.where(flips, -word, word).astype(np.float32)) == code


def test_what_is_recorded_says_which_code_or_why_none(plain, marked):
    def recorded(volume, **options):
        array = volume.array.copy()
        return array, mark(array, volume, MODEL, **options)

    array, words = recorded(plain)
    assert np.array_equal(array, marked.array) and words == words_of(MODEL)
    assert f"{code_of(MODEL):06x}" in words
    array, words = recorded(plain, wanted=False)
    assert np.array_equal(array, plain.array) and words == OFF
    small = Volume(plain.array[:30], plain.affine)
    array, words = recorded(small)
    assert np.array_equal(array, small.array) and words == TOO_SMALL
    empty = np.zeros(plain.shape)
    empty[50:56, 60:66, 3:9] = plain.array[50:56, 60:66, 3:9]
    _, words = recorded(plain.with_array(empty))
    assert words.endswith("too little texture for it to be found again")
