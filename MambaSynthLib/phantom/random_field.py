"""Smooth random fields: what bias, texture and elastic deformation are made of; and noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def smooth_field(
    shape: Sequence[int], voxel: NDArray[np.float64], scale_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A field of standard deviation 1 that varies over about ``scale_mm``, float32 of ``shape``.

    White noise on control points ``scale_mm`` apart, blended by the tensor product of cubic
    B-splines: twice continuously differentiable, and three small matrix products instead of a
    filter over the whole grid.
    """
    bases = [_spline_basis(n, scale_mm / edge) for n, edge in zip(shape, voxel, strict=True)]
    field = rng.standard_normal([basis.shape[1] for basis in bases]).astype(np.float32)
    for basis in bases:
        field = np.tensordot(field, basis, (0, 1))  # (a,b,c) -> (b,c,I) -> (c,I,J) -> (I,J,K)
    # one blended value has the variance sum(w^2) of its weights w; its mean over the grid is:
    variance = np.prod([np.mean(np.sum(basis**2, axis=1)) for basis in bases])
    field /= np.float32(np.sqrt(variance))
    return field


def rician(
    signal: NDArray[np.float32], sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """|S + n1 + i n2| with n ~ N(0, sigma): noise of a magnitude image (Gudbjartsson 1995)."""
    real = signal + np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    noisy: NDArray[np.float32] = np.hypot(real, imaginary)
    return noisy


def _spline_basis(n: int, step: float) -> NDArray[np.float32]:
    """(n, control points) weights of cubic B-splines whose knots lie ``step`` voxels apart."""
    from scipy.interpolate import BSpline

    position = np.arange(n) / step
    intervals = int(position[-1]) + 1
    knots = np.arange(-3, intervals + 4, dtype=np.float64)
    basis: NDArray[np.float32] = (
        BSpline.design_matrix(position, knots, 3).toarray().astype(np.float32)
    )
    return basis
