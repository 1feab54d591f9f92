"""From the click to the synthetic node: grid, place, marks, display, saving, and cancel."""

import time

import numpy as np
import pytest
from panel import SHARED, head, oblique, sample_file

CLINICAL = SHARED / "data/brain_t1_t2/clinical_2d/patient01/study1_T1W.nii.gz"  # oblique


def matrix_of(node):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def world_matrix_of(node):
    """Voxel -> world, by asking VTK to transform four points."""
    import vtk

    to_world = vtk.vtkGeneralTransform()
    if node.GetParentTransformNode():
        node.GetParentTransformNode().GetTransformToWorld(to_world)
    points = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    ras = [matrix_of(node)[:3] @ [*p, 1.0] for p in points]
    return np.array([to_world.TransformPoint(p) for p in ras])


def inverted(node):
    import slicer

    array = slicer.util.arrayFromVolume(node)
    return array.max() - array


def turned_parent(scene, degrees=90.0):
    import slicer
    import vtk

    transform = vtk.vtkTransform()
    transform.RotateX(degrees)
    transform.Translate(5, 6, 7)
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
    node.SetMatrixTransformToParent(transform.GetMatrix())
    assert slicer.mrmlScene is scene
    return node


@pytest.mark.parametrize("name", ["a head from formulas", "an oblique clinical scan"])
def test_a_loaded_t1_is_synthesized_by_one_click_on_its_own_grid(panel, name, tmp_path):
    import slicer

    clinical = name == "an oblique clinical scan"
    if clinical and not CLINICAL.exists():
        pytest.skip(f"{name} is not part of the repository")
    source = slicer.util.loadVolume(str(CLINICAL if clinical else sample_file(tmp_path)))
    panel.events()
    assert panel.ui.sourceSelector.currentNode() is source
    assert panel.ui.applyButton.text == "Synthesize T2"
    output = panel.synthesize()
    assert np.abs(matrix_of(output) - matrix_of(source)).max() < 1e-6
    assert output.GetImageData().GetDimensions() == source.GetImageData().GetDimensions()
    assert np.allclose(slicer.util.arrayFromVolume(output), inverted(source))
    limits = "Lesions that T1w does not show do not appear."
    assert panel.ui.statusLabel.text.endswith(f"Taken for a whole head, 250 cm2. {limits}")
    assert "Warning" not in panel.ui.statusLabel.text  # which is for what is not said each time
    assert limits in output.GetDescription()
    assert ", taken for a whole head, by " in output.GetDescription()


@pytest.mark.parametrize("parent", [False, True], ids=["world", "parent transform"])
def test_an_oblique_source_keeps_its_grid_and_its_place(panel, scene, parent):
    import slicer

    source = head(affine=oblique())
    if parent:
        source.SetAndObserveTransformNodeID(turned_parent(scene).GetID())
    output = panel.synthesize()
    assert np.abs(matrix_of(output) - matrix_of(source)).max() < 1e-6
    assert np.abs(world_matrix_of(output) - world_matrix_of(source)).max() < 1e-6
    assert output.GetParentTransformNode() is source.GetParentTransformNode()
    assert np.array_equal(slicer.util.arrayFromVolume(output), inverted(source))


def test_the_library_sees_the_volume_where_it_stands_in_the_world(panel, scene):
    from MambaSynthSlicer import mrml

    source = head(affine=oblique())
    source.SetAndObserveTransformNodeID(turned_parent(scene).GetID())
    corner, i, j, k = world_matrix_of(source)
    affine = mrml.toVolume(source).affine
    assert np.allclose(affine[:3, 3], corner)
    assert np.allclose(affine[:3, :3].T, [i - corner, j - corner, k - corner])


