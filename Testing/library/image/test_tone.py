"""White matter is as bright beside gray in one head as in another, whatever the sequence was."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.filters import threshold_multiotsu

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.intensity import MEDIANS, median_scaling, middle_of_head
from MambaSynthLib.image.preparation import GridSpec, IntensitySpec, prepare
from MambaSynthLib.image.tone import GAMMAS, KNEE, Toned, otsu_thresholds, white_over_gray
from MambaSynthLib.image.volume import Volume

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
GRID = GridSpec("LPS", None, (64, 64))
WANTED = 1.3
GRAY = 400.0


def scan(ratio: float, skull: bool = True) -> Volume:
    """A head whose white matter is ``ratio`` times as bright as gray."""
    grid = np.indices((70, 80, 60)).transpose(1, 2, 3, 0)

    def ellipsoid(*radii_mm):
        return (((grid - (35, 40, 30)) * 3 / np.array(radii_mm)) ** 2).sum(-1) < 1

    array = np.zeros((70, 80, 60), np.float32)
    if skull:
        array[ellipsoid(84, 102, 84)] = 1000
        array[ellipsoid(77, 95, 77)] = 20
    array[ellipsoid(70, 86, 70)] = GRAY
    array[ellipsoid(52, 66, 52)] = GRAY * ratio
    array[ellipsoid(12, 25, 12)] = 120
    noise = np.random.default_rng(0).normal(0, 6, array.shape)
    return Volume(np.where(array > 0, np.abs(array + noise), 0).astype(np.float32), AFFINE, "scan")


def medians(volume: Volume, scaling) -> np.ndarray:
    return (scaling.apply(volume.array) + 1) * MEDIANS / 2


@pytest.mark.parametrize("ratio", [1.2, 1.3, 1.5])
@pytest.mark.parametrize("skull", [True, False], ids=["head", "brain"])
def test_white_matter_becomes_as_bright_beside_gray_as_is_wanted(ratio, skull):
    volume = scan(ratio, skull)
    assert white_over_gray(middle_of_head(volume)[1]) == pytest.approx(ratio, rel=0.03)
    bent = medians(volume, Toned.of(volume, WANTED))
    gray = np.abs(volume.array - GRAY) < 5
    white = np.abs(volume.array - GRAY * ratio) < 5
    assert np.median(bent[white]) / np.median(bent[gray]) == pytest.approx(WANTED, rel=0.04)


def test_fat_is_as_far_above_white_matter_as_it_was():
    volume = scan(1.15)
    plain, bent = (medians(volume, s) for s in (median_scaling(volume), Toned.of(volume, WANTED)))
    fat = volume.array > 950
    assert np.ptp((bent - plain)[fat]) < 1e-4  # moved, but not bent
    assert bent[fat].max() < MEDIANS
    assert (np.diff(bent.ravel()[np.argsort(plain.ravel(), kind="stable")]) > -1e-5).all()


@pytest.mark.parametrize("gamma", [0.6, 1.0, 1.7])
def test_what_was_bent_is_bent_back(gamma):
    tone = Toned(300.0, 300.0, gamma)
    values = np.linspace(0, 1200, 50, dtype=np.float32)
    np.testing.assert_allclose(tone.undo(tone.apply(values)), values, atol=0.05)
    assert (medians(scan(1.3), Toned(300.0, 300.0, 1.0)).max()) > KNEE


def test_no_head_is_bent_beyond_the_limits():
    assert Toned.of(scan(1.02, skull=False), 2.0).gamma == GAMMAS[1]
    assert Toned.of(scan(2.4, skull=False), 1.05).gamma == GAMMAS[0]


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SLA"])
def test_the_order_of_the_axes_does_not_matter(codes):
    volume = scan(1.25)
    turn = Reorientation.between(volume.affine, codes)
    array = turn.apply(volume.array)  # slices, rows, columns towards the codes
    columns = [-volume.affine[:3, a] if f else volume.affine[:3, a]
               for a, f in zip(turn.order, turn.flipped, strict=True)]  # fmt: skip
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack(columns)
    turned = Volume(np.ascontiguousarray(array), affine, "turned")
    assert Toned.of(turned, WANTED).gamma == pytest.approx(Toned.of(volume, WANTED).gamma, rel=0.02)


def test_the_thresholds_are_those_of_scikit_image():
    rng = np.random.default_rng(3)
    tissues = ((0.3, 0.08, 900), (0.9, 0.06, 4000), (1.15, 0.05, 5000))
    values = np.concatenate([rng.normal(*tissue) for tissue in tissues])
    step = np.ptp(values) / 256
    np.testing.assert_allclose(
        otsu_thresholds(values), threshold_multiotsu(values, classes=3), atol=1.01 * step
    )


def test_a_volume_of_one_value_is_refused_and_one_of_two_is_not_bent_by_chance():
    with pytest.raises(VolumeError, match="constant"):
        Toned.of(Volume(np.full((8, 8, 8), 5.0, np.float32), AFFINE, "flat"), WANTED)
    two = Volume(np.where(np.indices((30, 30, 30))[0] > 8, 100, 0).astype(np.float32), AFFINE, "2")
    assert GAMMAS[0] <= Toned.of(two, WANTED).gamma <= GAMMAS[1]


def test_a_network_that_asks_for_it_sees_the_source_bent_and_the_acquired_target_as_it_is():
    volume = scan(1.15)
    bent = prepare(volume, GRID, IntensitySpec("median", 99.5, (0.0, 1000.0), WANTED))
    plain = prepare(volume, GRID, IntensitySpec("median", 99.5, (0.0, 1000.0)))
    assert np.abs(bent.stack() - plain.stack()).max() > 0.02
    np.testing.assert_array_equal(bent.stack_of(volume), plain.stack_of(volume))
    corner = bent.stack()[:, :4, :4]
    assert (corner == -1).all()  # air is as empty as before
