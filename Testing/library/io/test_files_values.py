"""Reading image files: right values in the right place, whatever the format and the numbers.

Rows A1 to A11, A20, A28 to A30 of the table of nasty inputs. Fixtures are made with nibabel
and SimpleITK; geometry is checked against whichever of the two did not make the file, or by hand.
"""

import gzip
import os
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from MambaSynthLib.io.files import read_volume, sha256_of
from Testing.library.image_files import (
    OBLIQUE,
    SUFFIXES,
    VALUES,
    affine_of,
    itk_affine,
    itk_file,
    nifti_file,
    plain,
    refused,
    rotation,
)

posix = pytest.mark.skipif(os.name == "nt", reason="pipes, links and modes of POSIX")


AFFINES = {
    "oblique": OBLIQUE,
    "doubly oblique, near a half turn": affine_of(rotation(5, 3, 180)),
    "anisotropic": affine_of(np.eye(3), (0.3, 0.3, 9.0)),
    **{f"flipped {axis}": affine_of(np.diag([1 - 2 * (axis == a) for a in range(3)]))
       for axis in range(3)},
}  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
def test_values_and_geometry_are_what_the_other_library_wrote(tmp_path, suffix, affine):
    write = nifti_file if "nii" in suffix else itk_file
    path = write(tmp_path / f"x{suffix}", affine=affine)
    volume = read_volume(path)
    assert np.array_equal(volume.array, VALUES)
    assert np.allclose(volume.affine, affine, atol=1e-5)
    assert np.allclose(volume.affine, itk_affine(path), atol=1e-4)
    assert volume.notes == () and volume.name == path.name


@pytest.mark.parametrize("suffix", [".nii", ".nrrd"])
def test_all_48_storage_orders_of_one_head_place_each_voxel_alike(tmp_path, suffix):
    corner = np.argwhere(VALUES == VALUES.max())[0]
    truth = OBLIQUE @ (*corner, 1)
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        stored = VALUES.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
        to_first = np.zeros((4, 4))
        to_first[3, 3] = 1
        for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
            to_first[source, axis] = sign
            to_first[source, 3] = 0 if sign > 0 else VALUES.shape[source] - 1
        write = nifti_file if suffix == ".nii" else itk_file
        volume = read_volume(write(tmp_path / f"x{suffix}", stored, OBLIQUE @ to_first))
        found = np.argwhere(volume.array == VALUES.max())[0]
        assert np.allclose(volume.affine @ (*found, 1), truth, atol=1e-4)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
def test_every_real_type_in_both_byte_orders_is_exact(tmp_path, dtype, order):
    values = np.arange(VALUES.size).reshape(VALUES.shape) % 120
    stored = values.astype(order + dtype)
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(stored.dtype)
    path = tmp_path / "x.nii"
    nibabel.Nifti1Image(stored, OBLIQUE, header).to_filename(path)
    assert np.array_equal(read_volume(path).array, values)
    for suffix in (".nrrd", ".mha"):
        itk_file(tmp_path / f"x{suffix}", values.astype(dtype))
        assert np.array_equal(read_volume(tmp_path / f"x{suffix}").array, values)


def test_whole_numbers_too_large_for_float32_are_noted(tmp_path):
    values = np.full((4, 4, 4), 2**24 + 1, dtype=np.int64)
    image = nibabel.Nifti1Image(values, OBLIQUE, dtype="int64")
    image.to_filename(tmp_path / "x.nii")
    assert any(note.startswith("rounded") for note in read_volume(tmp_path / "x.nii").notes)


def test_nifti_2_and_header_extensions_are_read(tmp_path):
    path = nifti_file(tmp_path / "two.nii.gz", kind=nibabel.Nifti2Image)
    assert np.array_equal(read_volume(path).array, VALUES)
    image = nibabel.Nifti1Image(VALUES, OBLIQUE)
    for size in (5, 4000):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"x" * size))
    image.to_filename(tmp_path / "extended.nii")
    volume = read_volume(tmp_path / "extended.nii")
    assert np.array_equal(volume.array, VALUES) and volume.notes == ()


@pytest.mark.parametrize(
    "slope, intercept, expected",
    [(0.5, 0, lambda v: v * 0.5), (2, -3, lambda v: v * 2 - 3), (0, 7, lambda v: v)],
)
def test_rescaling_follows_the_standard(tmp_path, slope, intercept, expected):
    values = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
    path = plain(tmp_path, (112, "<ff", slope, intercept), values=values)
    volume = read_volume(path)
    assert np.array_equal(volume.array, expected(values.astype(np.float64)))
    assert volume.notes == ()