def test_the_output_is_named_filed_and_windowed_for_the_reader(panel, scene):
    import slicer
    from MambaSynthSlicer import mrml

    hierarchy = scene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(
        hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "P"), "S"
    )
    source = head("Head T1")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(source), study)
    output = panel.synthesize()
    assert output.GetName() == "Head T1 SYNTHETIC T2w"
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(output)) == study
    display = output.GetDisplayNode()
    array = slicer.util.arrayFromVolume(output)
    limits = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    assert not display.GetAutoWindowLevel()
    assert limits == pytest.approx(mrml.window(array.transpose(2, 1, 0), "T2w"), rel=1e-5)


def test_other_contrasts_get_the_window_of_what_is_no_background(panel):
    from MambaSynthSlicer import mrml

    array = np.full((10, 10, 10), -5.0)
    array[4:, 4:] = np.random.default_rng(0).random((6, 6, 10)) * 900
    tissue = np.percentile(array[array > -5], (1, 99))
    for contrast in ("", "FLAIR"):
        assert mrml.window(array, contrast) == pytest.approx(tuple(tissue))
    assert mrml.window(np.zeros((4, 4, 4)), "T2w") == (0.0, 1.0)  # nothing to be seen


def check_marks(output, source):
    attributes = {name: output.GetAttribute(name) for name in output.GetAttributeNames()}
    assert attributes["MambaSynth.mark"] == "SYNTHETIC - NOT FOR DIAGNOSIS"
    assert attributes["MambaSynth.model_id"] == "inverter"
    assert attributes["MambaSynth.model_version"] == "1.0.0"
    assert attributes["MambaSynth.weights_sha256"] == "5" * 64
    assert attributes["MambaSynth.seed"] == "77"
    assert attributes["MambaSynth.steps"] == "3"
    assert output.GetNodeReference("MambaSynth.source") is source
    assert "SYNTHETIC" in output.GetName() and "SYNTHETIC" in output.GetDescription()


def test_everything_survives_saving_and_loading_the_scene(panel, scene, tmp_path):
    import slicer

    source = head(affine=oblique() @ np.diag([-1, 1, 1, 1]))  # Slicer's reader flips left-handed
    source.SetAndObserveTransformNodeID(turned_parent(scene).GetID())
    panel.ui.seedSpinBox.value = 77
    panel.ui.stepsSpinBox.value = 3
    output = panel.synthesize()
    check_marks(output, source)
    before = world_matrix_of(output), slicer.util.arrayFromVolume(output).copy()
    window = output.GetDisplayNode().GetWindow(), output.GetDisplayNode().GetLevel()
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    scene.Clear(0)
    panel.events()
    assert panel.ui.sourceSelector.currentNode() is None and not panel.ui.applyButton.enabled
    slicer.util.loadScene(path)
    panel.events()
    source, output = slicer.util.getNode("Head"), slicer.util.getNode("Head SYNTHETIC T2w")
    check_marks(output, source)
    assert np.allclose(world_matrix_of(output), before[0], atol=1e-6)
    assert np.array_equal(slicer.util.arrayFromVolume(output), before[1])
    display = output.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == pytest.approx(window)
    assert panel.ui.sourceSelector.currentNode() is source
    assert (panel.ui.seedSpinBox.value, panel.ui.stepsSpinBox.value) == (77, 3)


def test_the_provenance_of_a_node_can_be_read_back(panel):
    from MambaSynthSlicer import mrml

    head()
    assert mrml.provenanceOf(panel.synthesize()).device == "auto"


def test_an_existing_output_is_overwritten_and_its_old_marks_replaced(panel):
    import slicer

    head()
    first = panel.synthesize()
    panel.ui.outputSelector.setCurrentNode(first)
    panel.ui.seedSpinBox.value = 5
    second = panel.synthesize()
    assert second is first and first.GetAttribute("MambaSynth.seed") == "5"
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2


def test_without_a_chosen_output_every_run_makes_a_new_volume(panel):
    head()
    names = {panel.synthesize().GetName() for _ in range(2)}
    assert len(names) == 2


