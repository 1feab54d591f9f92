"""Scores are checked against identities, direct library calls and known directions of change."""

from __future__ import annotations

import json
import math
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import skimage.metrics
from scipy import ndimage

from MambaSynthLib.errors import RequestError, VolumeError
from MambaSynthLib.metrics import (
    Evaluation,
    array_axis,
    check_same_grid,
    evaluate,
    foreground,
    inverted,
    psnr_raw,
    slice_scores,
    volume_scores,
    z_score,
)
from MambaSynthLib.volume import Volume

SHARED = Path(__file__).resolve().parents[2] / "../shared"
REGISTERED = SHARED / "data/brain_t1_t2/registered_1mm/patient07"
RNG = np.random.default_rng(7)


def head(shape=(40, 48, 30), seed=0) -> np.ndarray:
    """An ellipsoid of smooth texture on a background of 0, different in every octant."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    texture = ndimage.gaussian_filter(noise, 2)
    radius = sum(np.linspace(-1, 1, n).reshape(s) ** 2 for n, s in zip(shape, AXES, strict=True))
    return np.where(radius < 0.7, 100 + 40 * texture / texture.std(), 0).clip(0)


AXES = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


def volume(array, name="volume", affine=None) -> Volume:
    return Volume(array, np.diag([1, 1, 2, 1]) if affine is None else affine, name)


def brain_slice() -> np.ndarray:
    """(192,192) in -1..1, like a T2w slice: dark outside, folded texture, bright ventricles."""
    noise = np.random.default_rng(3).standard_normal((192, 192))
    folds = ndimage.gaussian_filter(noise, 1.6)
    y, x = np.mgrid[-1:1:192j, -1:1:192j]
    brain = (x / 0.7) ** 2 + (y / 0.85) ** 2 < 1
    ventricles = ((abs(x) - 0.12) / 0.08) ** 2 + (y / 0.25) ** 2 < 1
    bright = np.where(ventricles, 0.95, (0.4 + 0.12 * folds / folds.std()).clip(0.05, 1))
    return 2 * ndimage.gaussian_filter(np.where(brain, bright, 0), 0.4) - 1


# --- one slice ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, -1.0])
def test_mse_of_z_scores_is_twice_one_minus_the_correlation(weight):
    a = RNG.standard_normal((50, 60))
    b = weight * a + (1 - abs(weight)) * RNG.standard_normal((50, 60))
    expected = 2 * (1 - np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert slice_scores(a, b).mse == pytest.approx(expected, abs=1e-12)


def test_an_image_equals_itself_perfectly():
    scores = slice_scores(brain_slice(), brain_slice())
    assert scores.ssim == pytest.approx(1)
    assert scores.nmi == pytest.approx(2)
    assert scores.mse == 0
    assert math.isinf(scores.psnr)


def test_nmi_is_the_entropy_ratio_of_a_100_by_100_histogram():
    a, b = brain_slice(), ndimage.gaussian_filter(brain_slice(), 1)
    joint = np.histogram2d(a.ravel(), b.ravel(), bins=100)[0] / a.size

    def entropy(p):
        return -np.sum(p[p > 0] * np.log(p[p > 0]))

    expected = (entropy(joint.sum(0)) + entropy(joint.sum(1))) / entropy(joint)
    assert slice_scores(a, b).nmi == pytest.approx(expected, abs=1e-3)


def test_nmi_of_unrelated_images_approaches_one():
    a, b = RNG.standard_normal((2, 1000, 1000))
    assert slice_scores(a, b).nmi == pytest.approx(1, abs=0.002)


def test_ssim_is_scikit_images_default_on_z_scores_with_the_references_range():
    a, b = brain_slice(), ndimage.shift(brain_slice(), (1, 2), mode="nearest")
    za, zb = (a - np.mean(a)) / np.std(a), (b - np.mean(b)) / np.std(b)
    span = zb.max() - zb.min()
    scores = slice_scores(a, b)
    expected = skimage.metrics.structural_similarity(za, zb, data_range=span)
    assert scores.ssim == pytest.approx(expected, abs=1e-12)
    assert scores.psnr == pytest.approx(10 * np.log10(span**2 / np.mean((za - zb) ** 2)))


def test_a_gain_and_an_offset_change_no_score():
    a, b = brain_slice(), ndimage.gaussian_filter(brain_slice(), 1)
    plain, scaled = slice_scores(b, a), slice_scores(830 * b + 12, 0.2 * a - 5)
    for name in ("ssim", "psnr", "mse"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name), rel=1e-9)
    assert scaled.nmi == pytest.approx(plain.nmi, abs=1e-4)  # a voxel may round to the next bin


def test_perturbations_rank_as_measured_on_real_t2w_slices():
    """Published T2w slices gave SSIM 1, .977, .954, .827 for a gain, a gamma, a blur, a shift."""
    r = brain_slice()
    perturbed = {
        "gain": 0.8 * r,
        "gamma": 2 * ((r + 1) / 2).clip(0) ** 0.8 - 1,
        "blur": ndimage.gaussian_filter(r, 1),
        "shift": np.roll(r, 2, axis=1),
    }
    scores = [slice_scores(y, r) for y in perturbed.values()]
    ssim, nmi, mse = ([getattr(s, name) for s in scores] for name in ("ssim", "nmi", "mse"))
    assert ssim == sorted(ssim, reverse=True)
    assert ssim == pytest.approx([1.0, 0.977, 0.954, 0.827], abs=0.15)
    assert nmi == sorted(nmi, reverse=True)
    assert mse == sorted(mse) and mse[3] > 5 * mse[2]


def test_noise_costs_more_ssim_than_a_blur_although_its_error_is_smaller():
    r = brain_slice()
    noisy = r + np.random.default_rng(0).normal(0, 0.03, r.shape)
    noise, blur = slice_scores(noisy, r), slice_scores(ndimage.gaussian_filter(r, 1), r)
    assert noise.ssim < blur.ssim - 0.03
    assert noise.mse < blur.mse


@pytest.mark.parametrize("level", [0.0, 1e6, -0.1])
def test_a_constant_slice_has_no_score(level):
    flat = np.full((20, 20), level, np.float32)
    assert slice_scores(flat, brain_slice()[:20, :20]) is None
    assert slice_scores(brain_slice()[80:100, 80:100], flat) is None


def test_a_slice_smaller_than_the_window_has_no_ssim_but_other_scores():
    scores = slice_scores(*RNG.standard_normal((2, 6, 40)))
    assert math.isnan(scores.ssim) and math.isfinite(scores.mse)


# --- one volume --------------------------------------------------------------------------------


def test_z_scores_have_mean_zero_and_population_std_one_inside_the_mask():
    array = head()
    inside = z_score(array, array > 0)[array > 0]
    assert (inside.mean(), inside.std()) == pytest.approx((0, 1), abs=1e-9)


def test_masked_psnr_nmi_and_mse_ignore_voxels_outside_the_mask():
    r, mask = head(), head() > 0
    y = r + RNG.standard_normal(r.shape)
    elsewhere = np.where(mask, y, 1e4)
    inside, other = volume_scores(y, r, mask), volume_scores(elsewhere, r, mask)
    assert (inside.psnr, inside.nmi, inside.mse) == (other.psnr, other.nmi, other.mse)
    correlation = np.corrcoef(y[mask], r[mask])[0, 1]
    assert inside.mse == pytest.approx(2 * (1 - correlation))


def test_masked_ssim_averages_the_similarity_map_over_the_mask():
    r, mask = head(), head() > 0
    y = ndimage.gaussian_filter(r, 1)
    zy, zr = ((x - x[mask].mean()) / x[mask].std() for x in (y, r))
    span = np.ptp(zr[mask])
    full = skimage.metrics.structural_similarity(zy, zr, data_range=span, full=True)[1]
    assert volume_scores(y, r, mask).ssim == pytest.approx(full[mask].mean(), abs=1e-12)


def test_raw_psnr_sees_the_gain_that_the_z_scored_one_ignores():
    r, mask = head(), head() > 0
    expected = 20 * np.log10(np.ptp(r[mask]) / np.sqrt(np.mean((0.5 * r[mask]) ** 2)))
    assert psnr_raw(0.5 * r, r, mask) == pytest.approx(expected)
    assert volume_scores(0.5 * r, r, mask).psnr > 200


def test_a_volume_constant_inside_the_mask_has_no_score():
    mask = head() > 0
    assert volume_scores(np.where(mask, 5, 0), head(), mask) is None


def test_the_foreground_is_what_differs_from_the_border():
    array = np.full((9, 9, 9), -3.0)
    array[3:6, 3:6, 3:6] = 7
    array[0, 0, 0] = 1  # a stray border voxel is not the background
    assert foreground(array).sum() == 28 and foreground(array)[4, 4, 4]


def test_inversion_flips_inside_the_mask_between_the_same_extremes():
    array = np.array([[[0.0, 10, 30, 50]]])
    assert inverted(array, array > 0).tolist() == [[[0, 50, 30, 10]]]


# --- volumes and rows --------------------------------------------------------------------------


def score(name: str, evaluation: Evaluation):
    return next(row for row in evaluation.rows if row.name == name)


def test_the_slice_scores_are_means_over_the_slices_that_meet_the_mask():
    r = head()
    y = ndimage.gaussian_filter(r, 1)
    row = score("synthetic", evaluate(volume(y), volume(r)))
    kept = [k for k in range(30) if (r[..., k] != 0).mean() >= 0.01]
    singles = [slice_scores(np.float32(y)[..., k], np.float32(r)[..., k]) for k in kept]
    assert (row.n_slices, row.n_skipped, row.n_outside) == (len(kept), 0, 30 - len(kept))
    assert 0 < row.n_outside < 30
    for name in ("ssim", "psnr", "nmi", "mse"):
        assert getattr(row, name) == pytest.approx(np.mean([getattr(s, name) for s in singles]))


def test_constant_slices_are_left_out_and_counted():
    y = head()
    y[..., 14:17] = 3
    row = score("synthetic", evaluate(volume(y), volume(head())))
    assert row.n_skipped == 3
    assert row.mse < 1e-9 and row.n_slices + row.n_skipped + row.n_outside == 30


def test_trivial_baselines_stand_beside_the_synthetic_image():
    t2, mask = head(), head() > 0
    t1 = np.where(mask, 300 - t2, 0)  # its inversion is the target up to gain and offset
    blurred = volume(ndimage.gaussian_filter(t2, 1))
    evaluation = evaluate(blurred, volume(t2), source=volume(t1))
    names = ["synthetic", "source itself", "source inverted inside the mask"]
    assert [row.name for row in evaluation.rows] == names
    synthetic, itself, flipped = evaluation.rows
    assert flipped.volume.mse < 1e-6 < synthetic.volume.mse < itself.volume.mse
    assert itself.volume.mse == pytest.approx(4)  # correlation -1


def test_a_given_mask_replaces_the_default_one():
    mask = np.zeros(head().shape)
    mask[10:30, 10:30, 12:20] = 1
    evaluation = evaluate(volume(head(seed=1)), volume(head()), mask=volume(mask))
    assert evaluation.n_mask_voxels == 20 * 20 * 8
    assert score("synthetic", evaluation).n_slices == 8


@pytest.mark.parametrize(("n_pixels", "n_slices"), [(20, 9), (19, 8)])
def test_slices_with_less_than_a_hundredth_of_mask_are_left_out(n_pixels, n_slices):
    mask = np.zeros(head().shape)  # 1920 pixels a slice
    mask[10:30, 10:30, 12:20] = 1
    mask[10, 10 : 10 + n_pixels, 10] = 1
    row = score("synthetic", evaluate(volume(head(seed=1)), volume(head()), mask=volume(mask)))
    assert (row.n_slices, row.n_outside) == (n_slices, 30 - n_slices)


ORIENTATIONS = ["".join(c) for p in permutations(("LR", "PA", "IS")) for c in product(*p)]


@pytest.mark.parametrize("codes", ORIENTATIONS[::5])
def test_scores_do_not_depend_on_the_order_of_the_array_axes(codes):
    def turned(array) -> Volume:
        steps = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
        )
        affine = np.diag([1.0, 1, 2, 1]) @ nib.orientations.inv_ornt_aff(steps, array.shape)
        return Volume(nib.orientations.apply_orientation(array, steps), affine)

    r = head()
    y = ndimage.gaussian_filter(r, (0, 1, 2))
    plain = evaluate(volume(y), volume(r), source=volume(r)).rows[0]
    other = evaluate(turned(y), turned(r), source=turned(r)).rows[0]
    assert turned(r).axis_codes == codes
    assert other.n_slices == plain.n_slices
    for name in ("ssim", "psnr", "nmi", "mse"):
        assert getattr(other, name) == pytest.approx(getattr(plain, name), rel=1e-9)
        assert getattr(other.volume, name) == pytest.approx(getattr(plain.volume, name), rel=1e-6)


def test_slices_are_cut_across_the_patient_axis_asked_for():
    r = volume(head())
    counts = {}
    for code in "LRPAIS":
        row = evaluate(r, r, slice_axis_code=code).rows[0]
        counts[code] = row.n_slices + row.n_outside
    assert counts == {"L": 40, "R": 40, "P": 48, "A": 48, "I": 30, "S": 30}


def test_the_table_is_markdown_and_the_dict_is_json():
    r = volume(head(), "t2.nii.gz")
    evaluation = evaluate(r, r, source=volume(head(seed=2)))
    lines = evaluation.to_table().splitlines()
    assert "t2.nii.gz" in lines[0]
    assert [line.count("|") for line in lines[2:]] == [14] * 5
    assert len({len(line) for line in lines[2:]}) == 1
    assert "inf" in lines[4] and lines[4].split("|")[4].strip() == "2.0000"
    back = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert back["rows"][0]["psnr"] is None and back["rows"][0]["mse"] == 0
    assert back["rows"][1]["volume"]["mse"] == evaluation.rows[1].volume.mse


def test_values_that_were_not_computed_are_a_dash():
    flat = np.where(head() > 0, 1, 0)
    row = evaluate(volume(flat), volume(head())).to_table().splitlines()[-1]
    assert [cell.strip() for cell in row.split("|")[9:13]] == ["-"] * 4


# --- what is refused ---------------------------------------------------------------------------


def test_other_shapes_are_refused_by_both_names():
    with pytest.raises(VolumeError, match=r"synthetic\.nii.*reference\.nii.*resample"):
        evaluate(volume(head()[1:], "synthetic.nii"), volume(head(), "reference.nii"))


def test_a_grid_more_than_a_thousandth_of_a_millimetre_away_is_refused():
    near, far = np.diag([1.0, 1, 2, 1]), np.diag([1.0, 1, 2, 1])
    near[0, 3], far[0, 3] = 0.0009, 0.0011
    check_same_grid(volume(head(), affine=near), volume(head()))
    with pytest.raises(VolumeError, match=r"moved .*fixed .*0\.0011 mm"):
        check_same_grid(volume(head(), "moved ", affine=far), volume(head(), "fixed "))


def test_a_spacing_error_is_measured_at_the_far_corner():
    stretched = np.diag([1 + 1e-4, 1, 2, 1])
    with pytest.raises(VolumeError, match=r"0\.0039 mm"):
        check_same_grid(volume(head(), affine=stretched), volume(head()))


@pytest.mark.parametrize("bad", ["source", "mask"])
def test_the_grids_of_source_and_mask_are_checked_too(bad):
    with pytest.raises(VolumeError, match="cropped"):
        evaluate(volume(head()), volume(head()), **{bad: volume(head()[1:], "cropped")})


def test_an_empty_mask_is_refused():
    empty = volume(np.zeros(head().shape), "empty mask")
    with pytest.raises(VolumeError, match="empty mask: no voxel"):
        evaluate(volume(head()), volume(head()), mask=empty)
    with pytest.raises(VolumeError, match="blank: no voxel"):
        evaluate(volume(head()), volume(np.zeros(head().shape), "blank"))


def test_images_that_do_not_overlap_the_mask_are_refused():
    mask = np.zeros(head().shape)
    mask[..., 0] = 1  # only air there
    with pytest.raises(VolumeError, match=r"y\.nii: none of 30 slices.*1 of them meet the mask"):
        evaluate(volume(head(), "y.nii"), volume(head()), mask=volume(mask))


def test_nan_is_refused_with_its_count():
    y = head()
    y[:2, 0, 0] = np.nan
    with pytest.raises(VolumeError, match=r"y\.nii: 2 voxels"):
        evaluate(volume(y, "y.nii"), volume(head()))


@pytest.mark.parametrize("code", ["Z", "", "s", "RAS"])
def test_an_unknown_slice_axis_is_refused(code):
    with pytest.raises(RequestError, match="patient direction"):
        array_axis(volume(head()), code)


# --- real images -------------------------------------------------------------------------------


@pytest.mark.skipif(not REGISTERED.is_dir(), reason="the shared registered brains are not here")
def test_inverting_a_real_t1w_brain_brings_it_nearer_to_its_t2w_image():
    def load(contrast) -> Volume:
        image = nib.load(REGISTERED / f"{contrast}_MNI.nii.gz")
        return Volume(np.asarray(image.dataobj)[:, :, 85:95], image.affine, contrast)

    t1, t2 = load("T1"), load("T2")
    evaluation = evaluate(t1, t2, source=t1)
    assert evaluation.rows[0].mse == evaluation.rows[1].mse
    flipped = score("source inverted inside the mask", evaluation)
    assert flipped.mse < evaluation.rows[0].mse
    assert flipped.ssim > evaluation.rows[0].ssim
    assert 1 < flipped.volume.nmi < 2
