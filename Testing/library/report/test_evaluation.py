"""A synthetic volume is scored slice by slice and as a whole, beside the trivial answers."""

from __future__ import annotations

import json
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from textured_head import head, volume

from MambaSynthLib.errors import RequestError, VolumeError
from MambaSynthLib.image.metrics import slice_scores
from MambaSynthLib.image.volume import Volume, array_axis, check_same_grid
from MambaSynthLib.report.evaluation import Evaluation, evaluate

SHARED = Path(__file__).resolve().parents[3] / "../shared"
REGISTERED = SHARED / "data/brain_t1_t2/registered_1mm/patient07"


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
    names = ["synthetic", "source itself", "source inverted", "best linear map of source",
             "target shifted 1 px", "target shifted 2 px"]  # fmt: skip
    assert [row.name for row in evaluation.rows] == names
    synthetic, itself, flipped, fitted = evaluation.rows[:4]
    assert flipped.volume.mse < 0.02 < synthetic.volume.mse < itself.volume.mse
    assert itself.volume.mse == pytest.approx(4, abs=0.02)  # correlation -1, but for the clipping
    assert fitted.volume.mse == pytest.approx(flipped.volume.mse)  # two linear maps of one image


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
    assert [line.count("|") for line in lines[2:]] == [14] * 8
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
    itself, flipped, fitted = (
        score(name, evaluation)
        for name in ("source itself", "source inverted", "best linear map of source")
    )
    assert fitted.mse < flipped.mse < itself.mse
    assert fitted.ssim > flipped.ssim > itself.ssim
    assert 1 < flipped.volume.nmi < 2
