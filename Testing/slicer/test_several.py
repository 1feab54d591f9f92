"""Several sources at once: one queue, one child, one progress bar; finished ones are kept."""

import numpy as np
import pytest
from panel import head
from slicerstand import dicom
from test_dicom_export import head_series

slicer = pytest.importorskip("slicer")


@pytest.fixture
def queue(panel):
    """The section, unfolded; ``check`` what is to be done by its title."""
    panel.widget.several.own.severalSection.collapsed = False
    return panel.widget.several


def titles(queue):
    return [queue.own.severalList.item(n).text() for n in range(queue.own.severalList.count)]


def check(queue, *names):
    import qt

    for number, title in enumerate(titles(queue)):
        if title.split(" (")[0].removesuffix(": done") in names:
            queue.own.severalList.item(number).setCheckState(qt.Qt.Checked)


def check_new(panel, queue, model, *names):
    """Heads of these names, all checked, for a model; the nodes."""
    sources = [head(name) for name in names]
    panel.events()
    panel.choose_model(model)
    check(queue, *names)
    return sources


def start(panel, queue):
    assert queue.own.severalButton.enabled, queue.own.severalButton.toolTip
    queue.own.severalButton.click()


def made_from(source):
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    role = "MambaSynth.source"
    return [node for node in volumes if node.GetNodeReferenceID(role) == source.GetID()]


def test_what_is_checked_is_made_one_after_another_by_one_child(panel, queue):
    sources = [head(name) for name in ("One", "Two", "Three")]
    panel.events()
    panel.choose_model("inverter")
    assert titles(queue) == ["One", "Two", "Three"]
    check(queue, "One", "Three")
    assert queue.own.severalButton.text == "Synthesize T2 of 2 in the list"
    seen = []
    start(panel, queue)
    child = panel.worker._child
    panel.wait(lambda: seen.append(panel.ui.progressBar.value) or not panel.logic.busy)
    assert panel.worker._child is child and seen == sorted(seen)
    assert [len(made_from(source)) for source in sources] == [1, 0, 1]
    assert panel.ui.statusLabel.text.startswith("Done in ")
    assert panel.ui.statusLabel.text.endswith(" s. 2 of 2 done.")
    assert titles(queue) == ["One: done", "Two", "Three: done"]
    for source in (sources[0], sources[2]):
        (made,) = made_from(source)
        wanted = slicer.util.arrayFromVolume(source)
        assert np.allclose(slicer.util.arrayFromVolume(made), wanted.max() - wanted)
    assert panel.files_left() == []


def test_one_progress_bar_tells_of_the_whole_queue(panel, queue):
    check_new(panel, queue, "slow", "One", "Two")
    start(panel, queue)
    panel.wait(lambda: panel.ui.statusLabel.text.startswith("2 of 2: Two, "))
    bar = panel.ui.progressBar
    assert bar.maximum == 200 and 100 < bar.value <= 200 and not bar.isHidden()
    panel.wait_idle()


def test_failures_are_told_at_the_end_and_the_others_are_made(panel, queue):
    names = ("Knee of <Zoe>", "Head")  # the input gate refuses the first
    _, good = check_new(panel, queue, "inverter", *names)
    start(panel, queue)
    panel.wait_idle()
    assert len(made_from(good)) == 1 and not panel.stand.record.dialogs
    assert panel.ui.statusLabel.text.endswith("1 of 2 done.")
    told = queue.own.severalText.text
    assert "<b>Knee of &lt;Zoe&gt;</b>: " in told and "looks like a knee" in told
    assert "Head" not in told.replace("Knee", "")


def test_a_child_that_dies_fails_its_volume_and_the_next_gets_a_new_child(panel, queue):
    check_new(panel, queue, "dies", "One", "Two")
    start(panel, queue)
    panel.wait_idle()
    told = queue.own.severalText.text
    assert told.count("ended by itself") == 2 and "<b>One</b>" in told and "<b>Two</b>" in told
    assert panel.files_left() == []


def test_after_a_cancel_the_finished_are_kept_and_the_rest_goes_on_later(panel, queue):
    sources = check_new(panel, queue, "slow", "One", "Two", "Three")
    start(panel, queue)
    panel.wait(lambda: panel.ui.statusLabel.text.startswith("2 of 3"))
    panel.ui.applyButton.click()
    panel.wait_idle()
    assert panel.ui.statusLabel.text == "Cancelled; 1 of 3 done. What is done was kept."
    assert [len(made_from(source)) for source in sources] == [1, 0, 0]
    assert titles(queue) == ["One: done", "Two", "Three"]
    first = made_from(sources[0])[0].GetID()
    assert queue.own.severalButton.text == "Synthesize T2 of 2 in the list"
    start(panel, queue)
    panel.wait_idle()
    assert [len(made_from(source)) for source in sources] == [1, 1, 1]
    assert made_from(sources[0])[0].GetID() == first


