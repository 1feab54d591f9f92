"""What cannot be synthesized from, and why: the button is off and says so."""

import json

import numpy as np
import pytest
from panel import head, oblique


def tooltip_for(panel, node):
    panel.ui.sourceSelector.setCurrentNode(node)
    assert panel.ui.sourceSelector.currentNode() is node
    assert not panel.ui.applyButton.enabled and not panel.ui.previewButton.enabled
    return panel.ui.applyButton.toolTip


def test_without_a_volume_the_button_is_off_and_says_so(panel):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Select a source volume."


@pytest.mark.parametrize(
    ("node_class", "reason"),
    [
        ("vtkMRMLScalarVolumeNode", "odd is empty; load an image into it."),
        ("vtkMRMLLabelMapVolumeNode", "odd is a label map; select a scalar volume."),
        (
            "vtkMRMLVectorVolumeNode",
            "odd is an image with several values per voxel; select a scalar volume.",
        ),
        (
            "vtkMRMLDiffusionWeightedVolumeNode",
            "odd is an image with several values per voxel; select a scalar volume.",
        ),
    ],
)
def test_an_unfit_node_is_refused_in_the_tooltip(panel, scene, node_class, reason):
    assert tooltip_for(panel, scene.AddNewNodeByClass(node_class, "odd")) == reason


def test_a_segmentation_is_refused(panel, scene):
    from MambaSynthSlicer import mrml

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tumor")
    assert mrml.refusal(node) == "tumor is a segmentation; select a scalar volume."


def test_a_color_image_in_a_scalar_node_is_refused(panel):
    import slicer
    import vtk

    node = head("photo")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    assert slicer.util.getNode("photo") is node
    assert "several values per voxel" in tooltip_for(panel, node)


def test_a_sheared_volume_is_refused(panel):
    affine = oblique()
    affine[:3, 0] += 0.01 * affine[:3, 1]
    assert "not at right angles" in tooltip_for(panel, head("tilted", affine=affine))


def test_a_volume_under_a_non_linear_transform_is_refused(panel, scene):
    import vtk

    transform = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for point in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        points.InsertNextPoint(point)
    transform.SetSourceLandmarks(points)
    transform.SetTargetLandmarks(points)
    parent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    parent.SetAndObserveTransformToParent(transform)
    node = head("bent")
    node.SetAndObserveTransformNodeID(parent.GetID())
    assert tooltip_for(panel, node) == "bent is under a non-linear transform; harden or remove it."


def test_a_synthetic_volume_is_refused_as_a_source(panel):
    head()
    output = panel.synthesize()
    assert "is synthetic itself" in tooltip_for(panel, output)


def test_a_volume_loaded_from_a_file_with_a_synthetic_sidecar_is_refused(panel, tmp_path):
    import slicer

    for name, synthetic in (("made", True), ("acquired", False)):
        volume = head(name)
        slicer.util.saveNode(volume, str(tmp_path / f"{name}.nii.gz"))
        (tmp_path / f"{name}.json").write_text(json.dumps({"Synthetic": synthetic}))
        slicer.mrmlScene.RemoveNode(volume)
    acquired = slicer.util.loadVolume(str(tmp_path / "acquired.nii.gz"))
    made = slicer.util.loadVolume(str(tmp_path / "made.nii.gz"))
    assert "made is synthetic itself" in tooltip_for(panel, made)
    panel.ui.sourceSelector.setCurrentNode(acquired)
    assert panel.ui.applyButton.enabled


def test_the_source_cannot_be_its_own_output(panel):
    source = head()
    panel.events()
    panel.ui.outputSelector.setCurrentNode(source)
    assert panel.ui.applyButton.toolTip.startswith("The output must not be the source")
    assert not panel.ui.applyButton.enabled
    with pytest.raises(Exception, match="must not be the source"):
        panel.logic.synthesize(source, source, model="inverter")


def test_a_volume_that_becomes_fit_is_noticed(panel, scene):
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "late")
    assert "is empty" in tooltip_for(panel, node)
    slicer.util.updateVolumeFromArray(node, np.ones((4, 4, 4), dtype="float32"))
    panel.events()
    assert panel.ui.applyButton.enabled


def test_the_first_suitable_volume_is_selected_not_the_first(panel, scene):
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    node = head()
    panel.events()
    assert panel.ui.sourceSelector.currentNode() is node and panel.ui.applyButton.enabled


def test_a_frame_of_a_sequence_is_synthesized_with_a_warning(panel, scene):
    import slicer

    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    for index in range(2):
        frame = head(f"frame{index}")
        sequence.SetDataNodeAtValue(frame, str(index))
        scene.RemoveNode(frame)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    panel.ui.sourceSelector.setCurrentNode(proxy)
    output = panel.synthesize()
    assert "only this frame was synthesized" in output.GetAttribute("MambaSynth.warnings")
    assert "only this frame was synthesized" in panel.ui.statusLabel.text
