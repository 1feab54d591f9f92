"""An identity network proves the way to the network and back, for every kind of grid."""

import numpy as np
import pytest

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.model.card import GridSpec, IntensitySpec
from Testing.restoring import restored

INTENSITY = IntensitySpec("percentile", 99.5, (0.0, 1000.0))
OWN_PIXELS = GridSpec("LPS", None, (16, 16))
ALL = IntensitySpec("percentile", 100, (0.0, 1000.0))


def there_and_back(volume, grid=OWN_PIXELS, intensity=INTENSITY):
    preparation = prepare(volume, grid, intensity)
    return restored(preparation, preparation.stack(), preparation.scaling)


def smooth_volume(shape, affine=None, name="smooth"):
    grids = np.meshgrid(*(np.linspace(0, 2, n) for n in shape), indexing="ij")
    return Volume(500 + 200 * np.sin(sum(grids)), np.eye(4) if affine is None else affine, name)


def clipped(volume, intensity=INTENSITY):
    scaling = prepare(volume, OWN_PIXELS, intensity).scaling
    top = scaling.center + scaling.half_width
    return np.clip(volume.array, scaling.center - scaling.half_width, top)


def oblique(spacing, degrees=13.7):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    affine[:3, 3] = -80.5, 12.25, 40
    return affine


@pytest.mark.parametrize("codes", ["LPS", "PSR", "LIP", "RAS"])
def test_with_the_volumes_own_pixels_nothing_is_lost_but_the_clip(codes, head):
    grid = GridSpec(codes, None, (16, 16))
    back = there_and_back(head, grid)
    np.testing.assert_allclose(back.array, clipped(head), atol=1e-3)
    assert np.array_equal(back.affine, head.affine)
    np.testing.assert_allclose(there_and_back(head, grid, ALL).array, head.array, atol=1e-3)


def test_equal_pixel_sizes_are_not_resampled(head):
    assert there_and_back(head, GridSpec("LPS", 2.0, (16, 16))).array.tobytes() == (
        there_and_back(head).array.tobytes()
    )


@pytest.mark.parametrize("pixel", [0.7, 1.3, 2.6])
def test_other_pixel_sizes_cost_no_more_than_interpolation(pixel):
    volume = smooth_volume((30, 34, 5), np.diag([1.5, 1.2, 4, 1]))
    back = there_and_back(volume, GridSpec("LPS", pixel, (16, 16)), ALL)
    assert np.abs(back.array - volume.array).max() < 20  # of a range of 400
    assert np.abs(back.array - volume.array)[3:-3, 3:-3].max() < 4


def test_background_comes_back_exactly_also_after_resampling(head):
    back = there_and_back(head, GridSpec("LPS", 1.1, (16, 16)))
    low = prepare(head, OWN_PIXELS, INTENSITY).scaling
    assert np.all(back.array[head.array == 0] == np.float32(low.center - low.half_width))


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((14, 12, 1), (1, 1, 1)),
        ((14, 12, 2), (1, 1, 5)),
        ((7, 511, 13), (1, 1, 1)),
        ((13, 7, 511), (1, 1, 1)),
        ((40, 36, 3), (0.3, 0.3, 9)),
        ((64, 5, 8), (0.5, 6, 2)),
    ],
)
def test_odd_shapes_and_spacings_come_back(shape, spacing):
    volume = smooth_volume(shape, oblique(spacing))
    preparation = prepare(volume, OWN_PIXELS, ALL)
    stack = preparation.stack()
    assert stack.shape[0] == shape[2] and stack.dtype == np.float32
    assert all(n >= 16 and n % 4 == 0 for n in stack.shape[1:])
    assert stack.min() >= -1 and stack.max() <= 1
    back = restored(preparation, stack, preparation.scaling)
    assert np.abs(back.array - clipped(volume, ALL)).max() < 1e-3
    assert back.affine.tobytes() == volume.affine.tobytes()


def test_a_single_slice_is_seen_from_the_side_that_the_model_wants():
    sagittal = smooth_volume((1, 20, 24))
    assert prepare(sagittal, GridSpec("PIL", None, (16, 16)), INTENSITY).stack().shape == (
        1,
        24,
        20,
    )
    with pytest.raises(VolumeError, match="20 x 1 pixels"):
        prepare(sagittal, OWN_PIXELS, INTENSITY)


@pytest.mark.parametrize("shape", [(3, 3, 3), (1, 1, 40), (3, 64, 64), (64, 3, 64)])
def test_slices_of_fewer_than_four_pixels_are_refused(shape):
    with pytest.raises(VolumeError, match=r"^mini: .* too small"):
        prepare(smooth_volume(shape, name="mini"), OWN_PIXELS, INTENSITY)


def test_four_pixels_are_enough():
    volume = smooth_volume((4, 4, 3))
    np.testing.assert_allclose(there_and_back(volume, intensity=ALL).array, volume.array, atol=0.5)


@pytest.mark.parametrize("spacing", [1e5, 3000])
def test_a_voxel_size_that_would_fill_the_memory_is_refused_at_once(spacing):
    volume = smooth_volume((12, 12, 3), np.diag([spacing, 1, 1, 1]), "giant")
    with pytest.raises(VolumeError, match=r"^giant: .* pixels for this model, more than 4096"):
        prepare(volume, GridSpec("LPS", 1.0, (16, 16)), INTENSITY)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_counted_and_refused(value, head):
    array = np.array(head.array)
    array[3, 4, 5:7] = value
    with pytest.raises(VolumeError, match=r"^sub-1: 2 voxels are NaN or infinite"):
        prepare(Volume(array, head.affine, "sub-1"), OWN_PIXELS, INTENSITY)


def test_a_constant_volume_is_refused():
    with pytest.raises(VolumeError, match=r"^flat: the image is constant"):
        prepare(Volume(np.full((9, 9, 9), 5), np.eye(4), "flat"), OWN_PIXELS, INTENSITY)


def test_slices_without_tissue_are_known_from_the_patient_not_from_the_array(head):
    expected = (head.array > 0).any(axis=(0, 1))
    assert not expected.all()
    upside_down = Volume(head.array[:, :, ::-1], head.affine @ np.diag([1, 1, -1, 1]), "turned")
    for volume in (head, upside_down):
        found = prepare(volume, OWN_PIXELS, INTENSITY).tissue_slices()
        assert np.array_equal(found, expected)


def test_empty_slices_are_empty_for_the_network_too(head):
    preparation = prepare(head, OWN_PIXELS, INTENSITY)
    assert np.all(preparation.stack()[~preparation.tissue_slices()] == EMPTY)


def test_what_the_network_invents_outside_its_range_is_clamped(head):
    preparation = prepare(head, OWN_PIXELS, INTENSITY)
    wild = np.where(preparation.stack() > 0, 50, -50).astype(np.float32)
    volume = restored(preparation, wild, preparation.scaling)
    scaling = preparation.scaling
    low, high = (np.float32(scaling.center + s * scaling.half_width) for s in (-1, 1))
    assert set(np.unique(volume.array)) == {low, high}


def test_a_registered_volume_is_placed_like_the_source(head):
    preparation = prepare(head, OWN_PIXELS, INTENSITY)
    twice = head.with_array(head.array * 2)
    np.testing.assert_allclose(preparation.stack_of(twice), preparation.stack(), atol=1e-6)
    shifted = np.array(head.affine)
    shifted[0, 3] += 1
    for other in (
        Volume(head.array, shifted, "shifted"),
        Volume(head.array[1:], head.affine, "cut"),
    ):
        with pytest.raises(VolumeError, match="resample one onto the grid"):
            preparation.stack_of(other)
