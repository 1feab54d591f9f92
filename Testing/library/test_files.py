"""Reading image files: right values in the right place, or one sentence that says why not.

The rows A1 to A30 and A35 of the table of nasty inputs. Fixtures are made with nibabel and
SimpleITK; geometry is checked against whichever of the two did not make the file, or by hand.
"""

import gzip
import os
import struct
import zlib
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from MambaSynthLib.errors import FileError
from MambaSynthLib.io import payload
from MambaSynthLib.io.files import read_marks, read_volume, sha256_of

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
VALUES = np.random.default_rng(1).normal(100, 30, (5, 6, 7)).astype(np.float32)
FLIP_XY = np.diag([-1.0, -1, 1, 1])  # LPS <-> RAS

posix = pytest.mark.skipif(os.name == "nt", reason="pipes, links and modes of POSIX")


def rotation(x_degrees, y_degrees=0.0, z_degrees=0.0):
    turn = np.eye(3)
    for axis, degrees in enumerate((x_degrees, y_degrees, z_degrees)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        step = np.eye(3)
        step[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
        turn = step @ turn
    return turn


def affine_of(turn, sizes=(0.9, 1.1, 3.0), origin=(-80.5, 12.25, 40.0)):
    affine = np.eye(4)
    affine[:3, :3] = turn * sizes
    affine[:3, 3] = origin
    return affine


OBLIQUE = affine_of(rotation(13.7, -4, 2))


def nifti_file(path, values=VALUES, affine=OBLIQUE, kind=nibabel.Nifti1Image, qform=True):
    image = kind(values, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine if qform else None, int(qform))
    image.to_filename(path)
    return path


def patched(path, *changes):
    """Overwrite header bytes: (offset, struct format, value, ...)."""
    data = bytearray(path.read_bytes())
    for offset, form, *values in changes:
        struct.pack_into(form, data, offset, *values)
    path.write_bytes(data)
    return path


def plain(folder, *changes, **options):
    return patched(nifti_file(folder / "x.nii", **options), *changes)


def itk_file(path, values=VALUES, affine=OBLIQUE, compressed=False):
    lps = FLIP_XY @ affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(values.T)
    image.SetSpacing(sizes.tolist())
    image.SetDirection((lps[:3, :3] / sizes).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path), useCompression=compressed)
    return path


def itk_affine(path):
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return FLIP_XY @ affine


def refused(path, match, **options):
    with pytest.raises(FileError, match=match) as caught:
        read_volume(path, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence and str(Path(path).parent) + os.sep not in sentence
    return sentence


# ---- what works -------------------------------------------------------------------------------

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"]
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


# ---- geometry in doubt ------------------------------------------------------------------------


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


# ---- NRRD and MetaImage ------------------------------------------------------------------------

NRRD = {
    "type": "float",
    "dimension": "3",
    "sizes": "5 6 7",
    "space": "left-posterior-superior",
    "space directions": "(2,0,0) (0,3,0) (0,0,4)",
    "space origin": "(10,20,30)",
    "endian": "little",
    "encoding": "raw",
}
MHA = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "10 20 30",
    "ElementSpacing": "2 3 4",
    "DimSize": "5 6 7",
    "ElementType": "MET_FLOAT",
    "ElementDataFile": "LOCAL",
}
DATA = VALUES.tobytes(order="F")


def text_header(path, first, form, fields, changes, data, end=""):
    last = {"ElementDataFile": fields["ElementDataFile"]} if fields is MHA else {}
    fields = {key: fields[key] for key in fields if key not in last} | changes
    fields |= {key: fields.pop(key, value) for key, value in last.items()}
    lines = [form.format(key, value) for key, value in fields.items() if value is not None]
    path.write_bytes(("\n".join([*first, *lines]) + "\n" + end).encode() + data)
    return path


def nrrd_file(path, data=DATA, **changes):
    changes = {key.replace("_", " "): value for key, value in changes.items()}
    return text_header(path, ["NRRD0004"], "{}: {}", NRRD, changes, data, "\n")


def mha_file(path, data=DATA, **changes):
    return text_header(path, [], "{} = {}", MHA, changes, data)


@pytest.mark.parametrize(
    "space, signs",
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("LAS", (-1, 1, 1)),
    ],
)
def test_each_nrrd_space_becomes_ras(tmp_path, space, signs):
    path = nrrd_file(tmp_path / "x.nrrd", space=space)
    volume = read_volume(path)
    assert np.allclose(volume.affine, np.diag([*signs, 1]) @ [
        [2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])  # fmt: skip
    assert np.allclose(volume.affine, itk_affine(path))
    assert np.array_equal(volume.array, VALUES) and volume.notes == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"space": None},
        {"space": "3D-right-handed"},
        {"space origin": None},
        {"space": None, "space directions": None, "space origin": None, "spacings": "2 3 4"},
    ],
)
def test_nrrd_without_patient_space_is_noted(tmp_path, changes):
    changes = {key.replace(" ", "_"): value for key, value in changes.items()}
    volume = read_volume(nrrd_file(tmp_path / "x.nrrd", **changes))
    assert volume.notes[0].startswith("no patient geometry")
    assert np.allclose(volume.spacing, (2, 3, 4))
    assert np.array_equal(volume.array, VALUES)


