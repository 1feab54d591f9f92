"""The cine tab, from the click to the playing sequence: times, grid, place, marks, saving."""

import time

import hearts
import numpy as np
import pytest
from panel import oblique, write_model
from test_synthesis import matrix_of, turned_parent, world_matrix_of

slicer = pytest.importorskip("slicer")

MARK = "SYNTHETIC - NOT FOR DIAGNOSIS"


def browser_of(sequence):
    return slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)


# ------------------------------------------------------------------------------------ the result


def test_one_click_makes_a_denser_cine_that_keeps_every_acquired_frame(panel):
    source = hearts.sequence()
    panel.events()
    hearts.choose_cine(panel, source, frames=9)
    assert panel.ui.applyButton.text == "Synthesize cine"
    output = hearts.synthesize(panel)
    assert output.GetName() == "Cine SYNTHETIC cine"
    assert hearts.times_of(output) == [0, 50, 100, 150, 200, 250, 300, 350, 400]
    assert (output.GetIndexName(), output.GetIndexUnit()) == ("time", "ms")
    assert output.GetIndexType() == output.NumericIndex
    acquired, frames = hearts.beat(), hearts.frames_of(output)
    assert hearts.kinds_of(output) == ["acquired", "synthetic"] * 4 + ["acquired"]
    for shown, original in zip(frames[::2], acquired, strict=True):
        assert np.array_equal(shown, original)
    for n, between in enumerate(frames[1::2]):
        assert np.allclose(between, (acquired[n] + acquired[n + 1]) / 2, atol=1e-3)


def test_the_rule_that_found_ed_and_es_is_told_and_kept(panel):
    hearts.choose_cine(panel, hearts.sequence())
    output = hearts.synthesize(panel)
    told = "ED is frame 1, ES frame 3: the largest and the smallest blood pool."
    assert told in panel.ui.statusLabel.text
    assert "ED frame 1, ES frame 3" in output.GetAttribute("MambaSynth.phases")


def test_ed_and_es_can_be_given_and_are_forgotten_with_another_source(panel):
    other = hearts.sequence(name="Other")
    hearts.choose_cine(panel, hearts.sequence())
    panel.ui.cineEdSpinBox.value = 2
    panel.ui.cineEsSpinBox.value = 4
    panel.ui.cinePhasesCheckBox.checked = True
    output = hearts.synthesize(panel)
    assert "ED is frame 2, ES frame 4: given by the user." in panel.ui.statusLabel.text
    assert hearts.times_of(output)[0] == 100 and hearts.times_of(output)[-1] == 300
    assert hearts.kinds_of(output) == ["acquired"] + ["synthetic"] * 10 + ["acquired"]
    hearts.choose_cine(panel, other)
    assert panel.ui.cineEdSpinBox.value == 0
    assert panel.ui.cineEsSpinBox.text == "found automatically"


def test_two_volumes_become_a_contraction_with_assumed_times(panel):
    ed, es = hearts.pair()
    hearts.choose_cine(panel, ed, frames=4)
    assert panel.ui.applyButton.toolTip.startswith("Select an ES volume, too")
    panel.ui.cineEsSelector.setCurrentNode(es)
    output = hearts.synthesize(panel)
    assert output.GetName() == "Diastole SYNTHETIC cine"
    assert hearts.times_of(output) == [0, 100, 200, 300]
    said = panel.ui.statusLabel.text
    assert "Warning: times assumed" in said
    assert said.endswith(".") and ".." not in said and "  " not in said
    roles = [output.GetNthNodeReference("MambaSynth.source", n) for n in range(2)]
    assert roles[0] is ed and roles[1] is es
    first, *_, last = hearts.frames_of(output)
    assert np.array_equal(first, hearts.frames_of(hearts.sequence())[0])
    assert np.array_equal(last, hearts.frames_of(hearts.sequence())[2])