def test_other_settings_make_everything_due_again(panel, queue):
    check_new(panel, queue, "inverter", "One")
    start(panel, queue)
    panel.wait_idle()
    assert not queue.own.severalButton.enabled and titles(queue) == ["One: done"]
    panel.ui.seedSpinBox.value = 7
    assert queue.own.severalButton.enabled and titles(queue) == ["One"]


def test_a_source_that_is_removed_while_it_waits_is_a_failure(panel, queue):
    _, second = check_new(panel, queue, "slow", "One", "Two")
    start(panel, queue)
    panel.wait(lambda: "1 of 2" in panel.ui.statusLabel.text)
    slicer.mrmlScene.RemoveNode(second)
    panel.wait_idle()
    assert "It was removed; load it again." in queue.own.severalText.text
    assert panel.ui.statusLabel.text.endswith("1 of 2 done.")


def test_a_queue_does_not_begin_while_something_else_runs(panel):
    from MambaSynthLib.errors import RequestError

    head("One")
    panel.events()
    panel.choose_model("slow")
    panel.ui.applyButton.click()
    with pytest.raises(RequestError, match="is running already"):
        panel.logic.startSeveral([])
    panel.wait_idle()
    assert panel.ui.statusLabel.text.startswith("Done in ")


def test_closing_the_scene_ends_the_queue(panel, queue):
    check_new(panel, queue, "slow", "One", "Two")
    start(panel, queue)
    panel.wait(lambda: "1 of 2" in panel.ui.statusLabel.text)
    slicer.mrmlScene.Clear(0)
    panel.wait_idle()
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
    assert panel.files_left() == []


# --- sequences ------------------------------------------------------------------------------------


def injected(count=3):
    """A contrast sequence: a head at several times, shown by a browser."""
    import hearts

    arrays = [
        np.random.default_rng(n).random((10, 12, 8)).astype("float32") * 900 for n in range(count)
    ]
    source = hearts.sequence(arrays, [0.0, 30.0, 60.0][:count], "DCE", "s")
    return source, *hearts.browsed(source)


def frames_of(node):
    return [node.GetNthDataNode(n) for n in range(node.GetNumberOfDataNodes())]


def output_of(source):
    nodes = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    (made,) = [n for n in nodes if n.GetNodeReferenceID("MambaSynth.source") == source.GetID()]
    return made


def test_all_frames_of_a_contrast_sequence_are_made_and_step_along(panel, queue):
    from MambaSynthSlicer import mrml

    source, browser, _proxy = injected()
    panel.events()
    panel.choose_model("inverter")
    assert titles(queue) == ["DCE (3 frames)"]
    check(queue, "DCE")
    assert queue.own.severalButton.text == "Synthesize T2 of 3 in the list"
    start(panel, queue)
    panel.wait_idle()
    output = output_of(source)
    assert output.GetName() == "DCE SYNTHETIC T2w" and output.GetIndexUnit() == "s"
    values = [source.GetNthIndexValue(n) for n in range(3)]
    assert [output.GetNthIndexValue(n) for n in range(3)] == values
    for own, taken in zip(frames_of(output), frames_of(source), strict=True):
        array = slicer.util.arrayFromVolume(taken)
        assert np.allclose(slicer.util.arrayFromVolume(own), array.max() - array)
        assert own.GetAttribute("MambaSynth.model_id") == "inverter"
    assert browser.GetMasterSequenceNode() is source
    shown = browser.GetProxyNode(output)
    browser.SetSelectedItemNumber(2)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    array = slicer.util.arrayFromVolume(frames_of(source)[2])
    assert np.allclose(slicer.util.arrayFromVolume(shown), array.max() - array)
    assert mrml.isSynthetic(output) and mrml.isSynthetic(shown)
    assert titles(queue) == ["DCE (3 frames): done"]


