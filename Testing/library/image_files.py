"""Image files made with nibabel, SimpleITK and by hand, and how reading them is refused."""

import os
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.files import read_volume

VALUES = np.random.default_rng(1).normal(100, 30, (5, 6, 7)).astype(np.float32)
FLIP_XY = np.diag([-1.0, -1, 1, 1])  # LPS <-> RAS


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


SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"]
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