@pytest.mark.parametrize("kind", ["sequence", "volumes"])
def test_an_oblique_source_under_a_transform_keeps_its_grid_and_place(panel, scene, kind):
    parent = turned_parent(scene)
    if kind == "sequence":
        source = hearts.sequence(affine=oblique())
        standing = hearts.browsed(source)[1]
    else:
        source, es = hearts.pair()
        standing = source
        for node in (source, es):
            node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(oblique()))
            node.SetAndObserveTransformNodeID(parent.GetID())
    standing.SetAndObserveTransformNodeID(parent.GetID())
    hearts.choose_cine(panel, source)
    if kind == "volumes":
        panel.ui.cineEsSelector.setCurrentNode(es)
    output = hearts.synthesize(panel)
    browser = browser_of(output)
    proxy = browser.GetProxyNode(output)
    for number in (0, 1, 11):
        browser.SetSelectedItemNumber(number)
        assert np.abs(matrix_of(proxy) - matrix_of(standing)).max() < 1e-6
        assert np.abs(world_matrix_of(proxy) - world_matrix_of(standing)).max() < 1e-6
    assert proxy.GetParentTransformNode() is parent


def test_the_library_sees_frames_where_they_stand_in_the_world(panel, scene):
    from MambaSynthSlicer import sequences

    source = hearts.sequence(affine=oblique())
    _, proxy = hearts.browsed(source)
    proxy.SetAndObserveTransformNodeID(turned_parent(scene).GetID())
    corner, i, j, k = world_matrix_of(proxy)
    for volume in sequences.acquired(source).volumes():
        assert np.allclose(volume.affine[:3, 3], corner)
        assert np.allclose(volume.affine[:3, :3].T, [i - corner, j - corner, k - corner])


def test_seconds_become_milliseconds_in_a_browser_of_their_own(panel):
    source = hearts.sequence(times=[0.0, 0.1, 0.2, 0.3, 0.4], unit="s")
    browser, _ = hearts.browsed(source)
    hearts.choose_cine(panel, source, frames=6)
    output = hearts.synthesize(panel)
    assert hearts.times_of(output) == pytest.approx([0, 50, 100, 200, 300, 400])
    assert browser_of(output) is not browser
    assert browser.GetMasterSequenceNode() is source


# ------------------------------------------------------------------------------- browser and views


def test_the_result_joins_the_sources_browser_and_plays_all_frames(panel, stand):
    source = hearts.sequence()
    browser, shown = hearts.browsed(source)
    hearts.choose_cine(panel, shown, frames=9)  # the proxy stands for the whole cine
    output = hearts.synthesize(panel)
    assert browser_of(output) is browser and browser.GetNumberOfItems() == 9
    assert browser.GetPlaybackActive() and browser.GetPlaybackLooped()
    assert browser.GetPlaybackRateFps() == pytest.approx(20)  # 8 steps in 400 ms
    assert slicer.modules.sequences.toolBarActiveBrowser is browser
    proxy = browser.GetProxyNode(output)
    composite = stand.layout.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == proxy.GetID()
    arrays = hearts.frames_of(source)
    for number in range(9):
        browser.SetSelectedItemNumber(number)
        latest = slicer.util.arrayFromVolume(shown).transpose(2, 1, 0)
        assert np.array_equal(latest, arrays[number // 2])  # the source follows
        assert f"{50 * number:.3f}ms" in proxy.GetName() and "SYNTHETIC" in proxy.GetName()


def test_a_source_that_no_browser_shows_gets_a_new_one(panel):
    hearts.choose_cine(panel, hearts.sequence())
    output = hearts.synthesize(panel)
    assert browser_of(output).GetMasterSequenceNode() is output


def test_the_result_is_filed_in_the_study_and_windowed(panel, scene):
    hierarchy = scene.GetSubjectHierarchyNode()
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "P")
    study = hierarchy.CreateStudyItem(subject, "S")
    source = hearts.sequence()
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(source), study)
    hearts.choose_cine(panel, source)
    output = hearts.synthesize(panel)
    proxy = browser_of(output).GetProxyNode(output)
    for node in (output, proxy):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    first = hearts.frames_of(output)[0]
    low, high = np.percentile(first[first > first.min()], (1, 99))
    for number in (0, 5):
        browser_of(output).SetSelectedItemNumber(number)
        assert proxy.GetDisplayNode().GetWindowLevelMin() == pytest.approx(low, rel=1e-5)
        assert proxy.GetDisplayNode().GetWindowLevelMax() == pytest.approx(high, rel=1e-5)