def test_big_endian_and_gzip_and_units_of_nrrd(tmp_path):
    path = tmp_path / "x.nrrd"
    swapped = VALUES.astype(">f4").tobytes(order="F")
    assert np.array_equal(read_volume(nrrd_file(path, swapped, endian="big")).array, VALUES)
    nrrd_file(path, gzip.compress(DATA), encoding="gzip")
    assert np.array_equal(read_volume(path).array, VALUES)
    volume = read_volume(nrrd_file(path, space_units='"um" "um" "um"'))
    assert np.allclose(volume.spacing, (2e-3, 3e-3, 4e-3))
    assert volume.notes[0].startswith("unit converted")


def test_axes_of_size_one_beside_the_three_of_space_are_dropped(tmp_path):
    vectors = NRRD["space directions"]
    for sizes, directions in (("1 5 6 7", "none " + vectors), ("5 6 7 1", vectors + " none")):
        path = nrrd_file(
            tmp_path / "x.nrrd", sizes=sizes, dimension="4", space_directions=directions
        )
        assert np.array_equal(read_volume(path).array, VALUES)
    mha_file(
        path.with_suffix(".mha"),
        NDims="4",
        DimSize="5 6 7 1",
        Offset="10 20 30 0",
        ElementSpacing="2 3 4 1",
        TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
    )
    assert np.array_equal(read_volume(path.with_suffix(".mha")).array, VALUES)


def test_compressed_and_big_endian_metaimages(tmp_path):
    path = tmp_path / "x.mha"
    swapped = VALUES.astype(">f4").tobytes(order="F")
    mha_file(path, swapped, BinaryDataByteOrderMSB="True")
    assert np.array_equal(read_volume(path).array, VALUES)
    itk_file(path, compressed=True)
    assert np.array_equal(read_volume(path).array, VALUES)
    assert np.allclose(read_volume(path).affine, OBLIQUE)


