"""Where and when the slices of a DICOM series lie: their order, and the affine of the stack.

Slices are put in place by Image Position and Orientation (Patient), never by file name or number,
and frames by Trigger Time. What does not form a full grid is refused with the reason. Source:
DICOM PS3.3 C.7.6.2 (Image Plane).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.dicom_slice import Slice
from MambaSynthLib.io.geometry import check_affine, flipped

SAME_SLICE_MM = 0.05  # between two positions along the normal that are one slice
UNEVEN_MM = 0.1  # that the distance of two slices may differ from that of the others
SAME_TIME_MS = 1e-3


def _normal(slices: Iterable[Slice]) -> NDArray[np.float64]:
    """(3,) the direction across the slices."""
    row, column = np.array(next(iter(slices)).dataset.ImageOrientationPatient, float).reshape(2, 3)
    normal: NDArray[np.float64] = np.cross(row, column)
    return normal


def by_place(slices: list[Slice]) -> list[list[Slice]]:
    """The slices of each position, in the order along the normal."""
    normal = _normal(slices)
    ordered = sorted(slices, key=lambda one: (float(one.place @ normal), str(one.path)))
    stacks = [[ordered[0]]]
    for one in ordered[1:]:
        if (one.place - stacks[-1][0].place) @ normal > SAME_SLICE_MM:
            stacks.append([])
        stacks[-1].append(one)
    return stacks


def by_time(stack: list[Slice], name: str) -> list[Slice]:
    if len(stack) == 1:
        return stack
    times = [one.time for one in stack if one.time is not None]
    if len(times) != len(stack):
        raise FileError(
            f"{name}: {len(stack)} files show one slice, but not all state a trigger time; remove "
            "doubles, or export the series with its times."
        )
    ordered = sorted(stack, key=lambda one: one.time or 0.0)
    for one, other in zip(ordered, ordered[1:], strict=False):
        if (other.time or 0.0) - (one.time or 0.0) <= SAME_TIME_MS:
            raise FileError(
                f"{name}: {one.name} and {other.name} show the same slice at the "
                "same time; remove one of them."
            )
    return ordered


def affine_of(slices: list[Slice], stacks: list[list[Slice]], name: str) -> NDArray[np.float64]:
    """(4,4) column, row, slice index -> RAS mm. Raises FileError for an uneven or tilted stack."""
    first = slices[0].dataset
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    down, across = (float(part) for part in first.PixelSpacing)
    places = np.array([stack[0].place for stack in stacks])
    for stack in stacks:
        if max(float(np.linalg.norm(one.place - stack[0].place)) for one in stack) > UNEVEN_MM:
            raise FileError(
                f"{name}: the times of a slice lie at different places; use a series without "
                "table or slice tracking motion."
            )
    step = _step(first, places, name)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * across, column * down, step
    affine[:3, 3] = places[0]
    ras = flipped(affine, "LPS")
    check_affine(ras, name)
    return ras


def thickness_note(stacks: list[list[Slice]]) -> tuple[str, ...]:
    """Of one slice alone nothing but its header tells how thick it is."""
    if len(stacks) > 1 or _thickness(stacks[0][0].dataset):
        return ()
    return ("slice thickness assumed: the only slice states none, 1 mm was taken",)


def _thickness(dataset: Any) -> float:
    """mm; 0 where none is stated."""
    return float(dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 0)


def _step(dataset: Any, places: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """(3,) from slice to slice."""
    if len(places) == 1:
        normal = np.cross(*np.array(dataset.ImageOrientationPatient, float).reshape(2, 3))
        thick: NDArray[np.float64] = normal * (_thickness(dataset) or 1.0)
        return thick
    steps = np.diff(places, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    usual = float(np.sort(lengths)[(len(lengths) - 1) // 2])  # the lower median
    for n, length in enumerate(lengths):
        if abs(length - usual) > UNEVEN_MM:
            remedy = "resample the series to even slices first"
            if length > 1.5 * usual:
                remedy = "a slice is missing, export the whole series"
            raise FileError(
                f"{name}: slices {n + 1} and {n + 2} are {length:.4g} mm apart, but others "
                f"{usual:.4g} mm; {remedy}."
            )
    step: NDArray[np.float64] = (places[-1] - places[0]) / (len(places) - 1)
    straight = places[0] + np.arange(len(places))[:, None] * step
    if float(np.linalg.norm(places - straight, axis=1).max()) > UNEVEN_MM:
        raise FileError(f"{name}: the slices do not lie in one straight stack; resample it first.")
    return step