def test_the_word_in_the_view_follows_the_frame_shown(panel, stand):
    import vtk

    annotations = slicer.modules.MambaSynthInstance.annotations
    annotations.start()
    hearts.choose_cine(panel, hearts.sequence(), frames=9)
    output = hearts.synthesize(panel)
    said = []
    for number in range(9):
        browser_of(output).SetSelectedItemNumber(number)
        corner = vtk.vtkCornerAnnotation.UpperEdge
        said.append([annotations._annotations[v].GetText(corner) for v in ("Red", "Green")])
    annotations.stop()
    assert said == [["acquired frame"] * 2, [MARK] * 2] * 4 + [["acquired frame"] * 2]


def check_marks(output, source):
    attributes = {name: output.GetAttribute(name) for name in output.GetAttributeNames()}
    assert attributes["MambaSynth.mark"] == MARK
    assert attributes["MambaSynth.model_id"] == "blender"
    assert attributes["MambaSynth.weights_sha256"] == "5" * 64
    assert attributes["MambaSynth.acquired"] == "[1, 3, 5, 7, 9]"
    assert attributes["MambaSynth.seed"] == "77"
    assert output.GetNodeReference("MambaSynth.source") is source
    assert "SYNTHETIC" in output.GetDescription()
    assert hearts.kinds_of(output) == ["acquired", "synthetic"] * 4 + ["acquired"]
    marks = [output.GetNthDataNode(n).GetAttribute("MambaSynth.mark") for n in range(9)]
    assert marks == [None, MARK] * 4 + [None]
    assert output.GetNthDataNode(1).GetAttribute("MambaSynth.weights_sha256") == "5" * 64


def test_everything_survives_saving_and_loading_the_scene(panel, scene, tmp_path):
    source = hearts.sequence(affine=oblique() @ np.diag([-1, 1, 1, 1]))
    _, shown = hearts.browsed(source)
    shown.SetAndObserveTransformNodeID(turned_parent(scene).GetID())
    hearts.choose_cine(panel, source, frames=9)
    panel.ui.seedSpinBox.value = 77
    output = hearts.synthesize(panel)
    check_marks(output, source)
    before = world_matrix_of(browser_of(output).GetProxyNode(output)), hearts.frames_of(output)
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    scene.Clear(0)
    panel.events()
    assert panel.ui.cineSourceSelector.currentNode() is None and not panel.ui.applyButton.enabled
    slicer.util.loadScene(path)
    panel.events()
    names = ("Cine", "Cine SYNTHETIC cine")
    find = slicer.util.getFirstNodeByClassByName
    source, output = (find("vtkMRMLSequenceNode", name) for name in names)
    check_marks(output, source)
    assert hearts.times_of(output) == [50 * n for n in range(9)]
    for loaded, saved in zip(hearts.frames_of(output), before[1], strict=True):
        assert np.array_equal(loaded, saved)
    proxy = browser_of(output).GetProxyNode(output)
    assert np.allclose(world_matrix_of(proxy), before[0], atol=1e-6)
    assert panel.ui.cineSourceSelector.currentNode() is source
    assert panel.ui.taskTabs.currentIndex == 1 and panel.ui.applyButton.enabled
    assert panel.ui.cineFramesSpinBox.value == 9


def test_a_real_stack_of_ed_and_es_becomes_a_cine(panel):
    pytest.importorskip("pydicom")
    cine = hearts.real_cine()
    arrays, affine = [frame.array for frame in cine.frames], cine.frames[0].affine
    source = hearts.sequence(arrays, cine.times_ms, "Short axis", affine=affine)
    hearts.choose_cine(panel, source, frames=5)
    output = hearts.synthesize(panel)
    assert hearts.times_of(output) == [0, 87, 174, 261, 348]
    assert hearts.kinds_of(output) == ["acquired", *["synthetic"] * 3, "acquired"]
    assert np.allclose(matrix_of(output.GetNthDataNode(2)), affine, atol=1e-6)
    frames = hearts.frames_of(output)
    assert np.array_equal(frames[0], arrays[0]) and np.array_equal(frames[4], arrays[1])
    assert np.allclose(frames[2], (arrays[0] + arrays[1]) / 2, atol=1e-2)


def test_it_works_from_a_script_without_the_panel(panel):
    output = panel.logic.synthesizeCine(hearts.sequence(), model="blender", frames=7, seed=9)
    assert output.GetNumberOfDataNodes() == 7
    assert output.GetAttribute("MambaSynth.seed") == "9"


# ------------------------------------------------------------------------------------- the panel