def test_a_metaimage_without_position_is_noted(tmp_path):
    for missing in ("TransformMatrix", "Offset"):
        volume = read_volume(mha_file(tmp_path / "x.mha", **{missing: None}))
        assert volume.notes[0].startswith("no patient geometry")
        assert np.allclose(volume.spacing, (2, 3, 4))


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"type": "block"}, "real numbers"),
        ({"type": "complex"}, "real numbers"),
        ({"type": None}, "real numbers"),
        ({"sizes": "5 6"}, "dimensions"),
        ({"sizes": "5 6 0"}, "impossible size"),
        ({"sizes": "5 6 -7"}, "impossible size"),
        ({"sizes": "5 6 7.5"}, "sizes"),
        ({"sizes": "5 6 nan"}, "sizes"),
        ({"sizes": "5 6 inf"}, "sizes"),
        ({"sizes": "five 6 7"}, "no numbers"),
        ({"sizes": None}, "no numbers"),
        ({"sizes": "5 6 8"}, "truncated"),
        ({"sizes": "5 6 6"}, "one slice more"),
        ({"sizes": "32767 32767 32767"}, "more than"),
        ({"encoding": "ascii"}, "encoding"),
        ({"encoding": None}, "encoding"),
        ({"byte_skip": "-1"}, "skips"),
        ({"endian": None}, "byte order"),
        ({"space_directions": "(2,0,0) (0,3,0)"}, "3 vectors"),
        ({"space_directions": "(2,0,0) (0,3,0) (0,0,x)"}, "no numbers"),
        ({"space_directions": "(2,0,0) (0,3,0) (0,0,0)"}, "voxel size"),
        ({"space_directions": "(2,0,0) (0,3,0) (0,3,0)"}, "singular"),
        ({"space_directions": "(2,0,0) (0,3,0) (0,0,nan)"}, "NaN"),
        ({"space_directions": "(2,0,0) (0,3,0) (0,1,4)"}, "sheared"),
        ({"space_directions": None}, "no voxel size"),
        ({"space_directions": None, "spacings": "2 3 0"}, "impossible voxel size"),
        ({"space_directions": None, "spacings": "2 3 nan"}, "impossible voxel size"),
        ({"dimension": "4", "sizes": "5 6 7 2", "space_directions": None,
          "spacings": "1 1 1 1"}, "one 3-D"),
        ({"dimension": "4", "sizes": "3 5 6 7",
          "space_directions": "none (2,0,0) (0,3,0) (0,0,4)"}, "one 3-D"),
        ({"data_file": "a%03d.raw 0 9 1"}, "several data files"),
        ({"data_file": "LIST"}, "several data files"),
    ],
)  # fmt: skip
def test_nrrd_headers_that_lie_are_refused(tmp_path, changes, match):
    refused(nrrd_file(tmp_path / "x.nrrd", **changes), match)


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"ElementType": "MET_FLOAT_ARRAY"}, "real numbers"),
        ({"ElementNumberOfChannels": "3"}, "3 channels"),
        ({"DimSize": "5 6 0"}, "impossible size"),
        ({"DimSize": "5 6 8"}, "truncated"),
        ({"DimSize": "5 6 6"}, "one slice more"),
        ({"DimSize": "5 6"}, "dimensions"),
        ({"NDims": "2", "DimSize": "5 42"}, "one 3-D"),
        ({"DimSize": "32767 32767 32767"}, "more than"),
        ({"DimSize": "1e400 2 2"}, "DimSize"),
        ({"ElementSpacing": "2 3"}, "3 numbers"),
        ({"ElementSpacing": "2 3 0"}, "impossible voxel size"),
        ({"ElementSpacing": "2 3 nan"}, "impossible voxel size"),
        ({"ElementSpacing": None}, "no numbers"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 1 0"}, "singular"),
        ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, "voxel size"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0.1 1"}, "sheared"),
        ({"Offset": "1 2 nan"}, "NaN"),
        ({"HeaderSize": "-1"}, "header to skip"),
        ({"BinaryData": "False"}, "text data"),
        ({"CompressedData": "True"}, "damaged"),
        ({"ElementDataFile": None}, "truncated|header|unreadable"),
        ({"ElementDataFile": "LIST"}, "several data files"),
    ],
)
def test_metaimage_headers_that_lie_are_refused(tmp_path, changes, match):
    refused(mha_file(tmp_path / "x.mha", **changes), match)


DETACHED = {
    ".nhdr": lambda path, name: nrrd_file(path, b"", data_file=name),
    ".mhd": lambda path, name: mha_file(path, b"", ElementDataFile=name),
}


@pytest.mark.parametrize("suffix", DETACHED)
def test_data_beside_a_detached_header_are_read(tmp_path, suffix):
    (tmp_path / "sub").mkdir()
    for name in ("x.raw", "sub/x.raw", "two words.raw"):
        (tmp_path / name).write_bytes(DATA)
        path = DETACHED[suffix](tmp_path / f"x{suffix}", name)
        assert np.array_equal(read_volume(path).array, VALUES)


@posix
@pytest.mark.parametrize("suffix", DETACHED)
def test_data_outside_the_folder_of_a_detached_header_are_refused(tmp_path, suffix):
    folder, elsewhere = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "x.raw").write_bytes(DATA)
    (folder / "inside.raw").write_bytes(DATA)
    (folder / "link.raw").symlink_to(elsewhere / "x.raw")
    (folder / "alias.raw").symlink_to(folder / "inside.raw")
    (folder / "linked").symlink_to(elsewhere)
    for name in (
        str(elsewhere / "x.raw"),
        "../out/x.raw",
        "..\\out\\x.raw",
        "link.raw",
        "alias.raw",
        "linked/x.raw",
        str(folder / "inside.raw"),
    ):
        refused(DETACHED[suffix](folder / f"x{suffix}", name), "outside its folder")
    refused(DETACHED[suffix](folder / f"x{suffix}", "missing.raw"), "missing.raw: does not exist")


# ---- damaged and foreign files -----------------------------------------------------------------


