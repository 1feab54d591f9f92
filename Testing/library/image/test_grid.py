"""Reorientation, resampling and canvas: each step undoes itself, and none moves the patient."""

from itertools import permutations, product

import numpy as np
import pytest
from skimage.transform import resize

from MambaSynthLib.image.grid import Canvas, InPlaneResampling, Reorientation, interpolation_matrix
from MambaSynthLib.image.volume import axis_codes

RNG = np.random.default_rng(3)
ARRAY = RNG.normal(size=(3, 4, 5)).astype(np.float32)
ORIENTATIONS = [(o, s) for o in permutations(range(3)) for s in product((1, -1), repeat=3)]
PAIRS = [(10, 10), (10, 5), (10, 3), (5, 10), (7, 13), (13, 7), (1, 4), (4, 1), (181, 97), (2, 511)]


def affine_of(order, signs, spacing=(1.0, 2.0, 3.0)):
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs)[:, order] * spacing
    affine[:3, 3] = 10, -20, 30
    return affine


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_reorientation_brings_each_voxel_to_its_patient_direction_and_back(order, signs):
    affine = affine_of(order, signs)
    step = Reorientation.between(affine, "LPS")
    index = np.stack(np.meshgrid(*map(np.arange, ARRAY.shape), indexing="ij"))
    ras = np.einsum("rc,cijk->rijk", affine[:3, :3], index) + affine[:3, 3].reshape(3, 1, 1, 1)
    left, back, up = (step.apply(x) for x in (-ras[0], -ras[1], ras[2]))
    assert np.all(np.diff(left, axis=2) > 0), "columns must grow to the patient's left"
    assert np.all(np.diff(back, axis=1) > 0), "rows must grow to the patient's back"
    assert np.all(np.diff(up, axis=0) > 0), "slices must grow upwards"
    assert np.array_equal(step.undo(step.apply(ARRAY)), ARRAY)
    assert step.apply(ARRAY).flags.c_contiguous and step.undo(step.apply(ARRAY)).flags.c_contiguous


@pytest.mark.parametrize("codes", ["LPS", "RAS", "PSR", "SLA", "AIL", "LIP"])
def test_reorientation_to_any_codes_is_none_where_the_volume_has_them(codes):
    letters = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(codes[::-1]):  # stored as slices, rows, columns
        ras, sign = letters[code]
        affine[ras, axis] = sign
    assert axis_codes(affine) == codes[::-1]
    assert np.array_equal(Reorientation.between(affine, codes).apply(ARRAY), ARRAY)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_interpolation_weights_are_positive_and_their_rows_sum_to_one(source, target):
    weights = interpolation_matrix(source, target)
    assert weights.shape == (target, source) and weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=2e-7)


@pytest.mark.parametrize("size", [1, 2, 7, 512])
def test_interpolation_between_equal_sizes_is_the_identity_to_the_bit(size):
    assert np.array_equal(interpolation_matrix(size, size), np.eye(size))
    stack = RNG.normal(size=(2, size, size)).astype(np.float32)
    assert np.array_equal(InPlaneResampling((size, size), (size, size)).apply(stack), stack)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_constant_stays_that_constant(source, target):
    stack = np.full((2, source, source), -1, np.float32)
    step = InPlaneResampling((source, source), (target, target))
    np.testing.assert_allclose(step.undo(step.apply(stack)), -1, atol=1e-6)


@pytest.mark.parametrize(("source", "target"), [(40, 20), (40, 13), (20, 40), (20, 33), (181, 97)])
def test_a_linear_ramp_stays_linear_at_the_same_place_in_millimetres(source, target):
    ramp = (np.arange(source) + 0.5) / source  # the place on the line, 0 to 1
    there = interpolation_matrix(source, target) @ ramp
    places = (np.arange(target) + 0.5) / target
    edge = int(np.ceil(max(1, target / source))) + 1
    exact = source % target == 0 or target > source
    pixels = 1e-5 if exact else 0.07  # the wide triangle, sampled between, leans a little
    np.testing.assert_allclose(there[edge:-edge], places[edge:-edge], atol=pixels / source)


@pytest.mark.parametrize("size", [(24, 30), (23, 64), (61, 31)])
def test_finer_pixels_agree_with_an_independent_linear_interpolation(size):
    stack = RNG.normal(size=(2, 20, 24)).astype(np.float32)
    ours = InPlaneResampling((20, 24), size).apply(stack)
    for image, resampled in zip(stack, ours, strict=True):
        theirs = resize(image, size, order=1, mode="edge", anti_aliasing=False)
        np.testing.assert_allclose(resampled, theirs, atol=2e-6)