def test_ctrl_enter_follows_the_tab_shown(panel):
    from panel import head

    head()
    hearts.choose_cine(panel, hearts.sequence())
    shortcut = panel.widget.run._shortcuts[0]
    shortcut.activated.emit()
    panel.wait_idle()
    assert len(hearts.synthesized()) == 1
    assert panel.ui.statusLabel.text.startswith("Done in")
    panel.ui.taskTabs.setCurrentIndex(0)
    assert panel.ui.applyButton.text == "Synthesize T2" and panel.ui.statusLabel.text == ""
    panel.choose_model("inverter")
    shortcut.activated.emit()
    panel.wait_idle()
    assert len(hearts.synthesized()) == 1
    assert panel.logic.latestSynthetic(panel.ui.sourceSelector.currentNode()) is not None


def test_the_first_suitable_cine_is_selected_not_the_first(panel):
    panel.ui.taskTabs.setCurrentIndex(1)
    hearts.sequence(hearts.beat()[:1], name="one frame")
    source = hearts.sequence()
    panel.events()
    assert panel.ui.cineSourceSelector.currentNode() is source
    assert panel.ui.applyButton.enabled and not panel.ui.cineEsSelector.enabled


def test_each_tab_shows_what_concerns_it(panel):
    from panel import head

    head()
    panel.events()
    panel.module.widgetRepresentation().show()
    ui = panel.ui
    assert ui.previewButton.visible and ui.stepsSpinBox.enabled and ui.sliceRangeWidget.enabled
    ui.taskTabs.setCurrentIndex(1)
    for part in (ui.previewButton, ui.compareSection):
        assert not part.visible
    for part in (ui.stepsSpinBox, ui.samplesSpinBox, ui.spreadCheckBox, ui.sliceRangeWidget):
        assert not part.enabled
    assert ui.deviceComboBox.enabled and ui.seedSpinBox.enabled
    ui.taskTabs.setCurrentIndex(0)
    assert ui.previewButton.visible and ui.stepsSpinBox.enabled and ui.sliceRangeWidget.enabled
    panel.module.widgetRepresentation().hide()


def test_models_of_one_tab_are_not_offered_in_the_other(panel):
    assert panel.ui.modelComboBox.findData("blender") < 0
    assert panel.ui.targetComboBox.findText("cine") < 0
    assert panel.ui.cineModelComboBox.findData("inverter") < 0
    hearts.choose_cine(panel, hearts.sequence())
    assert "Fake blender" in panel.ui.cineCardText.toPlainText()


def test_without_a_cine_model_one_sentence_says_what_to_do(panel, models, monkeypatch):
    import shutil

    from MambaSynthLib.model import registry

    monkeypatch.setattr(registry, "shipped_models", lambda: models / "none are shipped")
    for folder in models.glob("*blender"):
        shutil.rmtree(folder)
    panel.widget.models.fill()
    panel.ui.taskTabs.setCurrentIndex(1)
    hearts.sequence()
    panel.events()
    text = panel.ui.cineCardText.toPlainText()
    assert text == "No cine model is installed. Import a model package under Models."
    assert panel.ui.applyButton.toolTip == "Import a cine model first, under Models."
    assert not panel.ui.applyButton.enabled
    write_model(models, "new", "cine")
    panel.widget.models.fill()
    assert panel.ui.applyButton.enabled


def test_the_number_of_frames_leaves_room_for_a_synthetic_one(panel):
    hearts.choose_cine(panel, hearts.sequence(), frames=2)
    assert panel.ui.cineFramesSpinBox.value == 6
    panel.ui.cinePhasesCheckBox.checked = True
    panel.ui.cineFramesSpinBox.value = 2
    assert panel.ui.cineFramesSpinBox.value == 3


def test_progress_grows_with_the_frames_and_the_panel_stays_alive(panel):
    import qt

    ticks = []
    timer = qt.QTimer()
    timer.setInterval(10)
    timer.connect("timeout()", lambda: ticks.append(time.monotonic()))
    hearts.choose_cine(panel, hearts.sequence(), "slow-blender", frames=25)
    timer.start()
    panel.ui.applyButton.click()
    panel.wait(lambda: "left" in panel.ui.statusLabel.text)
    assert panel.ui.progressBar.maximum == 1000  # half for the motion, half for the frames
    panel.wait(lambda: panel.ui.progressBar.value > 900)
    timer.stop()
    panel.wait_idle()
    assert max(np.diff(ticks)) < 0.5
