"""What the user reads when a cine cannot be made, and that nothing is left behind."""

import time
import tracemalloc

import hearts
import numpy as np
import pytest
from panel import dialog_after, head, oblique

slicer = pytest.importorskip("slicer")


def tooltip_for(panel, source):
    hearts.choose_cine(panel, source)
    assert not panel.ui.applyButton.enabled
    return panel.ui.applyButton.toolTip


# ------------------------------------------------------------------------------ unfit sources


def test_without_a_source_the_button_is_off_and_says_so(panel):
    panel.ui.taskTabs.setCurrentIndex(1)
    assert panel.ui.applyButton.toolTip == "Select a cine, or an ED and an ES volume."
    assert not panel.ui.applyButton.enabled


@pytest.mark.parametrize(("count", "said"), [(0, "Cine has 0 frames"), (1, "Cine has 1 frames")])
def test_a_cine_without_motion_is_refused(panel, count, said):
    said += ", but a cine needs two or more."
    assert tooltip_for(panel, hearts.sequence(hearts.beat()[:count])) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.SetOrigin(0, 0, 0.01), "has another grid than frame 1"),
        (lambda f: f.SetSpacing(1, 1, 1.1), "has another grid than frame 1"),
        (lambda f: slicer.util.updateVolumeFromArray(f, np.ones((4, 18, 19), "f")), "another grid"),
        (
            lambda f: slicer.util.updateVolumeFromArray(f, np.ones((4, 18, 20), "int16")),
            "holds short numbers, but frame 1 float",
        ),
        (lambda f: f.SetAndObserveImageData(None), "is empty; remove it."),
    ],
    ids=["moved", "spacing", "size", "type", "empty"],
)
def test_a_frame_unlike_the_first_is_refused_by_its_number(panel, change, said):
    source = hearts.sequence()
    change(source.GetNthDataNode(2))
    source.Modified()
    told = tooltip_for(panel, source)
    assert told.startswith("Frame 3 of Cine") and said in told


def test_a_frame_that_becomes_fit_is_noticed(panel):
    source = hearts.sequence()
    source.GetNthDataNode(2).SetOrigin(1, 1, 1)
    source.Modified()
    assert "Frame 3" in tooltip_for(panel, source)
    source.GetNthDataNode(2).SetOrigin(0, 0, 0)
    source.Modified()
    assert panel.ui.applyButton.enabled


@pytest.mark.parametrize("value", ["", "early", "nan"])
def test_a_frame_without_a_time_is_refused(panel, value):
    source = hearts.sequence()
    source.SetIndexType(source.TextIndex)
    source.UpdateIndexValue("200.0", value)
    source.SetIndexType(source.NumericIndex)
    told = tooltip_for(panel, source)
    assert "no time" in told or "no finite number" in told


@pytest.mark.parametrize("what", ["unit", "type"])
def test_an_index_that_is_no_time_is_refused_until_the_pace_is_given(panel, what):
    source = hearts.sequence()
    if what == "unit":
        source.SetIndexUnit("")
    else:
        source.SetIndexType(source.TextIndex)
    assert "Cine does not say when its frames were taken" in tooltip_for(panel, source)
    panel.ui.cinePaceSpinBox.value = 60.0
    assert panel.ui.applyButton.enabled


def test_a_sequence_of_other_things_is_refused(panel, scene):
    source = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Needle")
    source.SetIndexUnit("ms")
    for time_ms in ("0", "1"):
        source.SetDataNodeAtValue(slicer.vtkMRMLLinearTransformNode(), time_ms)
    assert tooltip_for(panel, source).startswith("Frame 1 of Needle is no volume")


def test_a_synthetic_cine_is_refused_and_so_is_its_synthetic_frame(panel):
    hearts.choose_cine(panel, hearts.sequence())
    output = hearts.synthesize(panel)
    assert "is synthetic itself" in tooltip_for(panel, output)
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(output)
    proxy = browser.GetProxyNode(output)
    assert "is synthetic itself" in tooltip_for(panel, proxy)
    browser.SetSelectedItemNumber(1)
    panel.ui.taskTabs.setCurrentIndex(0)
    panel.ui.sourceSelector.setCurrentNode(proxy)
    assert "is synthetic itself" in panel.ui.applyButton.toolTip


