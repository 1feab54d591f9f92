"""A velocity fitted to two images: it finds motion that is known, and can be trusted to stop."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from MambaSynthLib.errors import Cancelled
from MambaSynthLib.methods.mstg import velocity_fit
from MambaSynthLib.methods.mstg.velocity_fit import (
    J_MIN,
    FitSettings,
    fit_velocity,
    loosen,
    narrowness,
)
from MambaSynthLib.methods.mstg.warp import jacobian_determinant

FEW = FitSettings(steps=80)
THICK, CUBES = (8.0, 1.4, 1.4), (1.5, 1.5, 1.5)


def texture(shape, seed=0):
    """A smooth random image in [0,1]."""
    smooth = gaussian_filter(
        np.random.default_rng(seed).normal(size=shape), [0, 3, 3][-len(shape) :]
    )
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def pulled(image, field):
    places = field + np.indices(image.shape)
    return map_coordinates(image, places, order=1, mode="nearest").astype(np.float32)


def bump(shape, voxels):
    """A field that moves the middle by ``voxels`` (3,) and the rim not at all."""
    places = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    sizes = np.array([max(n / 4, 1) for n in shape]).reshape(3, 1, 1, 1)
    weight = np.exp(-((places / sizes) ** 2).sum(0) / 2)
    return (np.reshape(voxels, (3, 1, 1, 1)) * weight).astype(np.float32)


def left(fit, first, last):
    return np.sum((fit.pulled(first, 1.0) - last) ** 2) / np.sum((first - last) ** 2)


@pytest.mark.parametrize("slices", [1, 2, 6])
def test_large_motion_in_slices_is_found_in_both_directions(slices):
    first = texture((slices, 64, 56))
    field = bump(first.shape, (0, 9, -6))
    last = pulled(first, field)
    fit = fit_velocity(first, last, THICK, settings=FEW)
    assert left(fit, first, last) < 0.1
    home = np.sum((fit.pulled(last, -1.0) - first) ** 2) / np.sum((first - last) ** 2)
    assert home < 0.1
    middle = (slice(None), slice(None), slice(28, 36), slice(24, 32))
    assert np.abs(fit.field(1.0) - field)[middle].max() < 1.5
    assert not fit.field(1.0)[0].any()  # nothing is said about motion across thick slices


def test_motion_across_thin_slices_is_found():
    first = texture((24, 32, 32))
    first = gaussian_filter(first, (2, 0, 0))
    last = pulled(first, bump(first.shape, (3, 0, 2)))
    fit = fit_velocity(first, last, CUBES, settings=FEW)
    assert left(fit, first, last) < 0.15
    assert fit.field(1.0)[0, 12, 16, 16] > 1.5


def test_noise_alone_moves_nothing():
    image = texture((2, 48, 48))
    noise = np.random.default_rng(1).normal(0, 0.01, (2, *image.shape)).astype(np.float32)
    fit = fit_velocity(image + noise[0], image + noise[1], THICK, settings=FEW)
    assert np.abs(fit.field(1.0)).mean() < 0.2 and np.abs(fit.field(1.0)).max() < 1


def test_the_same_images_give_the_same_bits_and_equal_ones_no_motion():
    first, last = texture((2, 40, 40)), texture((2, 40, 40), seed=3)
    once, again = (fit_velocity(first, last, THICK, settings=FEW).field(1.0) for _ in range(2))
    assert np.array_equal(once, again)
    assert not fit_velocity(first, first, THICK, settings=FEW).field(1.0).any()


def sliding(radians=0.3):
    """A textured disk that turns within a still ring: motion ends abruptly between them."""
    first = texture((1, 64, 64), seed=5)
    rows, columns = np.indices(first.shape[1:]) - 31.5
    inside = np.hypot(rows, columns) < 16
    turned = np.stack([np.zeros_like(rows), -np.sin(radians) * columns, np.sin(radians) * rows])
    turned[1] += (np.cos(radians) - 1) * rows
    turned[2] += (np.cos(radians) - 1) * columns
    return first, pulled(first, (turned * inside)[:, None])


def test_a_polish_explains_more_and_does_not_fold(monkeypatch):
    first, last = sliding()
    polished = fit_velocity(first, last, THICK, settings=FitSettings(120))
    monkeypatch.setattr(velocity_fit, "POLISH", velocity_fit.STAGES[-1])  # as stiff as before
    plain = fit_velocity(first, last, THICK, settings=FitSettings(120))
    assert left(polished, first, last) < 0.9 * left(plain, first, last)
    field = torch.from_numpy(polished.field(1.0)[None])
    three = torch.cat([field, field], dim=2)  # a second slice, so that there is a determinant
    assert (jacobian_determinant(three) > 0).all()


def test_a_loosened_motion_explains_more_of_a_stack_and_does_not_fold():
    first, last = (np.repeat(image, 3, axis=0) for image in sliding())
    settings, seen = FitSettings(120), []
    stiff = fit_velocity(first, last, THICK, settings=settings)
    loose = loosen(stiff, first, last, THICK, settings, lambda *step: seen.append(step))
    assert (loose.planned, seen[-1][1]) == (180, 60) and stiff.steps < loose.steps <= 180
    assert left(loose, first, last) < 0.9 * left(stiff, first, last)
    assert (jacobian_determinant(torch.from_numpy(loose.field(1.0)[None])) > 0).all()
    with pytest.raises(Cancelled):
        loosen(stiff, first, last, THICK, settings, cancelled=lambda: True)


def test_the_penalty_of_folding_is_that_of_the_determinant():
    assert float(narrowness(torch.zeros(1, 2, 5, 5))) == 0
    folded = torch.zeros(1, 2, 5, 5)
    folded[:, 0] = -2 * torch.arange(5.0)[:, None]  # rows in reverse: the determinant is -1
    assert float(narrowness(folded)) == pytest.approx((J_MIN + 1) ** 2)


def test_a_good_start_needs_fewer_steps():
    first = texture((1, 64, 64))
    field = bump(first.shape, (0, 8, 0))
    last = pulled(first, field)
    short = FitSettings(steps=12)
    cold = fit_velocity(first, last, THICK, settings=short)
    warm = fit_velocity(first, last, THICK, field, short)
    assert left(warm, first, last) < left(cold, first, last)


def test_it_stops_where_nothing_is_gained():
    first = texture((1, 40, 40))
    fit = fit_velocity(first, first, THICK, settings=FitSettings(steps=200))
    assert fit.steps < 60 and fit.planned == 200


def test_progress_ends_at_the_total_and_cancel_is_heard():
    first, last = texture((1, 40, 40)), texture((1, 40, 40), seed=2)
    seen = []
    fit_velocity(first, last, THICK, settings=FEW, progress=lambda *step: seen.append(step))
    assert seen[-1] == (80, 80) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    with pytest.raises(Cancelled):
        fit_velocity(first, last, THICK, settings=FEW, cancelled=lambda: True)


def test_velocities_add_and_scale():
    first = texture((1, 40, 40))
    fit = fit_velocity(first, pulled(first, bump(first.shape, (0, 4, 0))), THICK, settings=FEW)
    np.testing.assert_allclose(fit.times(0.5).field(1.0), fit.field(0.5), atol=1e-5)
    assert np.abs(fit.plus(fit, -1.0).field(1.0)).max() < 1e-5
