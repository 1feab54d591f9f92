"""How a synthetic T2w head is shown: tissue mid-gray, fluid bright and not clipped."""

import numpy as np
import pytest

from MambaSynthLib.image.window import DARKEST_PARENCHYMA, t2_window
from Testing.analytic_heads import analytic_head, brain

SPACING = (2.0, 2.0, 4.0)


def shown(array, window):
    low, high = window
    return (array - low) / (high - low)


def parts(array):
    """Gray matter, white matter and, by its brightness between them, fluid."""
    gray, white, _affine = brain(SPACING)
    inside = array[(gray < 0.02) & (white < 0.02) & (array > 0)]
    return array[gray > 0.9], array[white > 0.9], inside


@pytest.mark.parametrize("skull", [True, False], ids=["head", "brain"])
@pytest.mark.parametrize("gain", [1.0, 0.002, 40.0])
def test_tissue_is_mid_gray_and_fluid_is_bright_but_not_clipped(skull, gain):
    array = analytic_head(SPACING, skull)["T2w"].array * gain
    window = t2_window(array)
    gray, white, _rest = (shown(part, window) for part in parts(array))
    assert 0.25 < np.median(white) < np.median(gray) < 0.6
    bright = shown(array[array > np.percentile(array, 99.5)], window)
    assert np.median(bright) > 0.7 and (shown(array, window) > 1).mean() < 0.002
    assert (shown(array, window) < 0.1).mean() > 0.2  # the air stays dark


def test_noise_in_the_air_and_a_few_hot_voxels_change_little():
    array = analytic_head(SPACING, True)["T2w"].array.astype(float)
    plain = t2_window(array)
    noise = np.abs(np.random.default_rng(0).normal(0, 0.02 * array.max(), array.shape))
    noisy = array + noise
    noisy.flat[:: array.size // 20] = 50 * array.max()
    found = t2_window(noisy)
    assert found[1] - found[0] == pytest.approx(plain[1] - plain[0], rel=0.25)


def test_very_bright_fluid_does_not_darken_the_tissue():
    array = np.zeros((40, 40, 20))
    array[5:35, 5:35, 3:17] = 100
    array[15:18, 15:18, 8:12] = 2000
    low, high = t2_window(array)
    assert low == 0 and 100 / high >= DARKEST_PARENCHYMA


def test_where_there_is_nothing_to_be_seen_there_is_no_window():
    assert t2_window(np.full((8, 8, 8), 7.0)) is None
    assert t2_window(np.zeros((8, 8, 8))) is None
