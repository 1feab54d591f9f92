"""A beating heart in the scene, small enough for tests; and one of the real kind."""

from __future__ import annotations

import numpy as np
import pytest
from panel import SHARED

RADII = (6.0, 4.5, 3.0, 4.0, 5.5)  # of the blood pool: the first frame is ED, the third ES
STEP_MS = 100.0


def beat(shape=(20, 18, 4), radii=RADII):
    """(I,J,K) arrays, one for each radius: bright blood in a dark surrounding, some texture."""
    i, j = np.meshgrid(*map(np.arange, shape[:2]), indexing="ij")
    distance = np.hypot(i - 9.0, j - 8.0)
    blood = [1 / (1 + np.exp(2 * (distance - radius))) for radius in radii]
    texture = 0.5 * i[..., None] + 3.0 * np.arange(shape[2])
    return [(40 + 300 * b[..., None] + texture).astype("float32") for b in blood]


def volume_node(array, name="heart", affine=None):
    """A node that is in no scene. ``affine`` (4,4): its IJKToRAS."""
    import slicer

    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array.transpose(2, 1, 0)))
    if affine is not None:
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    return node


def sequence(arrays=None, times=None, name="Cine", unit="ms", affine=None):
    """A sequence in the scene that no browser shows."""
    import slicer

    arrays = beat() if arrays is None else arrays
    times = [STEP_MS * n for n in range(len(arrays))] if times is None else times
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    node.SetIndexName("time")
    node.SetIndexUnit(unit)
    node.SetIndexType(node.NumericIndex)
    for array, time in zip(arrays, times, strict=True):
        node.SetDataNodeAtValue(volume_node(array, affine=affine), str(time))
    return node


def browsed(node):
    """The browser and the proxy that show a sequence."""
    import slicer

    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(node.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser, browser.GetProxyNode(node)


def pair():
    """ED and ES as two volumes in the scene."""
    import slicer

    first, _, third, *_ = beat()
    return [
        slicer.mrmlScene.AddNode(volume_node(array, name))
        for array, name in ((first, "Diastole"), (third, "Systole"))
    ]


def frames_of(node):
    """The (I,J,K) arrays of a sequence."""
    import slicer

    nodes = [node.GetNthDataNode(n) for n in range(node.GetNumberOfDataNodes())]
    return [slicer.util.arrayFromVolume(frame).transpose(2, 1, 0) for frame in nodes]


def times_of(node):
    return [float(node.GetNthIndexValue(n)) for n in range(node.GetNumberOfDataNodes())]


def kinds_of(node):
    nodes = (node.GetNthDataNode(n) for n in range(node.GetNumberOfDataNodes()))
    return [frame.GetAttribute("MambaSynth.frame") for frame in nodes]


def real_cine():
    """The library's Cine of a real short-axis stack: ED and ES. Skips where it is missing."""
    from MambaSynthLib.io.cine_files import read_cine

    folder = SHARED / "data" / "heart_sax_dicom" / "DicomData"
    if not folder.is_dir():
        pytest.skip("the real short-axis stack does not lie in ../shared")
    return read_cine(folder)


def choose_cine(panel, source, model_id="blender", frames=12):
    """The cine tab with a source and a model selected."""
    panel.ui.taskTabs.setCurrentIndex(1)
    panel.events()
    panel.ui.cineSourceSelector.setCurrentNode(source)
    box = panel.ui.cineModelComboBox
    box.currentIndex = box.findData(model_id)
    panel.ui.cineFramesSpinBox.value = frames
    assert panel.ui.cineSourceSelector.currentNode() is source
    assert box.currentData == model_id


def synthesized():
    """The synthetic sequences in the scene."""
    import slicer

    nodes = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    return [node for node in nodes if node.GetAttribute("MambaSynth.mark")]


def synthesize(panel):
    """Click and wait; the new sequence."""
    before = synthesized()
    panel.ui.applyButton.click()
    assert panel.logic.busy, panel.ui.applyButton.toolTip
    panel.wait_idle(60)
    (new,) = [node for node in synthesized() if node not in before]
    return new
