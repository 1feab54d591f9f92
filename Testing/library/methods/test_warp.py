"""Warping against SciPy and MONAI, integration against known motions, folding against algebra."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from MambaSynthLib.methods.mstg.warp import (
    compose,
    exponential,
    grid_like,
    jacobian_determinant,
    warp,
)

SIZE = (9, 14, 12)
FLAT = (1, 14, 12)  # a single slice


def smooth_field(size=SIZE, amplitude=1.5, seed=0) -> torch.Tensor:
    noise = np.random.default_rng(seed).standard_normal((3, *size))
    smooth = np.stack([gaussian_filter(part, 2.0) for part in noise])
    smooth *= amplitude / np.abs(smooth).max()
    return torch.from_numpy(smooth)[None].float()


def image(size=SIZE, seed=1) -> torch.Tensor:
    values = np.random.default_rng(seed).random((1, 2, *size), dtype=np.float32)
    return torch.from_numpy(values)


@pytest.mark.parametrize("size", [SIZE, FLAT])
@pytest.mark.parametrize(
    ("padding", "scipy_mode"), [("zeros", "grid-constant"), ("border", "nearest")]
)
def test_warping_equals_scipys_interpolation_also_outside(size, padding, scipy_mode):
    field = 3 * smooth_field(size)
    if size == FLAT:
        field[:, 0] = 0  # along an axis of one voxel there is nothing to interpolate
    found = warp(image(size), field, padding)[0]
    places = np.indices(size) + field[0].numpy()
    for channel, result in zip(image(size)[0], found, strict=True):
        expected = map_coordinates(channel.numpy(), places, order=1, mode=scipy_mode, cval=0.0)
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


def test_warping_equals_monais():
    Warp = pytest.importorskip("monai.networks.blocks").Warp
    field = 3 * smooth_field()
    for padding in ("zeros", "border"):
        expected = Warp(mode="bilinear", padding_mode=padding)(image(), field)
        torch.testing.assert_close(warp(image(), field, padding), expected, atol=1e-5, rtol=0)


def test_a_shift_by_whole_voxels_pulls_from_the_right_place():
    field = torch.zeros(1, 3, *SIZE)
    field[:, 2] = 1  # look one voxel further along W
    moved = warp(image(), field)
    torch.testing.assert_close(moved[..., :-1], image()[..., 1:], atol=1e-5, rtol=0)
    assert moved[..., -1].abs().max() < 1e-5


def test_labels_are_moved_without_new_values():
    labels = torch.randint(0, 4, (1, 1, *SIZE)).float()
    moved = warp(labels, smooth_field(), mode="nearest")
    assert set(moved.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_composing_equals_warping_twice_of_a_linear_image():
    ramp = grid_like(smooth_field())  # linear, so interpolating twice loses nothing
    first, second = smooth_field(seed=3, amplitude=0.8), smooth_field(seed=4, amplitude=0.8)
    inside = (slice(None), slice(None), *(slice(2, -2) for _ in range(3)))
    twice = warp(warp(ramp, first, "border"), second, "border")
    once = warp(ramp, compose(first, second), "border")
    torch.testing.assert_close(twice[inside], once[inside], atol=1e-4, rtol=0)


def test_a_constant_velocity_moves_by_itself_and_a_linear_one_exponentially():
    constant = torch.full((1, 3, *SIZE), 0.7)
    torch.testing.assert_close(exponential(constant), constant, atol=1e-4, rtol=0)
    center = torch.tensor([(n - 1) / 2 for n in SIZE]).view(1, 3, 1, 1, 1)
    offset = grid_like(constant) - center
    shrinking = exponential(-0.3 * offset, squarings=8)
    inside = (slice(None), slice(None), *(slice(1, -1) for _ in range(3)))
    expected = (math.exp(-0.3) - 1) * offset
    torch.testing.assert_close(shrinking[inside], expected[inside], atol=0.01, rtol=0)


def test_the_negative_velocity_gives_the_inverse():
    velocity = smooth_field()
    there, back = exponential(velocity), exponential(-velocity)
    inside = (slice(None), slice(None), *(slice(2, -2) for _ in range(3)))
    assert there.abs().max() > 0.7
    assert compose(there, back)[inside].abs().max() < 0.05
    assert compose(back, there)[inside].abs().max() < 0.05


def test_the_jacobian_determinant_is_the_volume_change_and_finds_folds():
    growth = grid_like(smooth_field()) * torch.tensor([0.5, 0.2, -0.1]).view(1, 3, 1, 1, 1)
    found = jacobian_determinant(growth)
    assert found.shape == (1, *(n - 1 for n in SIZE))
    torch.testing.assert_close(found, torch.full_like(found, 1.5 * 1.2 * 0.9), atol=1e-4, rtol=0)
    shear = torch.zeros(1, 3, *SIZE)
    shear[:, 0] = 0.7 * grid_like(shear)[:, 2]
    torch.testing.assert_close(jacobian_determinant(shear), torch.ones_like(found))
    assert (jacobian_determinant(-2.0 * grid_like(shear)) < 0).all()
    assert (jacobian_determinant(exponential(3 * smooth_field())) > 0).all()


def test_half_precision_inputs_are_warped_in_float32():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = warp(image().bfloat16(), smooth_field())
    assert found.dtype == torch.float32