def test_progress_is_counted_and_the_time_left_is_told(panel):
    head(shape=(8, 8, 60))
    panel.choose_model("slow")
    panel.ui.applyButton.click()
    panel.wait(lambda: "left" in panel.ui.statusLabel.text)
    assert panel.ui.progressBar.maximum == 60 and panel.ui.progressBar.value > 0
    assert panel.ui.statusLabel.text.split(",")[0] == f"{panel.ui.progressBar.value}/60"
    panel.ui.applyButton.click()
    panel.wait_idle()
    assert panel.ui.statusLabel.text == "Cancelled; nothing was changed."


def test_the_time_left_follows_from_the_pace_since_the_first_piece(monkeypatch, panel):
    """Two pieces in 6 s: five more take 15 s, however long the first one, with loading, took."""
    from MambaSynthSlicer import run

    now = iter([100.0, 103.0, 106.0])
    monkeypatch.setattr(run.time, "monotonic", lambda: next(now))
    under_way = run.Run(1, None, None)
    left = [run.secondsLeft(under_way, done, 10) for done in (3, 3, 5)]
    assert left == [None, None, 15.0]


def test_cancelling_20_times_is_idle_within_a_second_and_leaves_nothing(panel, scene):
    head(shape=(8, 8, 400))
    panel.choose_model("slow")
    nodes = scene.GetNumberOfNodes()
    for _ in range(20):
        panel.ui.applyButton.click()
        panel.wait(lambda: panel.ui.progressBar.maximum > 0 and "/" in panel.ui.statusLabel.text)
        assert panel.ui.applyButton.text == "Cancel"
        begun = time.monotonic()
        panel.ui.applyButton.click()
        panel.wait_idle(seconds=2)
        assert time.monotonic() - begun < 1.0
        assert panel.ui.applyButton.text == "Synthesize T2" and panel.ui.applyButton.enabled
        assert panel.files_left() == []
    assert scene.GetNumberOfNodes() == nodes


def test_the_panel_stays_alive_while_a_run_is_under_way(panel):
    """The event loop must come round often, or Slicer looks frozen."""
    import qt

    head(shape=(8, 8, 40))
    ticks = []
    timer = qt.QTimer()
    timer.setInterval(10)
    timer.connect("timeout()", lambda: ticks.append(time.monotonic()))
    panel.choose_model("slow")
    timer.start()
    panel.ui.applyButton.click()
    panel.wait_idle()
    timer.stop()
    assert max(np.diff(ticks)) < 0.5


def test_the_second_run_starts_computing_within_a_second(panel):
    head()
    panel.synthesize("loads-slowly")
    panel.ui.statusLabel.text = ""
    begun = time.monotonic()
    panel.ui.applyButton.click()
    panel.wait(lambda: "/" in panel.ui.statusLabel.text or not panel.logic.busy)
    assert time.monotonic() - begun < 1.0
    panel.wait_idle()


@pytest.fixture
def with_undo(scene):
    """A scene with undo switched on, as an application may do it for volumes."""
    default = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    default.UnRegister(None)
    default.SetUndoEnabled(True)
    scene.AddDefaultNode(default)
    scene.SetUndoOn()
    yield scene
    scene.ClearUndoStack()
    scene.SetUndoOff()
    default.SetUndoEnabled(False)


def test_undo_takes_the_synthetic_volume_away_again(panel, with_undo):
    source = head()
    output = panel.synthesize()
    name = output.GetName()
    with_undo.Undo()
    panel.events()
    assert with_undo.GetFirstNodeByName(name) is None
    assert with_undo.GetNodeByID(source.GetID()) is not None
    assert panel.synthesize() is not None


def test_it_works_from_a_script_without_the_panel(panel, scene):
    source = head()
    output = panel.logic.synthesize(source, model="inverter", seed=9)
    assert output.GetAttribute("MambaSynth.seed") == "9"
