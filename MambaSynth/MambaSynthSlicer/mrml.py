"""Volume nodes <-> Volumes: pixels, geometry, and what makes a node unfit.

| MRML                                   | library                                              |
|----------------------------------------|------------------------------------------------------|
| ``arrayFromVolume``: (K,J,I)           | ``Volume.array``: (I,J,K)                            |
| IJKToRAS, then the parent transforms   | ``Volume.affine``: voxel -> world RAS mm             |
| ``MambaSynth.*`` attributes            | ``Provenance.to_tags()``                             |

The library sees a node where it stands in the world, because that decides which slices are axial.
The synthetic node gets the source's IJKToRAS and parent transform, so it stands in the same place
and moves along.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from MambaSynthLib.errors import FileError, VolumeError
from MambaSynthLib.image.grid import Reorientation
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.image.window import t2_window
from MambaSynthLib.io.files import read_marks
from MambaSynthLib.io.marks import SyntheticMark, mark_in_sidecar, sidecar_of
from MambaSynthLib.provenance import MARK, TAG_PREFIX, Provenance

from . import dicom_source

SHEAR_LIMIT = 1e-4  # cosine between two voxel axes that still counts as a right angle
WINDOW_PERCENTILES = (1.0, 99.0)  # of the voxels that are not background
MARK_ATTRIBUTE = TAG_PREFIX + "mark"
NAMED = re.compile(r"\bSYNTHETIC\b")  # as syntheticName writes it
SOURCE_ROLE = TAG_PREFIX + "source"
QUANTITY_ATTRIBUTE = TAG_PREFIX + "quantity"  # of a map that is no image
FRAME_ATTRIBUTE = TAG_PREFIX + "frame"  # of a frame of a cine: acquired, or synthetic
PREVIEW_ATTRIBUTE = TAG_PREFIX + "preview"  # of a volume that holds one synthetic slice
MAP_COLORS = "vtkMRMLColorTableNodeIron"  # from black: nothing, to white

SEVERAL_VALUES = (
    "vtkMRMLVectorVolumeNode",
    "vtkMRMLDiffusionWeightedVolumeNode",
    "vtkMRMLTensorVolumeNode",
)


# --------------------------------------------------------------------------- node -> Volume


def refusal(node: Any, under: Any = None) -> str | None:
    """Why ``node`` cannot be synthesized from, in one sentence for a tooltip; None: it can.

    ``under``: the node whose parent transform counts, where that is another, see ``worldAffine``.
    """
    if node is None:
        return _("Select a source volume.")
    name = node.GetName()
    kind = refusedKind(node)
    if kind:
        return _("{name} is {kind}; select a scalar volume.").format(name=name, kind=kind)
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        return _("{name} is empty; load an image into it.").format(name=name)
    if isMarked(node):
        return _("{name} is synthetic itself; select an acquired volume.").format(name=name)
    if isSynthetic(node):
        return _("{name} is named SYNTHETIC; select an acquired volume, or rename it.").format(
            name=name
        )
    transform = (under or node).GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        return _("{name} is under a non-linear transform; harden or remove it.").format(name=name)
    if isSheared(worldAffine(node, under)):
        return _("The voxel axes of {name} are not at right angles; resample it.").format(name=name)
    return None


def refusedKind(node: Any) -> str | None:
    """What a node is that is no scalar volume."""
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        return _("a label map")
    if node.IsA("vtkMRMLSegmentationNode"):
        return _("a segmentation")
    if any(node.IsA(name) for name in SEVERAL_VALUES):
        return _("an image with several values per voxel")
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        return _("no volume")
    image = node.GetImageData()
    if image is not None and image.GetNumberOfScalarComponents() != 1:
        return _("an image with several values per voxel")
    return None


def isSynthetic(node: Any) -> bool:
    """By its mark, or by its name alone: the mark may be lost on the way through other programs.

    What shows an acquired frame of a synthetic cine is named after the cine, and is acquired.
    """
    if node is None or node.GetAttribute(FRAME_ATTRIBUTE) == "acquired":
        return False
    named = NAMED.search(node.GetName() or "") is not None
    return named or node.GetAttribute(MARK_ATTRIBUTE) is not None


def isMarked(node: Any) -> bool:
    """Whether the node or the file that it was loaded from carries a mark."""
    return node.GetAttribute(MARK_ATTRIBUTE) is not None or markInFile(node) is not None


def markInFile(node: Any) -> SyntheticMark | None:
    """The mark in or beside the file that the node was loaded from, or saved to last."""
    file = fileOf(node)
    return fileMark(file, changedAt(file), changedAt(str(sidecar_of(Path(file))))) if file else None


def fileOf(node: Any) -> str | None:
    """What came from DICOM has no storage node, or an empty one, but says which image it was."""
    storage = node.GetStorageNode()
    file = storage.GetFullNameFromFileName() if storage else None
    uids = dicom_source.instancesOf(node)[:1] if not file else []
    images = dicom_source.filesOfInstances(uids)
    return file or (str(images[0]) if images else None)


def changedAt(file: str) -> int | None:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=64)
def fileMark(file: str, changed: int | None, sidecarChanged: int | None) -> SyntheticMark | None:
    """Asked again and again, so each state of a file is read once. Hints do not count."""
    try:
        mark = read_marks(file)
    except (FileError, ImportError):  # no image, or one of a kind whose reader is not installed
        mark = mark_in_sidecar(Path(file))
    return mark if mark is not None and mark.certain else None


def isSynthesisOf(node: Any, source: Any) -> bool:
    """Whether ``node`` was synthesized from ``source``; neither maps nor previews count."""
    made = isSynthetic(node) and node.GetAttribute(QUANTITY_ATTRIBUTE) is None
    whole = node.GetAttribute(PREVIEW_ATTRIBUTE) is None
    return made and whole and node.GetNodeReferenceID(SOURCE_ROLE) == source.GetID()


def previewOf(source: Any) -> Any:
    """The volume that holds the preview made last of ``source``, or None."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    made = (node for node in volumes if node.GetAttribute(PREVIEW_ATTRIBUTE) is not None)
    own = [node for node in made if node.GetNodeReferenceID(SOURCE_ROLE) == source.GetID()]
    return own[-1] if own else None


