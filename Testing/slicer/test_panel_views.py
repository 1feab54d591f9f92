"""Synthetic volumes in the slice views: their mark, and comparison with the source."""

import pytest
from panel import head


@pytest.fixture
def annotations(panel):
    import slicer

    annotations = slicer.modules.MambaSynthInstance.annotations
    annotations.start()
    yield annotations
    annotations.stop()


def mark_in(annotations, view):
    import vtk

    return annotations._annotations[view].GetText(vtk.vtkCornerAnnotation.UpperEdge) or ""


def test_every_view_that_shows_a_synthetic_volume_says_so(panel, annotations):
    import slicer

    source = head()
    slicer.util.setSliceViewerLayers(background=source)
    assert [mark_in(annotations, v) for v in ("Red", "Yellow", "Green")] == [""] * 3
    panel.synthesize()
    for view in ("Red", "Yellow", "Green"):
        assert mark_in(annotations, view) == "SYNTHETIC - NOT FOR DIAGNOSIS"
    slicer.util.setSliceViewerLayers(foregroundOpacity=0.0)
    assert mark_in(annotations, "Red") == ""


def test_a_volume_that_is_shown_already_gets_its_mark_when_it_becomes_synthetic(
    panel, annotations, scene
):
    import slicer

    head()
    output = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    slicer.util.setSliceViewerLayers(background=output, foreground=None)
    panel.ui.outputSelector.setCurrentNode(output)
    panel.synthesize()
    slicer.util.setSliceViewerLayers(background=output, foreground=None)
    assert mark_in(annotations, "Red") == "SYNTHETIC - NOT FOR DIAGNOSIS"


@pytest.mark.parametrize("layer", [1, 3, 4])
def test_a_synthetic_volume_in_any_layer_is_marked_however_faint_it_is(panel, annotations, layer):
    import slicer

    source, output = head(), panel.synthesize()
    slicer.util.setSliceViewerLayers(background=source, foreground=None)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    for further in range(3, layer):
        composite.SetNthLayerVolumeID(further, source.GetID())
    assert mark_in(annotations, "Red") == ""
    composite.SetNthLayerVolumeID(layer, output.GetID())
    composite.SetNthLayerOpacity(layer, 0.05)
    assert mark_in(annotations, "Red") == "SYNTHETIC - NOT FOR DIAGNOSIS"
    composite.SetNthLayerOpacity(layer, 0.0)
    assert mark_in(annotations, "Red") == ""
    composite.SetNthLayerVolumeID(layer, None)


def mark_in_3d(annotations, view):
    import vtk

    text = annotations._threeD._texts[view.mrmlViewNode().GetID()]
    return text.GetText(vtk.vtkCornerAnnotation.UpperEdge) or ""


def test_a_3d_view_that_renders_a_synthetic_volume_says_so(panel, stand, annotations, scene):
    import slicer

    view = stand.layout.addThreeDView()
    stand.layout.setLayout(stand.layout.layout)
    source, output = head(), panel.synthesize()
    slicer.util.setSliceViewerLayers(background=source, foreground=None)
    for volume, said in ((source, ""), (output, "SYNTHETIC - NOT FOR DIAGNOSIS")):
        display = scene.AddNewNodeByClass("vtkMRMLGPURayCastVolumeRenderingDisplayNode")
        volume.AddAndObserveDisplayNodeID(display.GetID())
        display.SetVisibility(True)
        assert mark_in_3d(annotations, view) == said
    display.SetVisibility(False)
    assert mark_in_3d(annotations, view) == ""


def test_a_3d_view_that_shows_a_synthetic_slice_says_so(panel, stand, annotations):
    import slicer

    view = stand.layout.addThreeDView()
    stand.layout.setLayout(stand.layout.layout)
    source, output = head(), panel.synthesize()
    slicer.util.setSliceViewerLayers(background=source, foreground=None)
    red = stand.layout.sliceWidget("Red").mrmlSliceNode()
    red.SetSliceVisible(True)
    assert mark_in_3d(annotations, view) == ""
    slicer.util.setSliceViewerLayers(background=output)
    assert mark_in_3d(annotations, view) == "SYNTHETIC - NOT FOR DIAGNOSIS"
    red.SetSliceVisible(False)
    assert mark_in_3d(annotations, view) == ""


