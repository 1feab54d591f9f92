"""What Slicer's DICOM plugins leave in the scene when they load a cine.

| here            | behaves as                                                                     |
|-----------------|--------------------------------------------------------------------------------|
| multi_volume    | fedorov/MultiVolumeImporter, MultiVolumeImporterPlugin.py, ``load`` with       |
|                 | ``loadAsVolumeSequence``: l. 607 index name and unit "", then attributes of    |
|                 | the multi-volume, l. 670 index value = number of the frame, data node added    |
|                 | empty and filled by a shallow copy; browser that saves changes and names the   |
|                 | proxy; the proxy is filed under its study. Labels, tag name and unit as        |
|                 | ``initMultiVolumes`` writes them, units as ``multiVolumeTagsUnits``            |
| image_sequence  | Slicer/Slicer, Modules/Scripted/DICOMPlugins/DICOMImageSequencePlugin.py,      |
|                 | ``load`` with ``singleSequence`` (MR): l. 376 index name "instance number" and |
|                 | unit "", index value = instance number, ``DICOM.instanceUIDs`` and, where the  |
|                 | file has one, ``DICOM.triggerTime`` as attributes of each frame; image spacing |
|                 | 1 and origin 0, the place in IJKToRAS; no storage node                         |
| multi_frame     | the same file, ``addSequenceFromImageData`` (XA, US): "frame" without a unit   |
|                 | where the frame time is unknown, else "time" in s; frames at IJKToRAS          |
|                 | diag(-1, -1, 1)                                                                |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

UNITS = {
    "TriggerTime": "ms",
    "EchoTime": "ms",
    "AcquisitionTime": "ms",
    "TemporalPositionIdentifier": "count",
    "NominalPercentageOfCardiacPhase": "%",
    "DeltaStartTime": "sec",
}


def study(name: str) -> int:
    """The item of a study in the subject hierarchy."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    return hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), name)


def file_in(item: int, node: Any) -> None:
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), item)


def scalar_volume(array: np.ndarray, affine: np.ndarray, name: str = "frame") -> Any:
    """A volume in the scene with display and storage node, as DICOMScalarVolumePlugin loads it.

    array: (I,J,K).
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array.transpose(2, 1, 0)))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveStorageNodeID(
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode").GetID()
    )
    return node


def multi_volume(
    arrays: Sequence[np.ndarray],
    labels: Sequence[float],
    tag: str = "TriggerTime",
    name: str = "7: cine",
    affine: np.ndarray | None = None,
    in_study: int | None = None,
) -> Any:
    """The sequence node that MultiVolumeImporterPlugin makes of one series."""
    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", scene.GenerateUniqueName(name))
    sequence.SetIndexName("")
    sequence.SetIndexUnit("")
    told = {
        "MultiVolume.FrameLabels": ",".join(str(float(label)) for label in labels),
        "MultiVolume.FrameIdentifyingDICOMTagName": tag,
        "MultiVolume.NumberOfFrames": str(len(arrays)),
        "MultiVolume.FrameIdentifyingDICOMTagUnits": UNITS[tag],
        "MultiVolume.FrameFileList": ",".join(f"/dicom/{n}.dcm" for n in range(len(arrays))),
        "MultiVolume.DICOM.EchoTime": "1.5",
    }
    for key, text in told.items():
        sequence.SetAttribute(key, text)
    for number, array in enumerate(arrays):
        frame = scalar_volume(array, np.eye(4) if affine is None else affine)
        value = str(number)
        empty = scene.AddNewNodeByClass(frame.GetClassName())
        sequence.SetDataNodeAtValue(empty, value)
        scene.RemoveNode(empty)
        sequence.UpdateDataNodeAtValue(frame, value, True)
        for node in (frame.GetDisplayNode(), frame.GetStorageNode(), frame):
            scene.RemoveNode(node)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.SetSaveChanges(sequence, True)
    browser.SetOverwriteProxyName(sequence, True)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    if in_study is not None:
        file_in(in_study, browser.GetProxyNode(sequence))
    return sequence


def image_sequence(
    slices: Sequence[tuple[np.ndarray, np.ndarray, str]],
    name: str = "7: MR cine",
    in_study: int | None = None,
) -> Any:
    """The sequence node that DICOMImageSequencePlugin makes of an MR series.

    slices: (I,J,1) array, (4,4) affine and trigger time ("" where the file has none) of each file,
    in the order of instance numbers.
    """
    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode")
    sequence.SetName(name)
    sequence.SetIndexName("instance number")
    sequence.SetIndexUnit("")
    frame = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    for number, (array, affine, trigger_time) in enumerate(slices, start=1):
        slicer.util.updateVolumeFromArray(frame, np.ascontiguousarray(array.transpose(2, 1, 0)))
        frame.GetImageData().SetSpacing(1.0, 1.0, 1.0)
        frame.GetImageData().SetOrigin(0.0, 0.0, 0.0)
        frame.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
        frame.SetAttribute("DICOM.instanceUIDs", f"1.2.3.{name.split(':')[0]}.{number}")
        if trigger_time:
            frame.SetAttribute("DICOM.triggerTime", trigger_time)
        sequence.SetDataNodeAtValue(frame, str(number))
    scene.RemoveNode(frame)
    show(sequence, name, in_study)
    return sequence


def multi_frame(arrays: Sequence[np.ndarray], frame_time_ms: float | None = None) -> Any:
    """The sequence node that DICOMImageSequencePlugin makes of one multi-frame file."""
    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "3: US clip")
    sequence.SetIndexName("frame" if frame_time_ms is None else "time")
    sequence.SetIndexUnit("" if frame_time_ms is None else "s")
    frame = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    for number, array in enumerate(arrays):
        slicer.util.updateVolumeFromArray(frame, np.ascontiguousarray(array.transpose(2, 1, 0)))
        frame.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0])))
        value = str(number) if frame_time_ms is None else f"{number * frame_time_ms / 1000:.3f}"
        sequence.SetDataNodeAtValue(frame, value)
    scene.RemoveNode(frame)
    storage = scene.AddNode(slicer.vtkMRMLVolumeSequenceStorageNode())
    sequence.SetAndObserveStorageNodeID(storage.GetID())
    show(sequence, "3: US clip", None)
    return sequence


def show(sequence: Any, name: str, in_study: int | None) -> None:
    """``addSequenceBrowserNode``: a browser, and its proxy under the study."""
    scene = slicer.mrmlScene
    browser = slicer.vtkMRMLSequenceBrowserNode()
    browser.SetName(scene.GenerateUniqueName(name + " browser"))
    scene.AddNode(browser)
    browser.AddSynchronizedSequenceNode(sequence)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    if in_study is not None:
        file_in(in_study, browser.GetProxyNode(sequence))
