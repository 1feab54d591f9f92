"""The stand-in's CTK and qMRML widgets, its .ui loader and its file manager."""

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("scene")

UI = """<ui version="4.0"><class>T</class><widget class="qMRMLWidget" name="T">
<layout class="QVBoxLayout" name="l"><item><widget class="ctkSliderWidget" name="fade">
<property name="maximum"><double>1.0</double></property></widget></item>
<item><widget class="qMRMLNodeComboBox" name="selector"/></item></layout></widget>
<connections><connection><sender>T</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections>
</ui>"""


def load(tmp_path, text):
    import slicer

    (tmp_path / "t.ui").write_text(text)
    return slicer.util.loadUI(str(tmp_path / "t.ui"))


def test_a_slider_emits_its_float_value():
    import ctk

    slider, got = ctk.ctkSliderWidget(), []
    slider.minimum, slider.maximum = -5, 10
    slider.connect("valueChanged(double)", got.append)
    slider.value = 3.25
    assert slider.value == 3.25 and got == [3.25]
    with pytest.raises(AttributeError):
        slider.maximun = 1


def test_a_range_keeps_low_below_high():
    import ctk

    widget = ctk.ctkRangeWidget()
    widget.setRange(0, 20)
    widget.setValues(5, 10)
    widget.minimumValue = 12
    assert (widget.minimumValue, widget.maximumValue) == (12, 12)


def test_a_collapsible_button_hides_its_content_when_folded():
    import ctk
    import qt

    box = ctk.ctkCollapsibleButton()
    child = qt.QLabel("inside", box)
    box.collapsed = True
    assert box.collapsed and not child.visible and not box.checked


def test_a_ui_file_is_loaded_and_its_connections_made(tmp_path, stand):
    import slicer

    widget = load(tmp_path, UI)
    ui = slicer.util.childWidgetVariables(widget)
    widget.setMRMLScene(stand.scene)
    assert ui.fade.maximum == 1.0 and ui.selector.mrmlScene() is stand.scene


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("ctkSliderWidget", "ctkSlyderWidget", "unknown class ctkSlyderWidget"),
        ('name="maximum"', 'name="maximun"', "no property 'maximun'"),
        ("<signal>mrmlSceneChanged", "<signal>sceneChanged", "no signal sceneChanged"),
        ("<slot>setMRMLScene", "<slot>setScene", "no slot setScene"),
        ("<receiver>selector", "<receiver>chooser", "no widget chooser"),
        ('name="fade"', 'name="selector"', "used twice"),
    ],
)
def test_a_faulty_ui_file_is_refused(tmp_path, right, wrong, complaint):
    with pytest.raises(RuntimeError, match=complaint):
        load(tmp_path, UI.replace(right, wrong))


def selector_of_volumes(scene):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.showChildNodeTypes = selector.addEnabled = selector.removeEnabled = False
    selector.setMRMLScene(scene)
    return selector


def test_a_selector_follows_the_scene(scene):
    selector, got = selector_of_volumes(scene), []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda n: got.append(n and n.GetName()))
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "A")
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "L")
    b = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "B")
    selector.setCurrentNode(b)
    scene.RemoveNode(b)
    assert got == ["A", "B", "A"] and selector.nodeCount() == 1


def test_a_selector_with_none_starts_empty_and_clears_with_the_scene(scene):
    selector = selector_of_volumes(scene)
    selector.noneEnabled = True
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "A")
    assert selector.currentNode() is None and selector.currentNodeID == ""
    selector.setCurrentNode(node)
    scene.Clear(0)
    assert selector.currentNode() is None


def test_a_selector_does_not_take_a_node_of_another_class(scene):
    selector = selector_of_volumes(scene)
    selector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "L"))
    assert selector.currentNode() is None


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_volumes_survive_saving_and_loading(tmp_path, suffix):
    import slicer

    array = np.arange(60, dtype="int16").reshape(3, 4, 5)
    node = slicer.util.addVolumeFromArray(array, name="v")
    node.SetSpacing(1, 2, 3)
    path = str(tmp_path / f"v.{suffix}")
    assert slicer.util.saveNode(node, path)
    again = slicer.util.loadVolume(path)
    assert (slicer.util.arrayFromVolume(again) == array).all()
    assert np.allclose(again.GetSpacing(), (1, 2, 3))


def test_loading_a_file_that_is_not_there_raises(tmp_path):
    import slicer

    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "none.nii"))


def test_error_dialogs_are_shown_with_their_details(stand):
    import qt
    import slicer

    stand.record.answers.append(lambda dialog: qt.QMessageBox.Ok)
    slicer.util.errorDisplay("It failed.", detailedText="because")
    dialog = stand.record.dialogs[-1]
    assert (dialog.text, dialog.details) == ("It failed.", "because")


def test_slice_views_render_the_volume(stand):
    import slicer

    array = np.zeros((20, 20, 20), dtype="float32")
    array[5:15, 5:15, 5:15] = 100
    node = slicer.util.addVolumeFromArray(array)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    assert stand.layout.sliceWidget("Red").image().std() > 10
