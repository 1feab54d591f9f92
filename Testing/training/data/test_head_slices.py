"""A head in memory, cut in the planes that a recipe asks for."""

from __future__ import annotations

import numpy as np
import pytest

from MambaSynthTraining.contrast.cravim.heads import Options
from MambaSynthTraining.data.head_slices import HeadSlices
from MambaSynthTraining.data.heads_set import Entry

ENTRY = Entry("anna", "anna", 1.0, True, "CC0-1.0", "computed")


def head(slice_mm=1.0, shape=(40, 96, 80)):
    """Each voxel of the source has a value of its own, of a cuboid with air around it."""
    values = np.linspace(-0.9, 1, int(np.prod(shape))).reshape(shape)
    inside = np.zeros(shape, bool)
    inside[2:-2, 6:-6, 4:-4] = True
    source = np.where(inside, values, -1).astype(np.float16)
    return HeadSlices(ENTRY, source, -source, np.full(shape, 100, np.uint16), slice_mm)


def cut(plane, **options):
    return next(slices for slices in head(**options).in_all_planes() if slices.plane == plane)


def test_heads_with_thin_slices_alone_are_cut_in_all_planes():
    assert [s.plane for s in head(2.0).in_all_planes()] == ["axial", "coronal", "sagittal"]
    assert [s.plane for s in head(3.0).in_all_planes()] == ["axial"]


def test_rows_of_coronal_and_sagittal_slices_grow_towards_the_feet():
    source = head().source  # slices towards the head, rows to the back, columns to the left
    assert np.array_equal(cut("coronal").source[50], source[::-1, 50, :])
    assert np.array_equal(cut("sagittal").source[30], source[::-1, :, 30])
    assert np.array_equal(cut("sagittal").target[30], -source[::-1, :, 30])


def test_the_pixels_of_a_crop_are_squares_whatever_the_slices_were():
    rng = np.random.default_rng(1)
    slices = cut("coronal", slice_mm=2.0, shape=(40, 96, 80))
    assert slices.slice_mm == 1.0
    heights = []
    for _ in range(20):
        images, name = slices.crop(1, 0, (128, 128), rng)
        if name.endswith("of 1 mm"):
            heights.append((images[0] > -0.95).any(axis=1).sum())
    assert set(heights) <= {72, 73, 74}  # 36 slices of 2 mm


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_half_of_the_crops_are_mirrored_left_and_right(plane):
    brighter_leftwards = head()
    brighter_leftwards.source[:] = np.linspace(-0.9, 1, 80)
    slices = next(s for s in brighter_leftwards.in_all_planes() if s.plane == plane)
    rng, ways = np.random.default_rng(2), []
    for _ in range(40):
        own, before, after = slices.crop(1, 0, (64, 64), rng)[0][:3]
        first, then = (before, after) if plane == "sagittal" else (own[:, :-1], own[:, 1:])
        rise = (then - first)[(first > -0.95) & (then > -0.95)].mean()
        ways.append(rise > 0)
        assert abs(rise) > 0.01
    assert 10 < sum(ways) < 30


def test_slices_of_each_kind_are_drawn_as_often_however_few_they_are():
    slices = head()
    slices.weight[:] = 20
    slices.weight[30:, 40, 40] = 400
    slices.weight[10:14, 40, 40] = 100
    rng = np.random.default_rng(4)
    numbers = [int(slices.crop(1, 0, (64, 64), rng)[1].split()[3]) for _ in range(300)]
    upper, few = (sum(n in part for n in numbers) for part in (range(30, 40), range(10, 14)))
    assert upper == pytest.approx(100, abs=30) and few == pytest.approx(100, abs=30)


def test_at_the_end_of_a_volume_the_border_slice_stands_in_for_the_missing():
    brighter_upwards = head()
    brighter_upwards.source[:] = np.linspace(-0.9, 1, 40)[:, None, None]
    rng = np.random.default_rng(3)
    for _ in range(60):
        own, before, after = brighter_upwards.crop(1, 0, (64, 64), rng)[0][:3]
        middle = np.median(before), np.median(own), np.median(after)
        assert list(middle) == sorted(middle) and middle[0] < middle[2]


def test_another_choice_of_planes_is_refused():
    with pytest.raises(ValueError, match="options.planes is 'axial', none of one, all"):
        Options(planes="axial")
