"""The slow brightness drift of a receive coil, estimated and divided out (N4, optional)."""

from __future__ import annotations

import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.orientation import from_image, to_image

COARSE_MM = 4.0  # the field is so smooth that it is estimated on voxels of this size
ITERATIONS = (50, 50, 30)  # per doubling of the spline's control points


def remove_bias(volume: Volume) -> Volume:
    """``volume`` divided by its bias field; Tustison et al., IEEE Trans Med Imaging 29:1310 (2010).

    The field is estimated where Otsu's threshold sees the head, on coarse voxels, and evaluated
    on all of them. One thread: the same volume gives the same result. Values below zero, which
    the logarithm forbids, become zero.
    """
    import SimpleITK as sitk

    positive = volume.with_array(np.maximum(volume.array, 0))
    image = to_image(positive)
    factors = [max(1, round(COARSE_MM / edge)) for edge in volume.spacing]
    coarse = sitk.Shrink(image, factors)
    head = sitk.OtsuThreshold(coarse, 0, 1)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.Execute(coarse, head)
    log_field = from_image(n4.GetLogBiasFieldAsImage(image), volume).array
    return volume.with_array(positive.array / np.exp(log_field))
