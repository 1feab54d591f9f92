"""What the gate finds without a network."""

import numpy as np
import pytest

from MambaSynthLib.gate.look import coarsened, look_at
from MambaSynthLib.gate.rules import ct, holes, mask_or_labels, noise_around, size
from MambaSynthLib.gate.verdict import examine
from MambaSynthLib.image.volume import Volume
from Testing.analytic_heads import analytic_head
from Testing.nasty.gate_cases import uniform_image


@pytest.fixture(scope="module")
def t1w():
    return analytic_head()["T1w"]


def content(volume):
    return volume.array > look_at(coarsened(volume)).threshold


def changed(volume, change):
    array = np.array(volume.array)
    return volume.with_array(change(array))


@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
@pytest.mark.parametrize("skull", [True, False])
def test_a_computed_head_breaks_no_rule(contrast, skull):
    volume = analytic_head(skull=skull)[contrast]
    shown = content(volume)
    assert mask_or_labels(volume, shown) is None and holes(volume, shown) is None
    assert ct(volume) is None and size(look_at(coarsened(volume)).extent_mm) is None


@pytest.mark.parametrize("values", [2, 5])
def test_few_values_are_a_mask(t1w, values):
    mask = changed(t1w, lambda a: np.floor(np.clip(a / a.max(), 0, 0.99) * values))
    finding = mask_or_labels(mask, content(mask))
    assert finding.sure and "mask or label map, with" in finding.looks


def test_flat_areas_of_many_values_are_a_label_map(t1w):
    blocks = changed(t1w, lambda a: a[::20, ::20, ::8].repeat(20, 0).repeat(20, 1).repeat(8, 2)[
        : a.shape[0], : a.shape[1], : a.shape[2]])  # fmt: skip
    finding = mask_or_labels(blocks, content(blocks))
    assert finding.sure and "label map or a drawing, with" in finding.looks


def test_eight_bits_are_no_label_map(t1w):
    volume = changed(t1w, lambda a: np.rint(a / a.max() * 255))
    assert mask_or_labels(volume, content(volume)) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_empty_slices_inside_are_found_and_named(t1w, axis):
    middle = t1w.shape[axis] // 2

    def empty(array):
        np.moveaxis(array, axis, 0)[middle : middle + 2] = 0
        return array

    volume = changed(t1w, empty)
    finding = holes(volume, content(volume))
    assert finding.sure and f"has 2 empty slices inside (array axis {axis + 1}: {middle}," in (
        finding.looks
    )


def test_empty_slices_at_the_ends_are_no_hole(t1w):
    def cut(array):
        array[:, :, :6] = array[:, :, -4:] = 0
        return array

    volume = changed(t1w, cut)
    assert holes(volume, content(volume)) is None


@pytest.mark.parametrize("extent", [(15.0, 20.0, 18.0), (1500.0, 2000.0, 1800.0), (60, 55, 52)])
def test_the_size_of_no_head_is_refused_with_its_measures(extent):
    finding = size(extent)
    assert finding.sure and f"{extent[0]:.3g} x {extent[1]:.3g}" in finding.looks
    assert "correct the voxel size" in finding.remedy


def test_a_thin_part_of_a_head_is_doubtful():
    finding = size((150.0, 190.0, 30.0))
    assert not finding.sure and "thin part" in finding.looks


def test_hounsfield_units_are_ct(t1w):
    volume = changed(t1w, lambda a: np.where(a > a.mean() / 2, a / 20, -1000))
    assert ct(volume).sure
    assert ct(Volume(volume.array + 1000, t1w.affine)) is None


def test_the_uniform_image_of_mp2rage_is_named_and_what_to_give_in_its_place(t1w):
    verdict = examine(uniform_image(t1w), "T1w")
    assert verdict.answer == "refused"
    assert "(UNI)" in verdict.sentence() and "give the denoised one (UNI-DEN)" in verdict.sentence()


def test_the_same_image_times_the_second_inversions_is_a_head(t1w):
    uniform = uniform_image(t1w)
    signal = t1w.array > 0.03 * t1w.array.max()
    noise = 0.05 * np.random.default_rng(1).standard_normal(signal.shape)
    volume = uniform.with_array(uniform.array * np.abs(signal + noise).astype(np.float32))
    assert noise_around(volume) is None and examine(volume, "T1w").answer == "fits"


def test_noise_alone_is_no_mp2rage(t1w):
    noise = np.random.default_rng(0).normal(100, 30, t1w.shape).astype(np.float32)
    assert noise_around(t1w.with_array(noise)) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_no_mp2rage(t1w, axis):
    middle = t1w.shape[axis] // 2
    part = np.take(t1w.array, [middle], axis)
    noisy = part + 30 * np.random.default_rng(0).standard_normal(part.shape).astype(np.float32)
    assert noise_around(Volume(noisy, t1w.affine)) is None
