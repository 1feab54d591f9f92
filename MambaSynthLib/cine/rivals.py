"""What a cine model must beat: no motion, a blend, and two classical registrations.

| symbol | code            | shape     | meaning                                                   |
|--------|-----------------|-----------|-----------------------------------------------------------|
| A, B   | ``first, last`` | (N,R,C)   | two acquired frames: slices, rows, columns, scaled to 1   |
| u      | ``there``       | (N,2,R,C) | pull field in pixels of rows, columns: A(x + u(x)) = B(x)|
| w      | ``back``        | (N,2,R,C) | likewise, how B looks into A                              |
| s      | ``share``       | -         | share of the way from A (0) to B (1)                      |

Both registrations work slice by slice and in both directions; a frame is
(1 - s) A(x + s u) + s B(x + (1 - s) w), as in frame interpolation by optical flow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import RequestError

Array = NDArray[np.float32]

ATTACHMENT, WARPS = 15, 8  # of TV-L1: scikit-image's default data weight, and more warps than its 5
DEMONS_SMOOTHING = 1.0  # pixels, standard deviation; SimpleITK's default
DEMONS_LEVELS = ((4, 60), (2, 40), (1, 20))  # shrink factor, iterations


@dataclass(frozen=True)
class Passage:
    """A way from one acquired frame to the next. ``there`` and ``back`` are None without motion.

    ``cut``: the frames are the nearer of the two instead of a blend of both.
    """

    first: Array
    last: Array
    there: Array | None = None
    back: Array | None = None
    cut: bool = False

    def frame(self, share: float) -> Array:
        """(N,R,C) what is seen after a ``share`` of the way."""
        if self.cut:
            return self.first if share <= 0.5 else self.last
        a, b = self.first, self.last
        if self.there is not None and self.back is not None:
            a = pulled(a, np.float32(share) * self.there)
            b = pulled(b, np.float32(1 - share) * self.back)
        blend: Array = np.float32(1 - share) * a + np.float32(share) * b
        return blend

    def field(self, share: float) -> Array | None:
        """(3,N,R,C) how the frame looks into ``first``, in pixels; None for a blend, which moves
        nothing.
        """
        whole = np.zeros((3, *self.first.shape), np.float32)
        if self.there is not None:
            whole[1:] = np.float32(share) * np.moveaxis(self.there, 1, 0)
        return whole if self.cut or self.there is not None else None


def pulled(stack: Array, field: Array) -> Array:
    """(N,R,C) each slice seen through its field (N,2,R,C) in pixels; linear, borders continue."""
    from scipy.ndimage import map_coordinates

    rows, columns = np.meshgrid(*map(np.arange, stack.shape[1:]), indexing="ij", sparse=True)
    return np.stack(
        [
            map_coordinates(image, (rows + u[0], columns + u[1]), order=1, mode="nearest")
            for image, u in zip(stack, field, strict=True)
        ]
    )


def no_motion(first: Array, last: Array) -> Passage:
    """The nearer of the two frames."""
    return Passage(first, last, cut=True)


def linear_blend(first: Array, last: Array) -> Passage:
    """(1 - s) A + s B: walls are seen twice, and a pixel-wise score likes it."""
    return Passage(first, last)


def tv_l1(first: Array, last: Array) -> Passage:
    """Optical flow of Zach et al. 2007 as scikit-image has it."""
    try:
        from skimage import registration
    except ModuleNotFoundError as error:
        raise RequestError(_missing("scikit-image")) from error

    optical_flow: Any = registration.optical_flow_tvl1

    def flow(seen: Array, looked_into: Array) -> Array:
        found = optical_flow(seen, looked_into, attachment=ATTACHMENT, num_warp=WARPS)
        return np.asarray(found, np.float32)

    there = np.stack([flow(b, a) for a, b in zip(first, last, strict=True)])
    back = np.stack([flow(a, b) for a, b in zip(first, last, strict=True)])
    return Passage(first, last, there, back)


def demons(first: Array, last: Array) -> Passage:
    """Diffeomorphic demons of Vercauteren et al. 2009 as SimpleITK has them, coarse to fine."""
    try:
        import SimpleITK
    except ModuleNotFoundError as error:
        raise RequestError(_missing("SimpleITK")) from error
    there = np.stack([_demons_field(SimpleITK, b, a) for a, b in zip(first, last, strict=True)])
    back = np.stack([_demons_field(SimpleITK, a, b) for a, b in zip(first, last, strict=True)])
    return Passage(first, last, there, back)


def _demons_field(sitk: Any, seen: Array, looked_into: Array) -> Array:
    """(2,R,C) how ``seen`` looks into the other slice."""
    fixed, moving = (sitk.GetImageFromArray(image) for image in (seen, looked_into))
    method = sitk.DiffeomorphicDemonsRegistrationFilter()
    method.SetStandardDeviations(DEMONS_SMOOTHING)
    field = None
    for shrink, iterations in DEMONS_LEVELS:
        factors = [max(1, min(shrink, size // 8)) for size in fixed.GetSize()]
        small = [sitk.Shrink(sitk.DiscreteGaussian(i, (shrink / 2) ** 2), factors)
                 for i in (fixed, moving)]  # fmt: skip
        method.SetNumberOfIterations(iterations)
        if field is None:
            field = method.Execute(*small)
        else:
            field = method.Execute(*small, sitk.Resample(field, small[0]))
    whole = sitk.GetArrayFromImage(sitk.Resample(field, fixed))  # (R,C,2), x before y
    return np.ascontiguousarray(np.moveaxis(whole[..., ::-1], -1, 0), dtype=np.float32)


def _missing(package: str) -> str:
    return (
        f"evaluate-cine compares with {package}, which is not installed; run: "
        "pip install 'mambasynth[evaluate]'."
    )


RIVALS: dict[str, Callable[[Array, Array], Passage]] = {
    "no motion": no_motion,
    "linear blend": linear_blend,
    "TV-L1": tv_l1,
    "demons": demons,
}