@pytest.mark.parametrize("slope, intercept", [(np.nan, 0), (np.inf, 0), (2, np.nan), (1, -np.inf)])
def test_rescaling_by_what_is_no_number_is_left_out_and_noted(tmp_path, slope, intercept):
    values = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
    volume = read_volume(plain(tmp_path, (112, "<ff", slope, intercept), values=values))
    assert np.array_equal(volume.array, values)
    assert [note.split(":")[0] for note in volume.notes] == ["not rescaled"]


def test_a_trailing_dimension_of_one_and_a_single_slice_are_fine(tmp_path):
    path = nifti_file(tmp_path / "x.nii", VALUES[..., None, None])
    assert np.array_equal(read_volume(path).array, VALUES)
    path = nifti_file(tmp_path / "y.nii", VALUES[:, :, :1])
    assert read_volume(path).shape == (5, 6, 1)


@posix
def test_upper_case_and_odd_names_are_read(tmp_path):
    for name in ("X.NII.GZ", "Kopf ü 頭.nii", "-x.nii", "a b.nrrd", "two\nlines.MHA"):
        write = nifti_file if "nii" in name.lower() else itk_file
        made = write(tmp_path / f"made{Path(name.lower().removesuffix('.gz')).suffix}")
        content = made.read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(content) if "GZ" in name else content)
        volume = read_volume(tmp_path / name)
        assert np.array_equal(volume.array, VALUES) and "\n" not in volume.name
    sentence = refused(tmp_path / "no\nsuch.nii", "does not exist")
    assert "no\\nsuch.nii" in sentence


def test_exactly_the_file_asked_for_is_read(tmp_path):
    nifti_file(tmp_path / "x.nii", VALUES)
    nifti_file(tmp_path / "x.nii.gz", VALUES + 1)
    assert np.array_equal(read_volume(tmp_path / "x.nii").array, VALUES)
    assert np.array_equal(read_volume(tmp_path / "x.nii.gz").array, VALUES + 1)
    (tmp_path / "x.nii").unlink()
    refused(tmp_path / "x.nii", "does not exist")


def test_gzip_in_several_members_is_read(tmp_path):
    content = nifti_file(tmp_path / "x.nii").read_bytes()
    parts = [content[:100], content[100:700], content[700:]]
    (tmp_path / "y.nii.gz").write_bytes(b"".join(gzip.compress(part) for part in parts))
    assert np.array_equal(read_volume(tmp_path / "y.nii.gz").array, VALUES)


# ---- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_counted_and_refused_or_set_to_zero(tmp_path, suffix, bad):
    values = VALUES.copy()
    values[1, 2, 3:6] = bad
    write = nifti_file if suffix == ".nii" else itk_file
    path = write(tmp_path / f"x{suffix}", values)
    assert "--nan-as-zero" in refused(path, "holds 3 voxels")
    volume = read_volume(path, nan_as_zero=True)
    assert np.array_equal(volume.array, np.where(np.isfinite(values), values, 0))
    assert volume.notes[0].startswith("set to zero: 3 voxels")


def test_numbers_beyond_float32_count_as_infinite(tmp_path):
    values = VALUES.astype(np.float64)
    values[0, 0, 0] = 1e300
    refused(nifti_file(tmp_path / "x.nii", values), "holds 1 voxels")


def test_several_volumes_and_colors_are_refused(tmp_path):
    refused(nifti_file(tmp_path / "x.nii", np.stack([VALUES] * 2, -1)), "one 3-D volume")
    refused(nifti_file(tmp_path / "x.nii", np.stack([VALUES[..., None]] * 3, -1)), "one 3-D")
    image = sitk.GetImageFromArray(np.stack([VALUES.T] * 3, -1), isVector=True)
    for suffix in (".nrrd", ".mha", ".nii"):
        sitk.WriteImage(image, str(tmp_path / f"v{suffix}"))
        refused(tmp_path / f"v{suffix}", "one 3-D|channels")


def test_the_hash_is_of_the_voxels_whatever_the_format(tmp_path):
    hashes = {sha256_of(nifti_file(tmp_path / name)) for name in ("x.nii", "x.nii.gz")}
    hashes |= {sha256_of(itk_file(tmp_path / name)) for name in ("x.nrrd", "x.mha")}
    hashes |= {sha256_of(read_volume(tmp_path / "x.nii"))}
    assert len(hashes) == 1
    changed = VALUES.copy()
    changed[0, 0, 0] = np.nextafter(changed[0, 0, 0], np.float32(np.inf))
    assert sha256_of(nifti_file(tmp_path / "y.nii", changed)) not in hashes
    reshaped = VALUES.reshape(5, 7, 6)
    assert sha256_of(nifti_file(tmp_path / "y.nii", reshaped)) not in hashes
