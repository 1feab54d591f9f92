"""Marks put into files that another program has written: nothing else changes in them."""

import gzip
import json

import nibabel
import numpy as np
import pytest
import SimpleITK

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.files import read_marks, read_volume
from MambaSynthLib.io.marking import mark_file
from Testing.provenance_records import RECORD

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


def foreign_file(folder, suffix):
    """Of int16 values, oblique, written by ITK."""
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4) * 11
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((5.0, 6.0, 7.0))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    path = folder / f"image{suffix}"
    SimpleITK.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("times", [1, 2])
def test_a_marked_file_holds_the_record_and_the_same_image(tmp_path, suffix, times):
    path = foreign_file(tmp_path, suffix)
    before, volume = SimpleITK.ReadImage(str(path)), read_volume(path)
    for _ in range(times):
        mark_file(path, RECORD)
    assert read_marks(path).provenance == RECORD and read_marks(path).where.startswith(
        ("NIfTI", "NRRD", "MetaImage")
    )
    assert json.loads((tmp_path / "image.json").read_text()) == RECORD.to_bids()
    after, again = SimpleITK.ReadImage(str(path)), read_volume(path, allow_synthetic=True)
    assert np.array_equal(*map(SimpleITK.GetArrayFromImage, (before, after)))
    assert after.GetPixelID() == before.GetPixelID()
    assert np.array_equal(volume.array, again.array)
    assert np.array_equal(volume.affine, again.affine)


def test_other_extensions_of_a_nifti_file_are_kept_and_a_former_record_is_not(tmp_path):
    path = foreign_file(tmp_path, ".nii")
    image = nibabel.load(path)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"by hand"))
    nibabel.save(image, path)
    mark_file(path, RECORD)
    mark_file(path, None)
    texts = [bytes(e.get_content()) for e in nibabel.load(path).header.extensions]
    assert len(texts) == 2 and b"by hand" in texts[1] and b"Model" not in texts[0]
    assert read_marks(path).certain and read_marks(path).provenance is None


def test_nifti_2_and_the_other_byte_order_are_marked(tmp_path):
    array = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    header = nibabel.Nifti2Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nibabel.Nifti2Image(array, np.diag([1.0, 2.0, 3.0, 1.0]), header)
    nibabel.save(image, tmp_path / "two.nii")
    mark_file(tmp_path / "two.nii", RECORD)
    assert read_marks(tmp_path / "two.nii").provenance == RECORD
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "two.nii").dataobj), array)


def test_a_format_without_marks_of_its_own_gets_a_sidecar(tmp_path):
    (tmp_path / "image.vti").write_bytes(b"<VTKFile/>")
    mark_file(tmp_path / "image.vti", RECORD)
    assert (tmp_path / "image.vti").read_bytes() == b"<VTKFile/>"
    assert json.loads((tmp_path / "image.vti.json").read_text())["Synthetic"] is True


@pytest.mark.parametrize("other", [".json", ".nrrd"])
def test_what_belongs_to_another_image_is_left_to_it(tmp_path, other):
    path = foreign_file(tmp_path, ".mha")
    (tmp_path / f"image{other}").write_text('{"EchoTime": 1}')
    mark_file(path, RECORD)
    assert read_marks(path).provenance == RECORD
    assert (tmp_path / f"image{other}").read_text() == '{"EchoTime": 1}'
    assert (tmp_path / "image.json").exists() == (other == ".json")


def test_a_damaged_file_is_left_as_it_was(tmp_path):
    path = tmp_path / "image.nii.gz"
    path.write_bytes(gzip.compress(b"no header"))
    before = path.read_bytes()
    with pytest.raises(FileError, match="is not a NIfTI image"):
        mark_file(path, RECORD)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
