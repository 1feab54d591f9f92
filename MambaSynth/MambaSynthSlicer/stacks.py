"""A stack of slices that Slicer has loaded slice by slice, joined to one cine of volumes.

| Slicer has loaded                                     | because                                |
|-------------------------------------------------------|----------------------------------------|
| one sequence for each slice                           | the scanner files a series for each    |
| one sequence, its frames at several places            | DICOMImageSequencePlugin takes each    |
|                                                       | file of a series for a frame           |

Frame n of the joined cine holds the n-th frame of every slice. Each slice was taken in a heart
beat of its own, so their times differ a little; the joined frame has their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import VolumeError

from . import frame_times, mrml, sequences
from .dicom_source import INSTANCES
from .frame_times import Pace

SAME_SLICE_MM = 0.1  # between two frames of one slice, along its normal
SAME_ANGLE = 1e-3  # mm between two steps from voxel to voxel that count as equal
LARGEST_SHIFT = 0.1  # of a voxel, between slices within their plane
UNEVEN = 0.05  # share of the usual distance by which one of two slices may differ


@dataclass(frozen=True)
class Place:
    """Where the one slice of a frame lies. steps (3,2): mm from voxel to voxel; origin: RAS mm."""

    size: tuple[int, int, int]
    steps: np.ndarray
    origin: np.ndarray

    @property
    def normal(self) -> np.ndarray:
        across = np.cross(self.steps[:, 0], self.steps[:, 1])
        return across / np.linalg.norm(across)

    def isParallelTo(self, other: Place) -> bool:
        same = np.abs(self.steps - other.steps).max() < SAME_ANGLE
        return self.size == other.size and bool(same)

    def above(self, other: Place) -> float:
        """mm along the normal."""
        return float(self.normal @ (self.origin - other.origin))

    def shift(self, other: Place) -> float:
        """Voxels within the plane."""
        apart = self.origin - other.origin - self.above(other) * self.normal
        return float(np.linalg.norm(apart) / np.linalg.norm(self.steps, axis=0).min())


def placeOf(frame: Any) -> Place | None:
    """None: no image of one slice."""
    image = frame.GetImageData() if frame is not None and not mrml.refusedKind(frame) else None
    if image is None or image.GetDimensions()[2] != 1:
        return None
    affine = mrml.ijkToRas(frame)
    return Place(image.GetDimensions(), affine[:3, :2], affine[:3, 3])


@lru_cache(maxsize=256)
def placesOf(sequenceId: str, modifiedTime: int) -> tuple[Place, ...]:
    """One for each slice of a sequence; none where it holds anything else than parallel slices."""
    frames = sequences.framesOf(slicer.mrmlScene.GetNodeByID(sequenceId))
    places: list[Place] = []
    for place in map(placeOf, frames):
        if place is None or (places and not place.isParallelTo(places[0])):
            return ()
        if all(abs(place.above(known)) > SAME_SLICE_MM for known in places):
            places.append(place)
    return tuple(places)


def slicesOf(sequence: Any) -> tuple[Place, ...]:
    return () if mrml.isSynthetic(sequence) else placesOf(sequence.GetID(), sequence.GetMTime())


def members(sequence: Any) -> list[Any]:
    """The sequences whose slices make up one stack with those of ``sequence``, itself among them.

    They are parallel, of one study and under one transform. Empty: there is nothing to join.
    """
    own = slicesOf(sequence) if sequence is not None else ()
    if not own:
        return []
    study = studyOf(sequence)
    found = [
        other
        for other in slicer.util.getNodesByClass("vtkMRMLSequenceNode")
        if (places := slicesOf(other)) and places[0].isParallelTo(own[0])
        if studyOf(other) == study
    ]
    return found if sum(len(slicesOf(other)) for other in found) > 1 else []


def sliceCount(sequence: Any) -> int:
    """How many slices the joined stack would have; 0: there is nothing to join."""
    return sum(len(slicesOf(member)) for member in members(sequence))


def studyOf(sequence: Any) -> tuple[Any, Any]:
    """The study, and the transform that its proxy is under."""
    node = sequences.proxyOf(sequence) or sequence
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    transform = node.GetTransformNodeID() if node.IsA("vtkMRMLTransformableNode") else None
    return (hierarchy.GetItemParent(item) if item else None), transform


# ------------------------------------------------------------------------------------- joining


@dataclass(frozen=True)
class Slice:
    """One slice of the stack: its frames in the order of time."""

    place: Place
    name: str  # of the sequence that it comes from
    timesMs: tuple[float, ...]
    frames: tuple[Any, ...]


def join(sequence: Any, pace: Pace) -> Any:
    """The new sequence, shown by a browser of its own, beside those it was made from.

    Raises VolumeError where the slices do not make up an even stack of equally many frames.
    """
    found = members(sequence)
    if not found:
        message = _("There are no parallel slices to join with {name}; load them first.")
        raise VolumeError(message.format(name=sequence.GetName()))
    stack = evenStack([one for member in found for one in slicesIn(member, pace)])
    joined = sequences.newSequence()
    times = np.array([one.timesMs for one in stack])  # (K,F)
    for number, timeMs in enumerate(times.mean(axis=0)):
        frame = stackedFrame([one.frames[number] for one in stack], stack)
        frame.SetName(f"{stack[0].name} {timeMs:.0f} ms")
        joined.SetDataNodeAtValue(frame, f"{timeMs:.3f}")
    apart = float(np.ptp(times, axis=0).max())
    told = _("{count} slices; times are means over them, which differ by up to {apart:.0f} ms.")
    joined.SetDescription(told.format(count=len(stack), apart=apart))
    return addToScene(joined, found[0])


def slicesIn(sequence: Any, pace: Pace) -> list[Slice]:
    """Its frames sorted by place and time."""
    frames = sequences.framesOf(sequence)
    slices = []
    for place in slicesOf(sequence):
        here = [n for n, f in enumerate(frames) if abs(placeOf(f).above(place)) <= SAME_SLICE_MM]
        ordered = frame_times.inOrder(sequence, pace, here)
        times, numbers = zip(*ordered, strict=True)
        chosen = tuple(frames[number] for number in numbers)
        slices.append(Slice(place, sequence.GetName(), times, chosen))
    return slices


def evenStack(slices: list[Slice]) -> list[Slice]:
    """The slices from the first to the last. Raises VolumeError as ``join``."""
    first = slices[0]
    stack = sorted(slices, key=lambda one: one.place.above(first.place))
    gaps = [b.place.above(a.place) for a, b in zip(stack, stack[1:], strict=False)]
    usual = float(np.median(gaps))
    for gap, below, above in zip(gaps, stack, stack[1:], strict=False):
        if gap <= SAME_SLICE_MM:
            message = _("{one} and {other} show the same slice; remove one of them.")
            raise VolumeError(message.format(one=below.name, other=above.name))
        if abs(gap - usual) > UNEVEN * usual:
            message = _(
                "{one} and {other} lie {gap:.1f} mm apart, but most slices {usual:.1f} mm; "
                "load the slice between them, or remove what does not belong to the stack."
            )
            told = message.format(one=below.name, other=above.name, gap=gap, usual=usual)
            raise VolumeError(told)
    for one in stack:
        if len(one.frames) != len(first.frames):
            message = _("{one} has {its} frames, but {other} {others}; load all of them.")
            told = {"one": one.name, "its": len(one.frames)}
            told |= {"other": first.name, "others": len(first.frames)}
            raise VolumeError(message.format(**told))
        if one.place.shift(first.place) > LARGEST_SHIFT:
            message = _("{one} is shifted sideways against {other}; resample it first.")
            raise VolumeError(message.format(one=one.name, other=first.name))
    return stack


def stackedFrame(frames: list[Any], stack: list[Slice]) -> Any:
    """A volume node, in no scene, of one frame of every slice."""
    arrays = [slicer.util.arrayFromVolume(frame) for frame in frames]  # (1,J,I) each
    affine = np.eye(4)
    lowest, highest = stack[0].place, stack[-1].place
    affine[:3, :2] = lowest.steps
    affine[:3, 2] = lowest.normal * highest.above(lowest) / (len(stack) - 1)
    affine[:3, 3] = lowest.origin
    node = slicer.vtkMRMLScalarVolumeNode()
    slicer.util.updateVolumeFromArray(node, np.concatenate(arrays))  # (K,J,I)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    instances = [frame.GetAttribute(INSTANCES) for frame in frames]
    if all(instances):
        node.SetAttribute(INSTANCES, " ".join(instances))
    return node


def addToScene(joined: Any, beside: Any) -> Any:
    scene = slicer.mrmlScene
    scene.SaveStateForUndo()
    joined.SetName(scene.GenerateUniqueName(f"{beside.GetName()} stack"))
    scene.AddNode(joined)
    proxy = sequences.proxyOf(beside)
    shown = sequences.join(joined, None).GetProxyNode(joined)
    for node in (joined, shown):
        mrml.fileBeside(proxy or beside, node)
    if proxy is not None:
        shown.SetAndObserveTransformNodeID(proxy.GetTransformNodeID())
    return joined