def test_a_cine_under_a_non_linear_transform_is_refused(panel, scene):
    source = hearts.sequence()
    _, proxy = hearts.browsed(source)
    warp = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    import vtk

    warp.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    proxy.SetAndObserveTransformNodeID(warp.GetID())
    assert "non-linear transform" in tooltip_for(panel, source)


def test_a_pair_that_does_not_belong_together_is_refused(panel):
    ed, es = hearts.pair()
    hearts.choose_cine(panel, ed)
    choose = panel.ui.cineEsSelector.setCurrentNode
    choose(ed)
    assert panel.ui.applyButton.toolTip.startswith("ED and ES are the same volume")
    choose(es)
    assert panel.ui.applyButton.enabled
    choose(None)
    es.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(oblique()))
    choose(es)
    assert panel.ui.applyButton.toolTip.startswith("Systole has another grid than Diastole")
    es.SetAndObserveImageData(None)
    assert panel.ui.applyButton.toolTip.startswith("Systole is empty")


def test_one_frame_for_both_phases_is_refused(panel):
    hearts.choose_cine(panel, hearts.sequence())
    panel.ui.cineEdSpinBox.value = panel.ui.cineEsSpinBox.value = 2
    assert panel.ui.applyButton.toolTip.startswith("One frame cannot be both ED and ES")


def test_equal_frames_are_refused_in_the_librarys_words(panel):
    hearts.choose_cine(panel, hearts.sequence([hearts.beat()[0]] * 3))
    dialog = dialog_after(panel, panel.ui.applyButton.click)
    assert "all frames are equal" in dialog.text and hearts.synthesized() == []


# ------------------------------------------------------------------------------- during the run


@pytest.fixture
def running(panel, scene):
    """A run under way; at the end the scene must hold what it held before it."""
    source = hearts.sequence()
    browser, proxy = hearts.browsed(source)
    hearts.choose_cine(panel, source, "slow-blender", frames=200)
    before = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    panel.ui.applyButton.click()
    panel.wait(lambda: "/" in panel.ui.statusLabel.text)
    yield source, browser, proxy
    panel.wait_idle()
    after = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    assert not [i for i in after - before if "Sequence" in i or "Volume" in i]
    assert panel.files_left() == []


def test_cancel_is_idle_within_a_second_and_leaves_nothing(panel, running):
    source, browser, _ = running
    begun = time.monotonic()
    assert panel.ui.applyButton.text == "Cancel"
    panel.ui.applyButton.click()
    panel.wait_idle(seconds=2)
    assert time.monotonic() - begun < 1.0
    assert panel.ui.statusLabel.text == "Cancelled; nothing was changed."
    assert browser.GetMasterSequenceNode() is source and not browser.GetPlaybackActive()


def test_a_removed_source_ends_the_run(panel, scene, running):
    dialog = dialog_after(panel, lambda: scene.RemoveNode(running[0]))
    assert "removed during the synthesis; nothing was changed" in dialog.text


def test_an_edited_frame_ends_the_run(panel, running):
    def edit():
        frame = running[0].GetNthDataNode(3)
        slicer.util.arrayFromVolume(frame)[0] = 5
        slicer.util.arrayFromVolumeModified(frame)

    assert "edited during the synthesis" in dialog_after(panel, edit).text


def test_a_closed_scene_ends_the_run(panel, scene, running):
    dialog_after(panel, lambda: scene.Clear(0))
    assert panel.ui.applyButton.text == "Synthesize cine" and not panel.ui.applyButton.enabled


def test_playing_and_renaming_the_source_is_no_edit(panel):
    source = hearts.sequence()
    browser, proxy = hearts.browsed(source)
    hearts.choose_cine(panel, proxy, "slow-blender", frames=80)
    panel.ui.applyButton.click()
    panel.wait(lambda: "/" in panel.ui.statusLabel.text)
    source.SetName("Patient")
    while panel.logic.busy:
        browser.SetSelectedItemNumber((browser.GetSelectedItemNumber() + 1) % 5)
        panel.events()
        time.sleep(0.02)
    (output,) = hearts.synthesized()
    assert output.GetName() == "Patient SYNTHETIC cine"


