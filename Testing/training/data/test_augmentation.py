"""Random shape, contrast, shading and noise of training slices."""

from __future__ import annotations

import pytest
import torch

from MambaSynthTraining.data.augmentation import Augmentation, augment
from MambaSynthTraining.data.head_augmentation import augment as of_heads


def head(count=6, size=(64, 48)):
    """A bright ellipse with a darker core on background, as source and inverted as target."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij"
    )
    radius = (x / 0.7) ** 2 + (y / 0.8) ** 2
    a = torch.where(radius < 1, torch.where(radius < 0.3, 0.2, 0.6), -1.0)
    b = torch.where(radius < 1, torch.where(radius < 0.3, 0.5, -0.2), -1.0)
    return a.expand(count, 1, *size).clone(), b.expand(count, 1, *size).clone()


def changed(spread, seed=0, count=6):
    a, b = head(count)
    return a, b, *augment(a, b, spread, torch.Generator().manual_seed(seed))


def test_no_spread_changes_nothing():
    a, b, new_a, new_b = changed(Augmentation())
    torch.testing.assert_close(new_a, a)
    assert torch.equal(new_b, b)


def test_the_same_seed_gives_the_same_slices_and_another_gives_others():
    spread = Augmentation(shape=1.0, rotation=8, scale=0.1, gamma=0.3, bias=0.2, noise=0.02)
    first, again, other = (changed(spread, seed)[2:] for seed in (3, 3, 4))
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_gamma_bends_the_source_alone_and_keeps_black_white_and_order():
    ramp = torch.linspace(-1, 1, 64 * 64).view(1, 1, 64, 64).expand(6, 1, 64, 64)
    generator = torch.Generator().manual_seed(0)
    a, b = augment(ramp, ramp, Augmentation(gamma=0.5), generator)
    assert torch.equal(b, ramp)
    for source in a[:, 0]:
        assert source.min() == -1 and source.max() == 1
        assert torch.all(torch.diff(source.flatten()) >= 0)
        assert (source - ramp[0, 0]).abs().max() > 1e-3


def test_a_black_level_darkens_the_dark_in_half_of_the_sources_and_keeps_the_outline():
    ramp = torch.linspace(-1, 1, 64 * 64).view(1, 1, 64, 64).expand(40, 1, 64, 64)
    a, b = augment(ramp, ramp, Augmentation(dark=0.4), torch.Generator().manual_seed(0))
    assert torch.equal(b, ramp)
    moved = [source for source in a[:, 0] if not torch.allclose(source, ramp[0, 0])]
    assert 12 < len(moved) < 28
    for source in moved:
        assert source.flatten()[0] == -1 and source.max() == pytest.approx(1)  # black and white
        assert (source.flatten()[1:] > -1).all()  # what was not black is not
        assert (torch.diff(source.flatten()) >= 0).all()
        assert (source <= ramp[0, 0] + 0.02).all() and source.flatten()[800] < ramp.flatten()[800]


def test_rounding_errors_of_resampling_below_black_do_not_become_nan():
    """Slices of 0.517 mm pixels resampled to 1 mm hold -1.0000002, and a power of that is NaN."""
    image = torch.zeros(1, 1, 64, 64)
    image[..., :5, :] = -1.0000002
    a, _ = augment(image, image, Augmentation(gamma=0.3), torch.Generator().manual_seed(0))
    assert torch.isfinite(a).all()


def test_a_change_of_shape_moves_source_and_target_alike():
    a, b, new_a, new_b = changed(Augmentation(shape=1.0, rotation=12, scale=0.1))
    assert (new_a - a).abs().amax(dim=(1, 2, 3)).min() > 0.5
    inside_a, inside_b = new_a > -0.5, new_b > -0.6
    overlap = (inside_a & inside_b).sum() / (inside_a | inside_b).sum()
    assert overlap > 0.95
    assert len({int(n) for n in inside_a.sum(dim=(1, 2, 3))}) > 3  # each slice its own


def test_a_rotation_keeps_lengths_on_images_that_are_not_square(monkeypatch):
    """A bar of 40 by 4 pixels along the longer axis is as long after a turn by 30 degrees."""
    bar = torch.full((1, 1, 96, 64), -1.0)
    bar[..., 28:68, 30:34] = 1.0
    draws = torch.tensor([[1.0, 0.0, 0.0, 0.0]])  # angle, two scales, shear
    monkeypatch.setattr(
        torch, "randn", lambda *size, generator: draws if size == (1, 4) else torch.zeros(*size)
    )
    spread = Augmentation(shape=1.0, rotation=30.0)
    turned, _ = augment(bar, bar, spread, torch.Generator().manual_seed(0))
    rows, columns = torch.nonzero(turned[0, 0] > 0, as_tuple=True)
    lengths = torch.linalg.eigvalsh(torch.cov(torch.stack([rows, columns]).double())).sqrt()
    assert (lengths[1] * 12**0.5).item() == pytest.approx(40, rel=0.04)
    assert (lengths[0] * 12**0.5).item() == pytest.approx(4, abs=0.8)


def test_shading_and_noise_leave_background_and_target_alone():
    a, b, new_a, new_b = changed(Augmentation(bias=0.2, noise=0.03))
    background = a == -1
    assert torch.equal(new_b, b)
    torch.testing.assert_close(new_a[background], a[background])
    assert (new_a - a)[~background].std() > 0.02


def test_groups_of_slices_that_keep_their_shape_are_as_many_as_asked():
    a, _, new_a, _ = changed(Augmentation(shape=0.5, rotation=10, scale=0.1), count=200)
    moved = (new_a - a).abs().amax(dim=(1, 2, 3)) > 0.3
    assert 70 < int(moved.sum()) < 130


def test_the_neighbors_of_a_head_have_one_black_level_and_nothing_else_changes():
    slices = torch.rand((12, 5, 32, 32), generator=torch.Generator().manual_seed(1)) - 0.9
    slices[:, :, :4] = -1
    target, weight = torch.zeros(12, 3, 32, 32), torch.ones(12, 3, 32, 32)
    draw = torch.Generator().manual_seed(2)
    source, new_target, new_weight = of_heads(slices, target, weight, Augmentation(dark=0.4), draw)
    assert torch.equal(new_target, target) and torch.equal(new_weight, weight)
    assert (source[:, :, :4] == -1).all() and (source[:, :, 4:] > -1).all()
    draw = torch.Generator().manual_seed(2)
    plain = of_heads(slices, target, weight, Augmentation(), draw)[0]
    assert not torch.equal(plain, source)
