"""Real files of many programs are read as others read them, or refused for a reason."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from MambaSynthLib.io.files import read_marks, read_volume
from Testing.library.image_files import itk_affine, refused

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


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