def test_a_browser_removed_during_the_run_is_replaced(panel, scene):
    source = hearts.sequence()
    browser, _ = hearts.browsed(source)
    hearts.choose_cine(panel, source, "slow-blender", frames=40)
    panel.ui.applyButton.click()
    panel.wait(lambda: "/" in panel.ui.statusLabel.text)
    scene.RemoveNode(browser)
    panel.wait_idle()
    (output,) = hearts.synthesized()
    logic = slicer.modules.sequences.logic()
    assert logic.GetFirstBrowserNodeForSequenceNode(output) is not None


def test_a_crash_is_told_and_leaves_nothing(panel):
    hearts.choose_cine(panel, hearts.sequence(), "dying-blender")
    dialog = dialog_after(panel, panel.ui.applyButton.click)
    assert "ended by itself: exit code 7" in dialog.text and hearts.synthesized() == []


def test_a_damaged_result_leaves_nothing(panel, scene, monkeypatch):
    """The last frame cannot be read: the sequence was filled, but the scene must not know."""
    from MambaSynthSlicer import cine_run

    from MambaSynthLib.errors import FileError

    read = cine_run.load_volume

    def last_is_damaged(file):
        if file.endswith("frame-0011.npz"):
            raise FileError("frame-0011.npz: is damaged.")
        return read(file)

    hearts.choose_cine(panel, hearts.sequence())
    nodes = scene.GetNumberOfNodes()
    monkeypatch.setattr(cine_run, "load_volume", last_is_damaged)
    dialog = dialog_after(panel, panel.ui.applyButton.click)
    assert "damaged" in dialog.text
    assert scene.GetNumberOfNodes() == nodes


def test_a_contrast_run_and_a_cine_run_exclude_each_other(panel):
    head()
    hearts.choose_cine(panel, hearts.sequence(), "slow-blender", frames=200)
    panel.ui.applyButton.click()
    panel.ui.taskTabs.setCurrentIndex(0)
    assert panel.ui.applyButton.text == "Cancel"  # whichever tab is shown
    with pytest.raises(Exception, match="running already"):
        panel.logic.synthesize(slicer.util.getNode("Head"), model="inverter")
    panel.ui.applyButton.click()
    panel.wait_idle()
    assert panel.ui.applyButton.text == "Synthesize T2"


# ------------------------------------------------------------------------------------ many frames


def test_a_thousand_frames_go_through_one_at_a_time(panel, tmp_path):
    """The panel holds one frame besides those in the scene, and looks at them all quickly."""
    from MambaSynthSlicer import sequences
    from MambaSynthSlicer.cine_run import CineJob, CineRequest

    radii = tuple(4 + 2 * np.cos(np.arange(1000) / 20))
    source = hearts.sequence(hearts.beat(shape=(32, 32, 4), radii=radii), times=range(1000))
    frame_bytes = 32 * 32 * 4 * 4
    job = CineJob(source, None, CineRequest("blender", 1001))
    tracemalloc.start()
    request = job.write(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(request["sources"]) == 1000 and peak < 200 * frame_bytes
    hearts.choose_cine(panel, source, frames=1005)
    begun = time.monotonic()
    for _ in range(20):
        assert sequences.refusal(source) is None
    assert time.monotonic() - begun < 0.5  # looked at once
    output = hearts.synthesize(panel)
    assert output.GetNumberOfDataNodes() == 1005
    assert hearts.kinds_of(output).count("synthetic") == 5


def test_an_edit_after_the_last_look_is_noticed_at_the_end(panel, monkeypatch):
    """All frames are looked at every few seconds only; here, not again before the end."""
    from MambaSynthSlicer import cine_run

    monkeypatch.setattr(cine_run, "WATCH_S", 1e9)
    source = hearts.sequence()
    hearts.choose_cine(panel, source, "slow-blender")

    def edit():
        panel.ui.applyButton.click()
        panel.wait(lambda: "/" in panel.ui.statusLabel.text)
        array = slicer.util.arrayFromVolume(source.GetNthDataNode(1))
        array[:] += 1
        slicer.util.arrayFromVolumeModified(source.GetNthDataNode(1))

    assert "edited during the synthesis" in dialog_after(panel, edit).text
    assert hearts.synthesized() == []