def test_frames_that_are_there_are_not_made_again(panel, queue):
    source, *_rest = injected()
    panel.events()
    panel.choose_model("inverter")
    check(queue, "DCE")
    start(panel, queue)
    panel.wait_idle()
    output = output_of(source)
    output.RemoveDataNodeAtValue(source.GetNthIndexValue(1))
    panel.events()
    panel.widget.update()
    assert queue.own.severalButton.text == "Synthesize T2 of 1 in the list"
    start(panel, queue)
    panel.wait_idle()
    assert output_of(source) is output and output.GetNumberOfDataNodes() == 3


def test_a_frame_that_is_edited_meanwhile_is_not_filed(panel, queue):
    source, *_rest = injected()
    panel.events()
    panel.choose_model("slow")
    check(queue, "DCE")
    start(panel, queue)
    panel.wait(lambda: panel.ui.statusLabel.text.startswith("1 of 3"))
    frame = source.GetNthDataNode(0)
    slicer.util.updateVolumeFromArray(frame, slicer.util.arrayFromVolume(frame) + 1)
    panel.wait_idle()
    assert "The source was edited during the synthesis" in queue.own.severalText.text
    assert output_of(source).GetNumberOfDataNodes() == 2


# --- a study of the DICOM database ----------------------------------------------------------------


@pytest.fixture
def study(panel, queue, tmp_path):
    """Two series that can be used, one that cannot be, one of another kind, and a synthetic one."""
    from pydicom.uid import generate_uid

    uid = generate_uid()

    def described(words, modality="MR", kind="PRIMARY"):
        def change(dataset, k, f):
            dataset.StudyInstanceUID, dataset.PatientID = uid, "007"
            dataset.PatientName, dataset.StudyDescription = "Zoë", "Head"
            dataset.SeriesDescription, dataset.Modality = words, modality
            dataset.ImageType = ["ORIGINAL", kind]

        return change

    for number, told in enumerate(
        [("T1 3D",), ("Knee",), ("T1 post",), ("CT", "CT"), ("T2", "MR", "SYNTHETIC")]
    ):
        slicer.dicomDatabase.add(head_series(tmp_path / str(number), described(*told)))
    for folded in (True, False):  # unfolded, it asks for the studies
        queue.own.severalSection.collapsed = folded
    box = queue.own.severalStudyComboBox
    box.currentIndex = box.findText("Zoë, Head")
    yield uid
    slicer.dicomDatabase.forget()


def test_the_series_of_a_study_are_loaded_when_it_is_their_turn(panel, queue, study):
    panel.choose_model("inverter")
    assert titles(queue) == ["T1 3D (6 images)", "Knee (6 images)", "T1 post (6 images)"]
    check(queue, "T1 3D", "T1 post")
    start(panel, queue)
    panel.wait_idle()
    assert panel.ui.statusLabel.text.endswith("2 of 2 done.")
    names = [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    assert [name for name in names if name.endswith("SYNTHETIC T2w")] == [
        "T1 3D SYNTHETIC T2w",
        "T1 post SYNTHETIC T2w",
    ]
    assert "T1 3D (6 images): done" in titles(queue)
    check(queue, "T1 3D")
    assert not queue.own.severalButton.enabled


def test_a_series_that_cannot_be_loaded_is_a_failure_and_the_others_are_made(
    panel, queue, study, monkeypatch
):
    load = dicom.load_series

    def failing(uids):
        if slicer.dicomDatabase.descriptionForSeries(uids[0]) == "T1 3D":
            raise RuntimeError("no reader")
        if slicer.dicomDatabase.descriptionForSeries(uids[0]) == "Knee":
            return []
        return load(uids)

    import DICOMLib

    monkeypatch.setattr(DICOMLib.DICOMUtils, "loadSeriesByUID", failing)
    panel.choose_model("inverter")
    check(queue, "T1 3D", "Knee", "T1 post")
    start(panel, queue)
    panel.wait_idle()
    told = queue.own.severalText.text
    assert "could not be loaded (no reader); load it in the DICOM module" in told
    assert "Knee (6 images) is no volume; leave it out." in told
    assert panel.ui.statusLabel.text.endswith("1 of 3 done.")


# --- from a script --------------------------------------------------------------------------------


def test_a_script_gets_what_was_made_and_what_failed(panel):
    sources = [head("One"), head("Knee"), injected()[0]]
    made, failed = panel.logic.synthesizeSeveral(sources, model="inverter")
    assert [node.GetName() for node in made] == ["One SYNTHETIC T2w", "DCE SYNTHETIC T2w"]
    ((title, why),) = failed
    assert title == "Knee" and "looks like a knee" in why
    assert not panel.logic.busy
    assert panel.logic.synthesizeSeveral([sources[0]], model="inverter") == ([], [])
