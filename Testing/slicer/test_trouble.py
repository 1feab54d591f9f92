"""What the user reads when something is wrong, and that nothing is left behind."""

import subprocess

import numpy as np
import pytest
from panel import head, oblique


@pytest.fixture
def untouched(scene):
    """At the end, the scene holds no synthetic volume."""
    import slicer

    yield
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert [v.GetName() for v in volumes if "SYNTHETIC" in v.GetName()] == []


def start(panel, model="slow", slices=200):
    source = head(shape=(8, 8, slices))
    panel.events()
    panel.choose_model(model)
    panel.ui.applyButton.click()
    if model == "slow":
        panel.wait(lambda: "/" in panel.ui.statusLabel.text)
    return source


def dialog_after(panel, action):
    """The one dialog that ``action`` leads to."""
    panel.expect_dialog()
    action()
    panel.wait(lambda: not panel.stand.record.answers)
    panel.wait_idle()
    assert panel.files_left() == []
    return panel.stand.record.dialogs[-1]


# ------------------------------------------------------------------------------ unfit sources


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


# -------------------------------------------------------------------------------- during a run


@pytest.mark.usefixtures("untouched")
def test_a_refusal_of_the_engine_is_shown_in_its_own_words(panel):
    dialog = dialog_after(panel, lambda: start(panel, "refuses"))
    assert dialog.text == "Head.nii: is constant, so there is nothing to synthesize."
    assert dialog.details == "" and panel.ui.applyButton.enabled


@pytest.mark.usefixtures("untouched")
def test_a_bug_is_shown_with_its_traceback_folded(panel):
    dialog = dialog_after(panel, lambda: start(panel, "broken"))
    assert "ZeroDivisionError: a bug" in dialog.text and "Traceback" not in dialog.text
    assert "Traceback" in dialog.details


@pytest.mark.usefixtures("untouched")
def test_a_crash_is_told_with_its_reason(panel):
    dialog = dialog_after(panel, lambda: start(panel, "dies"))
    assert "exit code 7, out of cheese" in dialog.text
    assert "the next synthesis starts a new process" in dialog.text


def test_after_a_killed_child_the_next_run_works(panel):
    def kill():
        start(panel)
        panel.worker._child.kill()

    assert "memory ran out" in dialog_after(panel, kill).text
    assert panel.synthesize() is not None


@pytest.mark.usefixtures("untouched")
def test_a_removed_source_ends_the_run_without_an_output(panel, scene):
    dialog = dialog_after(panel, lambda: scene.RemoveNode(start(panel)))
    assert "removed during the synthesis; nothing was changed" in dialog.text


@pytest.mark.usefixtures("untouched")
def test_an_edited_source_ends_the_run_without_an_output(panel):
    import slicer

    def edit():
        source = start(panel)
        slicer.util.arrayFromVolume(source)[0] = 5
        slicer.util.arrayFromVolumeModified(source)

    assert "edited during the synthesis" in dialog_after(panel, edit).text


@pytest.mark.usefixtures("untouched")
def test_a_moved_source_ends_the_run_without_an_output(panel):
    dialog = dialog_after(panel, lambda: start(panel).SetOrigin(1, 2, 3))
    assert "edited during the synthesis" in dialog.text


def test_renaming_or_windowing_the_source_during_a_run_is_no_edit(panel):
    source = start(panel, slices=20)
    source.SetName("Patient")
    source.CreateDefaultDisplayNodes()
    source.GetDisplayNode().SetWindow(123)
    panel.wait_idle()
    assert panel.logic.latestSynthetic(source) is not None


@pytest.mark.usefixtures("untouched")
def test_a_closed_scene_ends_the_run_cleanly(panel, scene):
    def close():
        start(panel)
        scene.Clear(0)

    dialog_after(panel, close)
    assert panel.ui.applyButton.text == "Synthesize T2" and not panel.ui.applyButton.enabled


def test_loading_another_scene_into_this_one_does_not_disturb_a_run(panel, scene, tmp_path):
    import slicer

    other = head("Other")
    path = str(tmp_path / "other.mrb")
    assert slicer.util.saveScene(path)
    scene.RemoveNode(other)
    source = start(panel, slices=40)
    slicer.util.loadScene(path)
    panel.wait_idle()
    assert panel.logic.latestSynthetic(source) is not None


@pytest.mark.usefixtures("untouched")
def test_a_removed_output_ends_the_run(panel, scene):
    def remove():
        source = head(shape=(8, 8, 200))
        output = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "out")
        panel.events()
        panel.ui.outputSelector.setCurrentNode(output)
        panel.choose_model("slow")
        panel.ui.applyButton.click()
        assert panel.ui.sourceSelector.currentNode() is source
        panel.wait(lambda: "/" in panel.ui.statusLabel.text)
        scene.RemoveNode(output)

    assert "output volume was removed" in dialog_after(panel, remove).text


@pytest.mark.usefixtures("untouched")
def test_a_second_run_at_the_same_time_is_refused(panel):
    source = start(panel)
    with pytest.raises(Exception, match="running already"):
        panel.logic.synthesize(source, model="inverter")
    panel.ui.applyButton.click()
    panel.wait_idle()


