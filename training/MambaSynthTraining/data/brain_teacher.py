"""Brain masks of whole heads by brainchop's ``mindgrab`` network (MIT): a teacher, not shipped.

Input (1,1,X,Y,Z): 1 mm, axes to the left, down, to the front, cropped to the head with a margin,
brightness from 0 to 1 after clipping at the 99.9th percentile. Output channel 1 above 0: brain.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.head import air_around
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.orientation import from_image, orient, to_image

OWN = "own"  # in the place of the teacher's path
MARGIN = 12  # voxels around the head
CODES = "LIA"


def brain_masks(choice: Path) -> Callable[[Volume], NDArray[np.bool_]]:
    """As ``brain_teacher``; for the path 'own' by the library's mask model, in a second a head.

    Raises FileError: there is no such ONNX file. ModelError: there is no mask model.
    """
    if str(choice) != OWN:
        return brain_teacher(choice)
    from MambaSynthLib.mask.engine import MaskEngine
    from MambaSynthLib.model.registry import mask_model

    engine = MaskEngine(mask_model(), "cpu")
    return lambda volume: engine.find(volume).brain.array > 0


def brain_teacher(path: Path, threads: int = 0) -> Callable[[Volume], NDArray[np.bool_]]:
    """A function from a volume to its brain mask on the same grid. ``threads``: 0 takes all.

    Raises FileError: there is no such ONNX file.
    """
    import onnxruntime

    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which it does not export
        raise FileError(f"{path}: is no ONNX network; give brainchop's mindgrab.onnx.") from error
    name = session.get_inputs()[0].name

    def mask(volume: Volume) -> NDArray[np.bool_]:
        image = _isotropic(to_image(volume))
        fine = orient(_as_volume(image), CODES)
        head = ~air_around(fine)
        inside = [np.flatnonzero(head.any(axis=o)) for o in ((1, 2), (0, 2), (0, 1))]
        box = tuple(slice(max(0, w[0] - MARGIN), w[-1] + MARGIN + 1) for w in inside)
        part = np.clip(fine.array[box], 0, np.percentile(fine.array, 99.9))
        scaled = np.round(part / part.max() * 255).astype(np.float32) / 255
        scores = session.run(None, {name: scaled[None, None]})[0][0]
        found = np.zeros(fine.shape, np.float32)
        found[box] = scores[1] > scores[0]
        return _on_grid_of(volume, fine.with_array(found, "brain"))

    return mask


def _isotropic(image: Any) -> Any:
    """The image in voxels of 1 mm."""
    import SimpleITK as sitk

    extent = np.array(image.GetSize()) * np.array(image.GetSpacing())
    size = np.ceil(extent).astype(int).tolist()
    return sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), (1.0, 1.0, 1.0),
        image.GetDirection(), 0.0, sitk.sitkFloat32,
    )  # fmt: skip


def _as_volume(image: Any) -> Volume:
    import SimpleITK as sitk

    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine, "1 mm")


def _on_grid_of(volume: Volume, mask: Volume) -> NDArray[np.bool_]:
    import SimpleITK as sitk

    placed = sitk.Resample(to_image(mask), to_image(volume), sitk.Transform(), sitk.sitkLinear, 0.0)
    found: NDArray[np.bool_] = from_image(placed, volume).array > 0.5
    return found
