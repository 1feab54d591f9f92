"""Where a NIfTI header contradicts itself about the place of its voxels.

Rows A12 to A19 of the table of nasty inputs.
"""

import nibabel
import numpy as np
import pytest

from MambaSynthLib.io.files import read_volume
from Testing.library.image_files import (
    OBLIQUE,
    affine_of,
    itk_affine,
    nifti_file,
    patched,
    plain,
    refused,
    rotation,
)


def test_qform_only_and_sform_only(tmp_path):
    for offset in (252, 254):
        volume = read_volume(plain(tmp_path, (offset, "<h", 0)))
        assert np.allclose(volume.affine, OBLIQUE, atol=1e-4) and volume.notes == ()


@pytest.mark.parametrize("codes", [(1, 1), (1, 4), (2, 1)])
def test_qform_and_sform_that_disagree_are_refused_unless_one_is_preferred(tmp_path, codes):
    shift = (280 + 12, "<f", OBLIQUE[0, 3] + 0.01)
    path = plain(tmp_path, shift, (252, "<hh", *codes))
    assert "--prefer" in refused(path, "qform and sform place voxels 0.01 mm apart")
    sform, qform = read_volume(path, prefer="sform"), read_volume(path, prefer="qform")
    assert np.isclose(sform.affine[0, 3] - qform.affine[0, 3], 0.01, atol=1e-4)
    assert np.allclose(qform.affine, OBLIQUE, atol=1e-4)
    assert "the sform was used" in sform.notes[0] and "the qform was used" in qform.notes[0]


def test_a_disagreement_below_a_thousandth_of_a_millimeter_is_rounding(tmp_path):
    path = plain(tmp_path, (280 + 12, "<f", OBLIQUE[0, 3] + 5e-4))
    assert read_volume(path).notes == ()


def test_a_quaternion_near_a_half_turn_is_no_disagreement(tmp_path):
    """float32 cannot hold a half turn plus a little; real scanner files are like that."""
    affine = affine_of(rotation(0.3, 0.2, 180), (1, 1, 1), (200, 200, 200))
    values = np.zeros((200, 200, 30), np.uint8)
    path = nifti_file(tmp_path / "x.nii", values, affine)
    header = nibabel.load(path).header
    corners = (header.get_qform() - header.get_sform()) @ (199, 199, 29, 1)
    assert np.abs(corners).max() > 1e-3, "the case must be one that the plain rule refuses"
    volume = read_volume(path)
    assert np.allclose(volume.affine, affine, atol=1e-4) and volume.notes == ()
    assert abs(header["quatern_c"]) > 1e-3
    refused(patched(path, (260, "<f", 0.0)), "qform and sform")


def test_a_mirrored_qform_is_a_disagreement(tmp_path):
    refused(plain(tmp_path, (76, "<f", -1.0)), "qform and sform")


def test_a_quaternion_rounded_to_a_little_more_than_one_is_a_half_turn(tmp_path):
    quaternion = (256, "<3f", 0, 0, 1.0000002)
    volume = read_volume(plain(tmp_path, quaternion, (254, "<h", 0)))
    assert np.allclose(volume.affine[:3, :3], np.diag([-0.9, -1.1, 3]), atol=1e-6)


def test_a_qfac_of_zero_counts_as_one(tmp_path):
    volume = read_volume(plain(tmp_path, (76, "<f", 0.0), (254, "<h", 0)))
    assert np.allclose(volume.affine, OBLIQUE, atol=1e-4)


def test_no_codes_is_read_as_itk_does_and_noted(tmp_path):
    path = plain(tmp_path, (252, "<hh", 0, 0))
    volume = read_volume(path)
    assert volume.notes[0].startswith("no patient geometry")
    assert np.allclose(volume.affine, itk_affine(path), atol=1e-5)


def sheared(amount):
    affine = affine_of(np.eye(3), (1, 1, 1))
    affine[0, 1] = amount
    return affine


def test_a_slight_shear_is_noted_and_a_gantry_tilt_refused(tmp_path):
    path = nifti_file(tmp_path / "x.nii", affine=sheared(8e-5), qform=False)
    volume = read_volume(path)
    assert volume.notes[0].startswith("slight shear")
    assert np.allclose(volume.affine, sheared(8e-5), atol=1e-6)
    assert read_volume(nifti_file(path, affine=sheared(1e-6), qform=False)).notes == ()
    assert "resample" in refused(nifti_file(path, affine=sheared(2e-4), qform=False), "sheared")


@pytest.mark.parametrize(
    "row", [(0, 0, 0, 0), (np.nan, 0, 0, 0), (0, 1.1, 0, 5), (np.inf, 0, 0, 0)]
)
def test_a_broken_sform_is_refused(tmp_path, row):
    refused(plain(tmp_path, (252, "<h", 0), (280, "<4f", *row)), "affine|voxel size|sheared")
    refused(plain(tmp_path, (280, "<4f", *row)), "qform and sform")
    refused(plain(tmp_path, (280, "<4f", *row)), "affine|voxel size|sheared", prefer="sform")


@pytest.mark.parametrize("quaternion", [(np.nan, 0, 0), (0.9, 0.9, 0)])
def test_a_qform_that_is_no_rotation_is_refused_unless_the_sform_is_preferred(tmp_path, quaternion):
    path = plain(tmp_path, (256, "<3f", *quaternion))
    refused(path, "no rotation")
    volume = read_volume(path, prefer="sform")
    assert np.allclose(volume.affine, OBLIQUE, atol=1e-4)
    assert volume.notes[0].startswith("qform ignored")


@pytest.mark.parametrize("size", [0, -1, np.nan, np.inf, 1e-12, 1e12])
@pytest.mark.parametrize("axis", range(3))
def test_an_impossible_voxel_size_is_refused(tmp_path, size, axis):
    refused(plain(tmp_path, (80 + 4 * axis, "<f", size)), "impossible voxel size")


def test_a_voxel_size_that_contradicts_a_lone_sform_is_noted(tmp_path):
    volume = read_volume(plain(tmp_path, (80, "<f", 2.0), (252, "<h", 0)))
    assert volume.notes[0].startswith("voxel sizes differ")
    assert np.allclose(volume.affine, OBLIQUE, atol=1e-5)


@pytest.mark.parametrize("code, factor", [(1, 1e3), (3, 1e-3)])
def test_meters_and_micrometers_are_converted_and_noted(tmp_path, code, factor):
    stored = OBLIQUE.copy()
    stored[:3] /= factor
    path = plain(tmp_path, (123, "<B", code), affine=stored)
    volume = read_volume(path)
    assert np.allclose(volume.affine, OBLIQUE, atol=1e-4)
    assert volume.notes[0].startswith("unit converted")