@pytest.mark.usefixtures("untouched")
def test_closing_the_module_mid_run_ends_the_child_and_removes_its_files(panel):
    start(panel)
    child, folder = panel.worker._child, panel.worker._folder
    panel.widget.cleanup()
    assert child.poll() is not None and not folder.exists()


@pytest.mark.usefixtures("untouched")
def test_a_child_that_cannot_start_is_told(panel):
    panel.worker.command = ["/no/such/python"]
    dialog = dialog_after(panel, lambda: start(panel, "inverter"))
    assert dialog.text.startswith("The synthesis process cannot be started (No such file")


@pytest.mark.usefixtures("untouched")
def test_a_full_disk_is_told(panel, monkeypatch):
    import errno

    from MambaSynthLib.io import exchange

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exchange.np, "savez", full)
    dialog = dialog_after(panel, lambda: start(panel, "inverter"))
    assert "No space left on device" in dialog.text and "free some space" in dialog.text


@pytest.mark.usefixtures("untouched")
def test_a_temporary_folder_that_cannot_be_written_is_told(panel, tmp_path):
    panel.worker.stop()
    panel.worker._parentFolder = tmp_path / "missing"
    dialog = dialog_after(panel, lambda: start(panel, "inverter"))
    assert dialog.text.startswith("The temporary folder cannot be written (No such file")


def test_a_prepared_output_is_not_touched_by_a_failed_run(panel, scene):
    import slicer

    head()
    output = panel.synthesize()
    before = slicer.util.arrayFromVolume(output).copy()
    seed = output.GetAttribute("MambaSynth.seed")
    panel.ui.outputSelector.setCurrentNode(output)
    panel.ui.seedSpinBox.value = 3
    panel.choose_model("dies")
    dialog_after(panel, panel.ui.applyButton.click)
    assert np.array_equal(slicer.util.arrayFromVolume(output), before)
    assert output.GetAttribute("MambaSynth.seed") == seed


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


# ------------------------------------------------------------------------------- dependencies


def click(panel):
    head()
    panel.events()
    panel.choose_model("inverter")
    panel.ui.applyButton.click()


@pytest.fixture
def installed(stand, monkeypatch):
    """Restores what tests of missing packages change."""
    monkeypatch.setattr(stand.packaging, "satisfied", True)
    monkeypatch.setattr(stand.packaging, "error", None)
    monkeypatch.setattr(stand.torch, "installed", True)
    monkeypatch.setattr(stand.torch, "accepts", True)
    monkeypatch.setattr(stand.torch, "error", None)
    stand.packaging.asked.clear()
    stand.torch.requests.clear()
    return monkeypatch


def without_torch(monkeypatch):
    from MambaSynthSlicer import dependencies

    monkeypatch.setattr(dependencies, "torchIsInstalled", lambda: False)


def test_nothing_is_asked_when_everything_is_installed(panel, stand, installed):
    head()
    panel.synthesize()
    assert stand.packaging.asked == [] and stand.torch.requests == []


def test_missing_packages_are_asked_for_once_and_without_exact_pins(panel, stand, installed):
    stand.packaging.satisfied = False
    head()
    panel.synthesize()
    ((requirements, requester),) = stand.packaging.asked
    assert requester == "MambaSynth" and any(r.startswith("safetensors") for r in requirements)
    assert not any("==" in r or "SimpleITK" in r or "torch" in r for r in requirements)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("User declined the installation."),
        subprocess.CalledProcessError(1, "pip", "Could not fetch URL: timed out"),
        OSError("Network is unreachable"),
    ],
)
def test_refused_or_failed_packages_give_one_sentence_and_the_offline_way(
    panel, stand, installed, error
):
    stand.packaging.satisfied, stand.packaging.error = False, error
    dialog = dialog_after(panel, lambda: click(panel))
    assert dialog.text.startswith("MambaSynth needs Python packages that were not installed")
    assert "--no-index --find-links" in dialog.text and "\n" not in dialog.text


@pytest.mark.usefixtures("untouched")
def test_refused_torch_gives_the_offline_way(panel, stand, installed):
    without_torch(installed)
    stand.torch.installed = stand.torch.accepts = False
    dialog = dialog_after(panel, lambda: click(panel))
    assert dialog.text.startswith("PyTorch was not installed")
    assert "--no-index --find-links" in dialog.text
    assert stand.torch.requests == [{"ask": True, "torch": ">=2.10,<2.14"}]


@pytest.mark.usefixtures("untouched")
def test_a_failed_download_of_torch_is_told(panel, stand, installed):
    without_torch(installed)
    stand.torch.error = RuntimeError("407 Proxy Authentication Required\nmore lines")
    dialog = dialog_after(panel, lambda: click(panel))
    assert "PyTorch could not be installed (407 Proxy Authentication Required)" in dialog.text


@pytest.mark.usefixtures("untouched")
def test_a_missing_pytorch_extension_is_told(panel, installed):
    without_torch(installed)
    installed.setitem(__import__("sys").modules, "PyTorchUtils", None)
    dialog = dialog_after(panel, lambda: click(panel))
    assert "install the PyTorch extension in the Extensions Manager" in dialog.text