@posix
def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "empty.nii").touch()
    for name, match in {
        "pipe.nii": "pipe or a device",
        "loop.nii": "cannot be read",
        "folder.nii": "is a folder",
        "empty.nii": "is empty",
        "missing.nii": "does not exist",
        "n" * 300 + ".nii": "cannot be read",
        "nul\0.nii": "no possible file name",
    }.items():
        refused(tmp_path / name, match)
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content, match",
    [
        (b"<!DOCTYPE html><html>404 not found</html>" * 20, "web page"),
        (b"just some words\n" * 40, "text|header line"),
        (bytes(range(256)) * 4, "other data"),
        (b"\x00", "other data"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, suffix, content, match):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    refused(path, match)


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"x")
    assert ".nrrd" in refused(tmp_path / "x.jpg", "no readable format")


def test_compression_that_the_name_does_not_promise_is_refused(tmp_path):
    content = nifti_file(tmp_path / "x.nii").read_bytes()
    (tmp_path / "y.nii.gz").write_bytes(content)
    refused(tmp_path / "y.nii.gz", "rename it to .nii")
    (tmp_path / "z.nii").write_bytes(gzip.compress(content))
    refused(tmp_path / "z.nii", "should end in .gz")


@pytest.mark.parametrize("suffix", SUFFIXES[:3] + [".mha", "compressed.mha"])
@pytest.mark.parametrize("lost", ["a voxel", 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, suffix, lost):
    path = tmp_path / f"x{suffix}"
    if "nii" in suffix:
        nifti_file(path)
    else:
        itk_file(path, compressed="compressed" in suffix)
    content = path.read_bytes()
    path.write_bytes(content[: -4 if lost == "a voxel" else int(len(content) * (1 - lost))])
    refused(path, "truncated|damaged|header|not a|holds|empty")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_every_flipped_bit_in_compressed_data_is_noticed(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    nifti_file(path) if suffix == ".nii.gz" else itk_file(path, compressed=True)
    content = path.read_bytes()
    truth = read_volume(path)
    packed_from = max(content.find(b"\x1f\x8b"), content.find(b"LOCAL\n") + 6) + 10
    rng = np.random.default_rng(0)
    for place in (*rng.integers(packed_from, len(content), 60), len(content) - 1):
        broken = bytearray(content)
        broken[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        refused(path, None)
    path.write_bytes(content)
    assert np.array_equal(read_volume(path).array, truth.array)


def test_a_wrong_gzip_checksum_is_refused(tmp_path):
    path = nifti_file(tmp_path / "x.nii.gz")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    refused(path, "damaged")


def test_padding_is_noted_but_another_slice_is_refused(tmp_path):
    content = nifti_file(tmp_path / "x.nii").read_bytes()
    slice_bytes = 5 * 6 * 4
    for name, pack in (("y.nii", bytes), ("y.nii.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(content + b"\0" * (slice_bytes - 1)))
        assert read_volume(tmp_path / name).notes[0].startswith("trailing bytes: 119 ")
        (tmp_path / name).write_bytes(pack(content + b"\0" * slice_bytes))
        refused(tmp_path / name, "one slice more")


NIFTI_LIES = {
    "no dimension": ((40, "<h", 0), "dimensions"),
    "negative dimension": ((40, "<h", -1), "dimensions"),
    "nine dimensions": ((40, "<h", 9), "dimensions"),
    "size 0": ((42, "<h", 0), "impossible size"),
    "size -5": ((44, "<h", -5), "impossible size"),
    "unknown type": ((70, "<h", 9999), "unknown"),
    "wrong bits": ((72, "<h", 16), "16 bits a voxel"),
    "offset far away": ((108, "<f", 1e9), "promises"),
    "offset negative": ((108, "<f", -1.0), "begins at byte"),
    "offset zero": ((108, "<f", 0.0), "begins at byte"),
    "offset NaN": ((108, "<f", np.nan), "begins at byte"),
    "offset infinite": ((108, "<f", np.inf), "begins at byte"),
    "offset fractional": ((108, "<f", 352.5), "begins at byte"),
    "bad magic": ((344, "<4s", b"abcd"), "not a NIfTI"),
    "pair magic": ((344, "<4s", b"ni1\0"), "pair"),
    "bad header length": ((0, "<i", 349), "not a NIfTI"),
    "one slice more": ((46, "<h", 8), "promises"),
    "complex": ((70, "<hh", 32, 64), "complex"),
    "RGB": ((70, "<hh", 128, 24), "RGB"),
    "float128": ((70, "<hh", 1536, 128), "float128"),
    "float16, which NIfTI has not": ((70, "<hh", 11, 16), "unknown"),
}


@pytest.mark.parametrize("change, match", NIFTI_LIES.values(), ids=NIFTI_LIES.keys())
def test_nifti_headers_that_lie_are_refused(tmp_path, change, match):
    path = plain(tmp_path, change)
    refused(path, match)
    (tmp_path / "y.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    refused(tmp_path / "y.nii.gz", f"{match}|truncated|ends after")


def test_a_header_cut_off_anywhere_is_refused(tmp_path):
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        content = nifti_file(tmp_path / "x.nii", kind=kind).read_bytes()
        for length in range(1, 560, 7):
            (tmp_path / "y.nii").write_bytes(content[:length])
            refused(tmp_path / "y.nii", None)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_promise_of_terabytes_is_refused_before_anything_is_allocated(tmp_path, suffix):
    content = plain(tmp_path, (42, "<hhh", 32767, 32767, 32767)).read_bytes()
    path = tmp_path / f"y{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    refused(path, "more than the 536870912")


def test_a_small_file_that_promises_gigabytes_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(payload, "read_exactly", None)  # would be a TypeError
    content = plain(tmp_path, (42, "<hhh", 512, 512, 512)).read_bytes()
    for name, pack in (("y.nii", bytes), ("y.nii.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(content))
        refused(tmp_path / name, "promises 5368")


def test_a_bomb_is_left_as_soon_as_it_goes_on_for_a_slice(tmp_path, monkeypatch):
    read = []

    class Counted(gzip.GzipFile):
        def read(self, size=-1):
            data = super().read(size)
            read.append(len(data))
            return data

    monkeypatch.setattr(gzip, "GzipFile", Counted)
    content = nifti_file(tmp_path / "x.nii").read_bytes()
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(content) + packer.compress(bytes(2**26)) + packer.flush()
    (tmp_path / "y.nii.gz").write_bytes(bomb)
    refused(tmp_path / "y.nii.gz", "one slice more")
    assert 0 < sum(read) < 2**24


@pytest.mark.parametrize("suffix", [*SUFFIXES[:3], ".mha"])
def test_whatever_bytes_a_header_holds_the_answer_is_a_volume_or_one_sentence(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    (nifti_file if "nii" in suffix else itk_file)(path)
    content = path.read_bytes()
    if suffix == ".nii.gz":
        content = gzip.decompress(content)
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        for _ in range(400):
            broken = bytearray(content)
            for place in rng.integers(0, min(352, len(content)), rng.integers(1, 5)):
                broken[place] = rng.integers(256)
            path.write_bytes(gzip.compress(broken, 1) if suffix == ".nii.gz" else broken)
            try:
                assert np.isfinite(read_volume(path).array).all()
            except FileError as error:
                assert str(error).startswith("x.")


# ---- values ------------------------------------------------------------------------------------


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


# ---- real files --------------------------------------------------------------------------------


def real(folder):
    files = sorted((SHARED / folder).rglob("*.nii*"))
    return files or [pytest.param(None, marks=pytest.mark.skip(reason=f"no {folder} data here"))]


@pytest.mark.parametrize("path", real("brain_t1_t2"), ids=lambda path: path and path.name)
def test_real_heads_are_read_where_nibabel_and_itk_place_them(path):
    volume = read_volume(path)
    image = nibabel.load(path)
    assert np.allclose(volume.array, image.get_fdata(dtype=np.float32))
    assert np.allclose(volume.affine, image.affine, atol=1e-4)
    assert np.allclose(volume.affine, itk_affine(path), atol=1e-3)
    assert volume.notes == () and read_marks(path) is None


@pytest.mark.parametrize("path", real("odd_inputs"), ids=lambda path: path and path.name)
def test_odd_real_files_are_read_as_nibabel_does_or_refused_for_a_reason(path):
    image = nibabel.load(path)
    data = image.get_fdata()
    if data.ndim > 3:
        refused(path, "one 3-D volume")
    elif not np.isfinite(data).all():
        refused(path, f"holds {np.count_nonzero(~np.isfinite(data))} voxels")
    else:
        volume = read_volume(path)
        assert np.allclose(volume.array, data, rtol=1e-6)
        assert np.allclose(volume.affine, image.affine, atol=1e-3)
