"""What else is asked of a contrast: uncertainty map, one plane, a range of slices, a preview."""

import numpy as np
import pytest
from panel import head
from test_synthesis import matrix_of, turned_parent


def test_the_uncertainty_map_comes_as_a_second_marked_volume(panel, scene):
    import slicer

    source = head()
    source.SetAndObserveTransformNodeID(turned_parent(scene).GetID())
    panel.ui.spreadCheckBox.checked = True
    assert panel.ui.samplesSpinBox.value == 4
    output = panel.synthesize()
    spread = slicer.util.getNode(output.GetName() + " uncertainty map")
    assert (slicer.util.arrayFromVolume(spread) == 0.5).all()
    assert spread.GetAttribute("MambaSynth.mark")
    assert "standard deviation over 4 noise draws" in spread.GetAttribute("MambaSynth.quantity")
    assert spread.GetAttribute("MambaSynth.units") == "those of the synthetic T2w image"
    assert "uncertainty map: standard deviation" in spread.GetDescription()
    assert "uncertainty" not in output.GetDescription()
    assert spread.GetDescription().startswith("SYNTHETIC - NOT FOR DIAGNOSIS")
    assert np.allclose(matrix_of(spread), matrix_of(source))
    assert spread.GetParentTransformNode() is source.GetParentTransformNode() is not None


@pytest.mark.parametrize("samples", [0, 1])
def test_an_uncertainty_map_needs_more_than_one_sample(panel, samples):
    head()
    panel.ui.samplesSpinBox.value = samples
    panel.ui.spreadCheckBox.checked = True
    assert panel.ui.samplesSpinBox.value == 4


def test_a_model_that_knows_its_errors_needs_no_samples_for_the_map(panel):
    head()
    entry = panel.widget.models.current()
    entry.card["network"] = {**entry.card.get("network", {}), "interval": 1}
    panel.ui.samplesSpinBox.value = 0
    panel.ui.spreadCheckBox.checked = True
    assert panel.ui.samplesSpinBox.value == 0


def test_one_plane_is_asked_for_of_models_alone_that_know_all(panel):
    head()
    panel.choose_model("slow")
    panel.ui.onePlaneCheckBox.checked = True
    assert not panel.ui.onePlaneCheckBox.enabled
    assert panel.synthesize().GetAttribute("MambaSynth.planes") is None
    panel.choose_model("slow")
    next(e for e in panel.widget.models._entries if e.key == "inverter").card["grid"]["planes"] = (
        "all"
    )
    made = panel.synthesize()
    assert panel.ui.onePlaneCheckBox.enabled
    assert made.GetAttribute("MambaSynth.planes") == "axial"
    panel.ui.onePlaneCheckBox.checked = False
    assert panel.synthesize().GetAttribute("MambaSynth.planes") is None


def test_the_uncertainty_map_looks_like_a_map_and_not_like_an_image(panel):
    import slicer

    head()
    panel.ui.spreadCheckBox.checked = True
    output = panel.synthesize()
    display = slicer.util.getNode(output.GetName() + " uncertainty map").GetDisplayNode()
    assert (
        display.GetColorNodeID()
        == "vtkMRMLColorTableNodeIron"
        != (output.GetDisplayNode().GetColorNodeID())
    )
    assert not display.GetAutoWindowLevel() and display.GetWindowLevelMin() == 0
    assert display.GetWindowLevelMax() == pytest.approx(0.5)


def test_a_slice_range_reaches_the_engine_and_the_marks(panel):
    head(shape=(20, 24, 16))
    panel.events()
    assert panel.ui.sliceRangeWidget.maximum == 15
    panel.ui.sliceRangeWidget.setValues(3, 6)
    assert panel.synthesize().GetAttribute("MambaSynth.slices") == "[3, 7]"


def preview(panel):
    """Click and wait; the volume with the one slice."""
    from MambaSynthSlicer import mrml

    panel.ui.previewButton.click()
    panel.wait_idle()
    return mrml.previewOf(panel.ui.sourceSelector.currentNode())


def test_the_preview_synthesizes_the_slice_in_the_middle_of_the_red_view(panel, stand):
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])  # slices grow upwards, as the model counts them
    affine[:3, 3] = [10, 12, -16]
    head(affine=affine)
    panel.events()
    panel.choose_model("inverter")
    stand.layout.sliceWidget("Red").mrmlSliceNode().SetSliceOffset(-16 + 2 * 5)
    assert preview(panel).GetAttribute("MambaSynth.slices") == "[5, 6]"


def test_the_preview_counts_from_the_other_end_when_the_grid_is_flipped(panel, stand):
    affine = np.diag([-1.0, -1.0, -2.0, 1.0])
    affine[:3, 3] = [10, 12, 16]
    head(affine=affine)
    panel.events()
    panel.choose_model("inverter")
    stand.layout.sliceWidget("Red").mrmlSliceNode().SetSliceOffset(16 - 2 * 5)
    assert preview(panel).GetAttribute("MambaSynth.slices") == "[10, 11]"


def test_a_preview_is_no_result_and_the_next_one_takes_its_place(panel, stand):
    import slicer

    source = head()
    panel.events()
    panel.choose_model("inverter")
    first = preview(panel)
    assert first.GetName() == "Head SYNTHETIC T2w preview"
    assert panel.logic.latestSynthetic(source) is None and not panel.ui.sideBySideButton.enabled
    composite = stand.layout.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == first.GetID()
    result = panel.synthesize()
    assert preview(panel) is first and panel.logic.latestSynthetic(source) is result
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 3
    panel.ui.sideBySideButton.click()
    right = stand.layout.sliceWidget("Yellow").mrmlSliceCompositeNode()
    assert right.GetBackgroundVolumeID() == result.GetID()
    panel.ui.sideBySideButton.click()
