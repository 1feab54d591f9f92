"""What the losses of heads forgive, and what they do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from MambaSynthTraining.contrast.cravim import head_losses


def test_a_shift_by_one_pixel_costs_nothing():
    image = torch.rand((1, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    moved = image.roll((1, -1), (2, 3))
    near = head_losses.nearest_target(image, moved)
    assert head_losses.value_loss(image, near, torch.ones_like(image))[()] < 0.05
    assert head_losses.value_loss(image, moved, torch.ones_like(image)) > 0.25


def test_a_shift_by_three_pixels_is_an_error():
    image = torch.rand((1, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    moved = image.roll((3, 3), (2, 3))
    near = head_losses.nearest_target(image, moved)
    assert head_losses.value_loss(image, near, torch.ones_like(image)) > 0.2


@pytest.mark.parametrize("name", ["value", "gradient", "structure", "air", "detail"])
def test_each_loss_is_zero_for_the_acquired_image_and_without_weight(name):
    loss = getattr(head_losses, f"{name}_loss")
    image = torch.rand((1, 1, 24, 24), generator=torch.Generator().manual_seed(0)) * 2 - 1
    other, ones = image.flip(2), torch.ones_like(image)
    assert loss(image, image, ones) == pytest.approx(0, abs=1e-5)
    assert loss(other, image, torch.zeros_like(image)) == 0
    if name not in ("air", "detail"):
        assert loss(other, image, ones) > 0.1


def test_the_interval_loss_is_least_for_the_width_that_holds_nine_of_ten_errors():
    error = torch.rand((1, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    none, ones = torch.zeros_like(error), torch.ones_like(error)
    widths = torch.arange(0.5, 1.2, 0.01)
    losses = [head_losses.interval_loss(w * ones, none, error, ones) for w in widths]
    assert widths[int(torch.stack(losses).argmin())] == pytest.approx(0.9, abs=0.02)


def test_smoothness_costs_and_detail_in_other_places_of_a_window_does_not():
    image = torch.rand((1, 1, 48, 48), generator=torch.Generator().manual_seed(0)) * 2 - 1
    ones, smooth = torch.ones_like(image), torch.nn.functional.avg_pool2d(image, 3, 1, 1)
    lost = head_losses.detail_loss(smooth, image, ones)
    assert lost > 0.2
    assert head_losses.detail_loss(image.flip(2), image, ones) < 0.3 * lost


def test_light_in_air_costs_and_darkness_does_not():
    air, ones = torch.full((1, 1, 8, 8), -1.0), torch.ones((1, 1, 8, 8))
    assert head_losses.air_loss(air + 0.5, air, ones) == pytest.approx(0.5)
    assert head_losses.air_loss(air, air + 0.5, ones) == 0


@pytest.fixture
def crop():
    """(1,1,40,56) in [-1,1], no square."""
    image = torch.rand((1, 1, 40, 56), generator=torch.Generator().manual_seed(2)) * 2 - 1
    return torch.nn.functional.avg_pool2d(image, 3, 1, 1)


def test_the_structure_is_that_of_scikit_image_inside(crop):
    other = (crop + 0.2 * crop.flip(2)).clamp(-1, 1)
    _, expected = structural_similarity(
        other[0, 0].numpy() + 1, crop[0, 0].numpy() + 1, win_size=head_losses.WINDOW,
        data_range=1.0, use_sample_covariance=False, full=True,
    )  # fmt: skip
    place = torch.zeros_like(crop)
    for row, column in ((10, 12), (20, 50), (36, 30)):
        place.zero_()[0, 0, row, column] = crop.numel()
        found = head_losses.structure_loss(other, crop, place)
        assert float(found) == pytest.approx(1 - expected[row, column], abs=1e-4)


def test_windows_at_the_border_are_of_the_pixels_that_there_are(crop):
    found, h = head_losses.windowed(crop)[0, 0], head_losses.WINDOW // 2
    for row, column in ((0, 0), (39, 20), (17, 55), (20, 30)):
        window = crop[0, 0, max(row - h, 0) : row + h + 1, max(column - h, 0) : column + h + 1]
        assert float(found[row, column]) == pytest.approx(float(window.mean()), abs=1e-6)


def test_detail_is_what_a_binomial_blur_takes_away(crop):
    image = crop[0, 0].numpy().astype(np.float64)
    line = np.array([1, 4, 6, 4, 1]) / 16
    smooth = ndimage.correlate1d(ndimage.correlate1d(image, line, 0, mode="nearest"), line, 1,
                                 mode="nearest")  # fmt: skip
    strength = np.sqrt(((image - smooth) ** 2)[17:24, 27:34].mean() + head_losses.FINEST)
    flat, place = torch.zeros_like(crop), torch.zeros_like(crop)
    place[0, 0, 20, 30] = crop.numel()
    found = head_losses.detail_loss(crop, flat, place)
    assert float(found) == pytest.approx(strength - np.sqrt(head_losses.FINEST), abs=1e-5)


def test_half_precision_of_the_network_does_not_reach_the_windows(crop):
    with torch.autocast("cpu", torch.bfloat16):
        found = head_losses.windowed(crop)
    assert found.dtype == torch.float32 and torch.equal(found, head_losses.windowed(crop))