def test_coarser_pixels_agree_with_an_independent_smooth_resampling():
    i, j = np.meshgrid(np.linspace(0, 3, 96), np.linspace(0, 4, 120), indexing="ij")
    smooth = (np.sin(i) + np.cos(1.3 * j)).astype(np.float32)
    ours = InPlaneResampling((96, 120), (40, 50)).apply(smooth[None])[0]
    theirs = resize(smooth, (40, 50), order=1, mode="edge", anti_aliasing=True)
    np.testing.assert_allclose(ours[3:-3, 3:-3], theirs[3:-3, 3:-3], atol=0.01)


def test_coarser_pixels_do_not_alias_the_finest_stripes():
    stripes = np.tile(np.float32([0, 1]), 60)  # 120 pixels, one cycle in two
    coarse = interpolation_matrix(120, 39) @ stripes
    assert np.abs(coarse[1:-1] - 0.5).max() < 0.1
    picked = np.interp((np.arange(39) + 0.5) * 120 / 39 - 0.5, np.arange(120), stripes)
    assert np.abs(picked - 0.5).max() > 0.4, "without the wider kernel they would"


def test_resampling_there_and_back_keeps_the_field_of_view_and_smooth_values():
    i, j = np.meshgrid(np.linspace(0, 3, 60), np.linspace(0, 2, 70), indexing="ij")
    smooth = np.sin(i + j).astype(np.float32)[None]
    step = InPlaneResampling.between((60, 70), np.array([0.9, 1.1]), 1.5)
    assert step.target_size == (36, 51)
    np.testing.assert_allclose(step.undo(step.apply(smooth)), smooth, atol=0.04)


def test_pixels_are_kept_where_no_size_is_wanted_and_never_become_none():
    assert InPlaneResampling.between((9, 8), np.array([0.3, 9]), None).target_size == (9, 8)
    assert InPlaneResampling.between((4, 4), np.array([0.1, 0.1]), 5.0).target_size == (1, 1)


@pytest.mark.parametrize("shape", [(7, 511), (16, 16), (40, 9), (4, 4), (1, 1)])
@pytest.mark.parametrize("filled", ["all", "one corner", "middle", "none"])
def test_the_canvas_holds_all_content_and_gives_it_back_to_the_bit(shape, filled):
    content = np.zeros(shape, bool)
    rows, columns = shape
    where = {
        "all": np.s_[:, :],
        "one corner": np.s_[rows - 1 :, columns - 1 :],
        "middle": np.s_[rows // 3 : rows // 2 + 1, columns // 3 : columns // 2 + 1],
        "none": np.s_[:0, :0],
    }[filled]
    content[where] = True
    canvas = Canvas.around(content, (16, 24), 4)
    assert canvas.size[0] >= 16 and canvas.size[1] >= 24
    assert canvas.size[0] % 4 == 0 and canvas.size[1] % 4 == 0
    stack = np.where(content, RNG.normal(size=(3, *shape)), -1).astype(np.float32)
    placed = canvas.apply(stack, -1)
    assert placed.shape == (3, *canvas.size)
    assert np.array_equal(canvas.undo(placed, -1), stack), "tissue was cropped"
    inside = (placed != -1).any(axis=0)
    assert inside.sum() == content.sum()


def test_the_canvas_puts_the_content_in_its_middle():
    content = np.zeros((50, 50), bool)
    content[30:40, 2:8] = True
    placed = Canvas.around(content, (16, 16), 4).apply(content[None].astype(np.float32), 0)[0]
    rows, columns = np.flatnonzero(placed.any(1)), np.flatnonzero(placed.any(0))
    assert (rows[0], 15 - rows[-1]) == (3, 3) and (columns[0], 15 - columns[-1]) == (5, 5)


def test_the_canvas_is_a_copy():
    stack = np.zeros((1, 16, 16), np.float32)
    placed = Canvas.around(np.ones((16, 16), bool), (16, 16), 4).apply(stack, 0)
    placed += 1
    assert not stack.any()


@pytest.mark.parametrize("spacing", [(0.91, 0.91), (1.14, 1.14), (0.88, 0.89)])
def test_square_pixels_near_the_wanted_ones_are_kept_to_the_bit(spacing):
    step = InPlaneResampling.between((60, 70), np.array(spacing), 1.0, tolerance=0.15)
    stack = np.random.default_rng(0).random((2, 60, 70), dtype=np.float32)
    assert step.undo(step.apply(stack)) is stack


@pytest.mark.parametrize("spacing", [(0.8, 0.8), (1.2, 1.2), (0.94, 1.1)])
def test_others_are_resampled_in_both_directions(spacing):
    step = InPlaneResampling.between((60, 70), np.array(spacing), 1.0, tolerance=0.15)
    assert step.target_size == (round(60 * spacing[0]), round(70 * spacing[1]))
