"""What the user reads when something goes wrong, and that nothing is left behind."""

import numpy as np
import pytest
from panel import dialog_after, head


def start(panel, model="slow", slices=200):
    source = head(shape=(8, 8, slices))
    panel.events()
    panel.choose_model(model)
    panel.ui.applyButton.click()
    if model == "slow":
        panel.wait(lambda: "/" in panel.ui.statusLabel.text)
    return source


@pytest.mark.usefixtures("untouched")
def test_a_refusal_of_the_engine_is_shown_in_its_own_words(panel):
    dialog = dialog_after(panel, lambda: start(panel, "refuses"))
    assert dialog.text == "Head.nii: is constant, so there is nothing to synthesize."
    assert dialog.details == "" and panel.ui.applyButton.enabled


@pytest.mark.parametrize("insist", [True, False])
def test_what_the_input_gate_refuses_is_synthesized_only_where_the_user_insists(panel, insist):
    import qt
    import slicer

    source = head("Knee")
    panel.events()
    panel.choose_model("inverter")
    button = qt.QMessageBox.Yes if insist else qt.QMessageBox.No
    panel.stand.record.answers.append(lambda dialog: button)
    panel.ui.applyButton.click()
    panel.wait(lambda: not panel.stand.record.answers)
    panel.wait_idle()
    assert "looks like a knee" in panel.stand.record.dialogs[-1].text
    made = slicer.mrmlScene.GetNodesByClass("vtkMRMLScalarVolumeNode").GetNumberOfItems() - 1
    assert made == insist and panel.files_left() == []
    if insist:
        output = slicer.util.getNode(f"{source.GetName()} SYNTHETIC*")
        assert "refused but forced" in output.GetAttribute("MambaSynth.warnings")
    else:
        assert "nothing was changed" in panel.ui.statusLabel.text


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
    assert not child.running and not folder.exists()


@pytest.mark.usefixtures("untouched")
def test_a_child_that_cannot_start_is_told(panel):
    panel.worker.command = ["/no/such/python"]
    dialog = dialog_after(panel, lambda: start(panel, "inverter"))
    assert dialog.text.startswith("The synthesis process cannot be started (No such file")


@pytest.mark.usefixtures("untouched")
def test_a_full_disk_is_told(panel, monkeypatch):
    import errno

    from MambaSynthLib.server import exchange

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
