"""Where one contrast lies relative to another of the same person: Mattes mutual information.

    start: headers as they are, or centers of mass brought together, whichever agrees better
    --rigid, three resolutions--> [--affine, three resolutions-->] matrix, RAS mm -> RAS mm

Mattes et al., IEEE Trans Med Imaging 22:120 (2003). One thread and a fixed seed for the sampled
voxels: the same two volumes give the same matrix, to the bit, on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import VolumeError
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.orientation import from_image, to_image

BINS = 50
SAMPLES = 30_000  # voxels that the metric looks at
LEVELS_MM = (4.0, 2.0, 1.0)  # voxel size, coarse to fine
MOST_ITERATIONS = 300
RELAXATION = 0.9  # of the step at each turn; at the usual 0.5 rotations stop half way
SEED = 20190405
Pair = tuple[Any, Any]  # SimpleITK images, fixed and moving


@dataclass(frozen=True)
class Registration:
    """``matrix`` (4,4) takes a point of the fixed volume, RAS mm, to its place in the moving one.

    The metric is the negative mutual information in nats: the lower, the better.
    """

    kind: str
    matrix: NDArray[np.float64]
    metric_before: float  # with the headers as they are
    metric: float

    def apply(self, moving: Volume, fixed: Volume) -> Volume:
        """``moving`` on the grid of ``fixed``, linearly interpolated; beyond its edge its minimum.

        Linear, because a spline would put values below the background around every edge.
        """
        import SimpleITK as sitk

        resample = sitk.ResampleImageFilter()
        resample.SetReferenceImage(to_image(fixed))
        resample.SetTransform(_as_transform(self.matrix))
        resample.SetInterpolator(sitk.sitkLinear)
        resample.SetDefaultPixelValue(float(moving.array.min()))
        resample.SetNumberOfThreads(1)
        moved = from_image(resample.Execute(to_image(moving)), fixed, moving.name)
        return Volume(moved.array, fixed.affine, moving.name, moving.notes)

    def record(self) -> dict[str, Any]:
        """For the attributes of a prepared subject."""
        return {
            "kind": self.kind,
            "matrix_ras_fixed_to_moving": self.matrix.round(6).tolist(),
            "metric": "negative Mattes mutual information, nats",
            "metric_before": round(self.metric_before, 5),
            "metric_after": round(self.metric, 5),
        }


def register(fixed: Volume, moving: Volume, kind: str = "rigid") -> Registration:
    """Find ``moving`` in the space of ``fixed``; ``kind`` is 'rigid' or 'affine' (12 numbers).

    Raises
    ------
    VolumeError: the two volumes have nothing in common that the metric could see.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the metric has no setting of its own
    images = to_image(fixed), to_image(moving)
    try:
        before = _metric_or_inf(images, sitk.Euler3DTransform())
        start = _best_start(images)
        tried = [start, _optimize(images, start)]
        if kind == "affine":
            tried.append(_optimize(images, _as_affine(tried[-1])))
        metrics = [_metric(images, one) for one in tried]
    except RuntimeError as error:  # ITK: all sampled points map outside
        raise VolumeError(
            f"{moving.name}: cannot be registered to {fixed.name}, they do not overlap; check that "
            "both show the same head and their headers."
        ) from error
    best = int(np.argmin(metrics))  # a descent may end higher than it began
    return Registration(kind, _as_matrix(tried[best]), before, metrics[best])


def _best_start(images: Pair) -> Any:
    """A rigid transform about the fixed volume's center of mass."""
    import SimpleITK as sitk

    centered = sitk.Euler3DTransform(
        sitk.CenteredTransformInitializer(
            *images, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
    )
    as_stored = sitk.Euler3DTransform()
    as_stored.SetCenter(centered.GetCenter())
    return min(as_stored, centered, key=lambda start: _metric_or_inf(images, start))


def _optimize(images: Pair, start: Any) -> Any:
    """The transform after descending on coarse, middle and fine images."""
    transform = type(start)(start)
    sizes = None
    for mm in LEVELS_MM:
        coarse = _coarse(images[0], mm), _coarse(images[1], mm)
        if sizes == (sizes := [image.GetSize() for image in coarse]):
            continue  # the level before was as fine
        method = _method(coarse)
        if transform.GetName() == "Euler3DTransform":
            method.SetOptimizerAsRegularStepGradientDescent(
                mm, mm / 1000, MOST_ITERATIONS, relaxationFactor=RELAXATION
            )
        else:  # scales and shears are so unlike shifts that fixed steps run away
            method.SetOptimizerAsConjugateGradientLineSearch(
                learningRate=1, numberOfIterations=60, estimateLearningRate=method.EachIteration
            )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(*coarse)
    return transform


def _as_affine(rigid: Any) -> Any:
    import SimpleITK as sitk

    return sitk.AffineTransform(rigid.GetMatrix(), rigid.GetTranslation(), rigid.GetCenter())


def _coarse(image: Any, mm: float) -> Any:
    """The image smoothed and with voxels of up to about ``mm``; thick slices stay apart."""
    import SimpleITK as sitk

    factors = [max(1, round(mm / edge)) for edge in image.GetSpacing()]
    if max(factors) == 1:
        return image
    sigmas = [mm / 2 if factor > 1 else 1e-3 for factor in factors]
    return sitk.Shrink(sitk.DiscreteGaussian(image, [sigma**2 for sigma in sigmas]), factors)


def _metric_or_inf(images: Pair, transform: Any) -> float:
    try:
        return _metric(images, transform)
    except RuntimeError:
        return np.inf


def _metric(images: Pair, transform: Any) -> float:
    coarse = _coarse(images[0], LEVELS_MM[1]), _coarse(images[1], LEVELS_MM[1])
    method = _method(coarse)
    method.SetInitialTransform(transform, inPlace=False)
    value: float = method.MetricEvaluate(*coarse)
    return value


def _method(images: Pair) -> Any:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    share = min(1.0, SAMPLES / images[0].GetNumberOfPixels())
    method.SetMetricSamplingPercentage(share, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _as_matrix(transform: Any) -> NDArray[np.float64]:
    """(4,4) of x -> M (x - center) + center + translation."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    center = np.array(transform.GetCenter())
    matrix[:3, 3] = center + transform.GetTranslation() - matrix[:3, :3] @ center
    return matrix


def _as_transform(matrix: NDArray[np.float64]) -> Any:
    import SimpleITK as sitk

    return sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())