def test_a_module_added_to_a_running_slicer_marks_at_once(panel, stand, models, tmp_path):
    """No startupCompleted comes any more; the main window is there already."""
    import slicer
    from panel import MODULE

    from MambaSynthLib.io.files import read_marks

    head()
    output = panel.synthesize()
    panel.events()
    stand.main_window.show()
    module = stand.modules.load_scripted(MODULE)
    instance = slicer.modules.MambaSynthInstance
    stand.app.processEvents()
    try:
        slicer.util.setSliceViewerLayers(background=output, foreground=None)
        assert mark_in(instance.annotations, "Red") == "SYNTHETIC - NOT FOR DIAGNOSIS"
        slicer.util.saveNode(output, str(tmp_path / "result.nrrd"))
        assert read_marks(tmp_path / "result.nrrd").provenance.model_id == "inverter"
    finally:
        stand.main_window.hide()
        instance.annotations.stop()
        instance.fileMarks.stop()
        stand.modules.unload_scripted(module)


def test_during_start_up_nothing_is_marked_before_it_is_completed(stand, scene, models):
    """The event loop may come round while the splash screen is shown: there is no view yet."""
    import slicer
    from panel import MODULE

    module = stand.modules.load_scripted(MODULE)
    instance = slicer.modules.MambaSynthInstance
    stand.app.processEvents()
    assert instance.annotations._annotations == {}
    stand.app.startupCompleted.emit()
    assert set(instance.annotations._annotations) == {"Red", "Yellow", "Green"}
    instance.annotations.stop()
    instance.fileMarks.stop()
    stand.modules.unload_scripted(module)


def views(stand):
    return {
        name: (
            widget.mrmlSliceCompositeNode().GetBackgroundVolumeID(),
            widget.mrmlSliceCompositeNode().GetForegroundVolumeID(),
            widget.mrmlSliceCompositeNode().GetForegroundOpacity(),
            widget.mrmlSliceCompositeNode().GetLinkedControl(),
            [
                widget.mrmlSliceNode().GetSliceToRAS().GetElement(r, c)
                for r in range(3)
                for c in (0, 1, 2)
            ],
        )
        for name in ("Red", "Yellow")
        for widget in [stand.layout.sliceWidget(name)]
    }


@pytest.mark.parametrize("linked", [0, 1])
def test_side_by_side_shows_both_linked_and_gives_the_former_views_back(panel, stand, linked):
    import slicer

    source = head()
    output = panel.synthesize()
    for name in ("Red", "Yellow"):
        stand.layout.sliceWidget(name).mrmlSliceCompositeNode().SetLinkedControl(linked)
    before, layout = views(stand), stand.layout.layout
    panel.ui.sideBySideButton.click()
    assert stand.layout.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
    shown = views(stand)
    assert shown["Red"][0] == source.GetID() and shown["Yellow"][0] == output.GetID()
    assert shown["Red"][3] and shown["Yellow"][3] and shown["Red"][4] == shown["Yellow"][4]
    panel.ui.sideBySideButton.click()
    assert views(stand) == before and stand.layout.layout == layout
    assert before["Red"][1] == output.GetID() and before["Red"][3] == linked


def test_the_fade_slider_lays_the_synthetic_volume_over_the_source(panel, stand):
    head()
    panel.synthesize()
    composite = stand.layout.sliceWidget("Red").mrmlSliceCompositeNode()
    panel.ui.fadeSlider.value = 0.25
    assert composite.GetForegroundOpacity() == 0.25
    panel.ui.sideBySideButton.click()
    assert composite.GetForegroundOpacity() == 0.0
    panel.ui.fadeSlider.value = 0.5
    assert composite.GetForegroundOpacity() == 0.5


def test_a_new_result_joins_the_side_by_side_view(panel, stand):
    head()
    panel.synthesize()
    panel.ui.sideBySideButton.click()
    second = panel.synthesize()
    assert views(stand)["Yellow"][0] == second.GetID()
    assert views(stand)["Red"][2] == 0.0


def test_closing_the_scene_leaves_the_side_by_side_view(panel, stand, scene):
    layout = stand.layout.layout
    head()
    panel.synthesize()
    panel.ui.sideBySideButton.click()
    scene.Clear(0)
    panel.events()
    assert stand.layout.layout == layout and not panel.ui.sideBySideButton.checked


def test_compare_is_off_until_there_is_something_to_compare(panel):
    head()
    panel.events()
    assert not panel.ui.sideBySideButton.enabled and not panel.ui.fadeSlider.enabled
    panel.synthesize()
    assert panel.ui.sideBySideButton.enabled and panel.ui.fadeSlider.enabled
