"""Steps from a patient grid to a network grid and back. Each step knows its own undo.

| symbol | code                       | shape   | meaning                                         |
|--------|----------------------------|---------|-------------------------------------------------|
| V      | ``array``                  | (I,J,K) | a volume's voxels                               |
| S      | ``stack``                  | (N,H,W) | slices, rows, columns as the network sees them  |

A step is made for one input shape; ``apply`` goes to the network, ``undo`` comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.image.volume import AXIS_LETTERS, axis_codes

Floats = NDArray[np.float32]
Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True)
class Reorientation:
    """Array axes <-> slices, rows and columns that grow in given patient directions.

    A permutation and flips only: no value is changed, and the choice depends on the affine alone.
    """

    order: tuple[int, int, int]  # array axis that becomes slice, row, column axis
    flipped: tuple[bool, bool, bool]

    @classmethod
    def between(cls, affine: NDArray[np.float64], codes: str) -> Reorientation:
        """From the grid of ``affine`` to columns, rows and slices growing towards ``codes``.

        ``codes`` reads like axis codes: 'LPS' has columns to the left, rows to the back and slices
        upwards, the radiological view of axial slices.
        """
        current = axis_codes(affine)
        axis_of = {pair: i for i in range(3) for pair in AXIS_LETTERS if current[i] in pair}
        wanted = codes[::-1]  # slices, rows, columns
        order = [next(axis_of[pair] for pair in AXIS_LETTERS if code in pair) for code in wanted]
        flipped = [current[axis] != code for axis, code in zip(order, wanted, strict=True)]
        return cls((order[0], order[1], order[2]), (flipped[0], flipped[1], flipped[2]))

    def apply(self, array: NDArray[Value]) -> NDArray[Value]:
        """(I,J,K) -> (N,H,W)."""
        return np.ascontiguousarray(self.view(array))

    def view(self, array: NDArray[Value]) -> NDArray[Value]:
        """(I,J,K) -> (N,H,W) without a copy: what is written to it is written to ``array``."""
        return np.flip(array.transpose(self.order), axis=self._flipped_axes())

    def undo(self, stack: NDArray[Value]) -> NDArray[Value]:
        """(N,H,W) -> (I,J,K)."""
        array = np.flip(stack, axis=self._flipped_axes()).transpose(np.argsort(self.order))
        return np.ascontiguousarray(array)

    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if self.flipped[axis])


SQUARE = 0.02  # logarithm of the sides' ratio up to which a pixel is square


@dataclass(frozen=True)
class InPlaneResampling:
    """Rows and columns <-> another pixel size, with the same field of view.

    Linear interpolation; the kernel widens when pixels grow, so that nothing aliases. At equal
    pixel sizes it changes nothing, to the bit.
    """

    source_size: tuple[int, int]
    target_size: tuple[int, int]

    @classmethod
    def between(
        cls,
        size: tuple[int, int],
        spacing: NDArray[np.float64],
        wanted: float | None,
        tolerance: float = 0.0,
    ) -> InPlaneResampling:
        """From (H,W) pixels of ``spacing`` mm to about ``wanted`` mm; None keeps the pixels.

        Square pixels within that share of ``wanted`` are kept, too: resampled there and back, an
        image of 0.91 mm has two fifths of its finest detail left.
        """
        if wanted is None:
            return cls(size, size)
        square = abs(np.log(spacing[0] / spacing[1])) <= SQUARE
        if square and np.all(np.abs(np.log(spacing / wanted)) <= np.log1p(tolerance)):
            return cls(size, size)
        rows, columns = (max(1, round(n * s / wanted)) for n, s in zip(size, spacing, strict=True))
        return cls(size, (rows, columns))

    def apply(self, stack: Floats) -> Floats:
        """(N,*source_size) -> (N,*target_size)."""
        return _resample(stack, self.target_size)

    def undo(self, stack: Floats) -> Floats:
        """(N,*target_size) -> (N,*source_size)."""
        return _resample(stack, self.source_size)


def _resample(stack: Floats, size: tuple[int, int]) -> Floats:
    if stack.shape[1:] == size:
        return stack
    rows = interpolation_matrix(stack.shape[1], size[0])
    columns = interpolation_matrix(stack.shape[2], size[1])
    resampled: Floats = np.matmul(np.matmul(rows, stack), columns.T)
    return resampled


def interpolation_matrix(source: int, target: int) -> Floats:
    """(target,source) weights that resample a line of ``source`` pixels to ``target`` pixels.

    Pixel centers lie at (i + 1/2) / n of the line in both; beyond the outermost centers the
    outermost pixel continues. The triangle kernel has the width of the larger pixel; rows sum to
    one.
    """
    ratio = source / target
    centers = np.clip((np.arange(target) + 0.5) * ratio - 0.5, 0, source - 1)
    distance = np.abs(centers[:, None] - np.arange(source)) / max(1.0, ratio)
    weights = np.maximum(0.0, 1.0 - distance)
    normalized: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalized


@dataclass(frozen=True)
class Canvas:
    """Rows and columns <-> the network's canvas, by padding and cropping alone."""

    source_size: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int]  # canvas position of the source's first pixel; negative crops

    @classmethod
    def around(
        cls, content: NDArray[np.bool_], minimum: tuple[int, int], multiple: int, spare: int = 0
    ) -> Canvas:
        """A canvas that holds all of ``content`` (H,W) in its middle.

        It has the ``minimum`` size, and grows in steps of ``multiple`` where the content is
        larger: background may be cropped, tissue never is. At least ``spare`` pixels are left
        behind it, in rows and columns.
        """
        sizes, offsets = [], []
        for axis in (0, 1):
            filled = np.flatnonzero(content.any(axis=1 - axis))
            first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 1)
            size = max(minimum[axis], -(-(last - first + spare) // multiple) * multiple)
            sizes.append(size)
            offsets.append((size - (last - first)) // 2 - first)
        rows, columns = content.shape
        return cls((rows, columns), (sizes[0], sizes[1]), (offsets[0], offsets[1]))

    def apply(self, stack: Floats, fill: float) -> Floats:
        """(N,*source_size) -> (N,*size)."""
        return _place(stack, self.size, self.offset, fill)

    def undo(self, stack: Floats, fill: float) -> Floats:
        """(N,*size) -> (N,*source_size); what was cropped comes back as ``fill``."""
        return _place(stack, self.source_size, (-self.offset[0], -self.offset[1]), fill)


def _place(stack: Floats, size: tuple[int, int], offset: tuple[int, int], fill: float) -> Floats:
    """The stack on a canvas of another size, its first pixel at ``offset``."""
    result = np.full((len(stack), *size), fill, dtype=np.float32)
    onto, from_ = [slice(None)], [slice(None)]
    for axis in (0, 1):
        start = max(0, offset[axis])
        stop = min(size[axis], offset[axis] + stack.shape[axis + 1])
        onto.append(slice(start, max(start, stop)))
        from_.append(slice(start - offset[axis], max(start, stop) - offset[axis]))
    result[tuple(onto)] = stack[tuple(from_)]
    return result