def isSheared(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = axes.T @ axes - np.eye(3)
    return bool(np.abs(cosines).max() > SHEAR_LIMIT)


def ijkToRas(node: Any) -> np.ndarray:
    """(4,4) voxel -> the node's own RAS, before any parent transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def worldAffine(node: Any, under: Any = None) -> np.ndarray:
    """(4,4) voxel -> world RAS. A non-linear parent transform must have been refused before.

    A frame inside a sequence stands ``under`` the parent transform of the node that shows it.
    """
    transform = (under or node).GetParentTransformNode()
    if transform is None:
        return ijkToRas(node)
    toWorld = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(toWorld)
    return slicer.util.arrayFromVTKMatrix(toWorld) @ ijkToRas(node)


def toVolume(node: Any) -> Volume:
    """The node as the library sees it. Raises VolumeError with the sentence of ``refusal``."""
    reason = refusal(node)
    if reason:
        raise VolumeError(reason)
    return readVolume(node, notes=proxyNote(node))


def readVolume(node: Any, under: Any = None, name: str = "", notes: tuple[str, ...] = ()) -> Volume:
    """As ``toVolume``, for a node that was found fit; see ``worldAffine`` for ``under``."""
    array = slicer.util.arrayFromVolume(node)  # (K,J,I)
    name = name or node.GetName()
    return Volume(array.transpose(2, 1, 0), worldAffine(node, under), name, notes)


def proxyNote(node: Any) -> tuple[str, ...]:
    """A warning where the node shows one frame of a sequence: only that frame is synthesized."""
    browsers = slicer.modules.sequences.logic()
    browser = browsers.GetFirstBrowserNodeForProxyNode(node)
    if browser is None:
        return ()
    frame = browser.GetSelectedItemNumber() + 1
    return (f"{node.GetName()} is frame {frame} of a sequence; only this frame was synthesized.",)


def sliceCount(node: Any, axisCodes: str) -> int:
    """How many slices a model trained on ``axisCodes`` sees in ``node``."""
    axis = Reorientation.between(worldAffine(node), axisCodes).order[0]
    return int(node.GetImageData().GetDimensions()[axis])


def sliceShown(view: Any, node: Any, axisCodes: str) -> int:
    """The model's number of the slice of ``node`` through the middle of a slice view."""
    middle = np.array([view.GetSliceToRAS().GetElement(row, 3) for row in range(3)] + [1.0])
    index = np.linalg.inv(worldAffine(node)) @ middle
    way = Reorientation.between(worldAffine(node), axisCodes)
    count = sliceCount(node, axisCodes)
    number = int(np.clip(round(index[way.order[0]]), 0, count - 1))
    return count - 1 - number if way.flipped[0] else number


def fingerprint(node: Any, under: Any = None) -> tuple[Any, ...]:
    """Changes whenever the voxels or the place of the node change, and with nothing else."""
    image = node.GetImageData()
    data = (image.GetMTime(), image.GetPointData().GetScalars().GetMTime()) if image else ()
    return (*data, worldAffine(node, under).tobytes())


def changesOf(node: Any) -> list[tuple[Any, Any]]:
    """The events of ``node`` after which it may have become fit or unfit; a name may tell, too."""
    events = (
        node.ImageDataModifiedEvent,
        node.TransformModifiedEvent,
        vtk.vtkCommand.ModifiedEvent,
    )
    return [(node, event) for event in events]


# --------------------------------------------------------------------------- Volume -> node


def syntheticName(source: Any, target: str) -> str:
    return f"{source.GetName()} SYNTHETIC {target}"


def newVolumeNode(source: Any, name: str) -> Any:
    """An empty volume node, filed beside ``source`` in the subject hierarchy."""
    unique = slicer.mrmlScene.GenerateUniqueName(name)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", unique)
    fileBeside(source, node)
    return node


def fileBeside(source: Any, node: Any) -> None:
    """Into the study of ``source`` in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    sourceItem, item = (hierarchy.GetItemByDataNode(n) for n in (source, node))
    if sourceItem and item:  # hidden nodes have none
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(sourceItem))


def fill(node: Any, volume: Volume, source: Any, contrast: str = "") -> None:
    """Put the voxels of ``volume`` into ``node``, at the place of ``source``, and window it as an
    image of ``contrast`` is looked at.
    """
    blocked = node.StartModify()
    setVoxels(node, volume, source)
    node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    node.EndModify(blocked)
    setWindow(node, *window(volume.array, contrast))


def setVoxels(node: Any, volume: Volume, grid: Any) -> None:
    """The voxels of ``volume`` on the grid of the node ``grid``."""
    array = np.ascontiguousarray(volume.array.transpose(2, 1, 0))  # (K,J,I)
    matrix = vtk.vtkMatrix4x4()
    grid.GetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(matrix)


def setWindow(node: Any, low: float, high: float) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(low, high)


def setColors(node: Any, largest: float) -> None:
    """A map of numbers must not look like an image: colors, from 0 to ``largest``."""
    setWindow(node, 0.0, max(largest, 1e-6))
    node.GetDisplayNode().SetAndObserveColorNodeID(MAP_COLORS)


def window(array: np.ndarray, contrast: str = "") -> tuple[float, float]:
    """Display limits: for T2w those of the clinic, else percentiles of what is brighter than the
    darkest value, the background.
    """
    if contrast == "T2w" and (clinical := t2_window(array)) is not None:
        return clinical
    tissue = array[array > array.min()]
    if tissue.size == 0:
        return float(array.min()), float(array.min()) + 1.0
    low, high = np.percentile(tissue, WINDOW_PERCENTILES)
    return float(low), float(max(high, low + 1e-6))


def markSynthetic(node: Any, provenance: Provenance, source: Any) -> None:
    """Attributes that survive saving: the mark, what made the image, and from which node."""
    for name in list(node.GetAttributeNames()):
        if name.startswith(TAG_PREFIX):
            node.RemoveAttribute(name)
    setTags(node, provenance)
    dicom_source.keepOrigin(node, source)
    node.SetDescription(f"{MARK}. {provenance.sentence()}")
    node.SetNodeReferenceID(SOURCE_ROLE, source.GetID())


def setTags(node: Any, provenance: Provenance) -> None:
    for name, text in provenance.to_tags().items():
        node.SetAttribute(name, text)


def restoreMarks(node: Any, mark: SyntheticMark) -> None:
    """Attributes and description of a node that was loaded from a marked file."""
    if mark.provenance is None:
        node.SetAttribute(MARK_ATTRIBUTE, MARK)
    else:
        setTags(node, mark.provenance)
    if not node.GetDescription():
        node.SetDescription(mark.text if mark.text.startswith(MARK) else f"{MARK}: {mark.text}")


def provenanceOrNone(node: Any) -> Provenance | None:
    """None: the node is marked, but not, or not intactly, by MambaSynth."""
    try:
        return provenanceOf(node)
    except FileError:
        return None


def provenanceOf(node: Any) -> Provenance:
    """Undo ``markSynthetic``. Raises FileError where an attribute is missing or was edited."""
    names = node.GetAttributeNames()
    return Provenance.from_tags({name: node.GetAttribute(name) for name in names})
