"""Cines as Slicer's DICOM plugins hand them over: their times are read, or asked for."""

import hearts
import numpy as np
import pytest
from panel import dialog_after
from slicerstand import dicom_plugins

slicer = pytest.importorskip("slicer")

TIMES = [0.0, 40.0, 90.0, 130.0, 180.0]


def chosen(panel, source, **options):
    hearts.choose_cine(panel, source, **options)
    return panel.ui.applyButton


def slices_of(arrays, k, affine, times):
    """What the files of slice ``k`` hold: one slice of every frame, at its own place."""
    place = affine.copy()
    place[:3, 3] = affine[:3, :3] @ [0, 0, k] + affine[:3, 3]
    return [(a[:, :, k : k + 1], place, str(t)) for a, t in zip(arrays, times, strict=True)]


def plays(output):
    """The result's browser plays all its frames."""
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(output)
    return (
        browser.GetPlaybackActive()
        and browser.GetMasterSequenceNode() is output
        and browser.GetNumberOfItems() == output.GetNumberOfDataNodes()
    )


@pytest.mark.parametrize(
    ("tag", "factor"),
    [("TriggerTime", 1), ("AcquisitionTime", 1), ("DeltaStartTime", 1000)],
)
def test_a_multi_volume_goes_in_with_its_labels_as_times_and_comes_out_playing(panel, tag, factor):
    arrays = hearts.beat()
    source = dicom_plugins.multi_volume(arrays, [t / factor for t in TIMES], tag)
    assert chosen(panel, source).enabled
    output = hearts.synthesize(panel)
    kinds, times = hearts.kinds_of(output), hearts.times_of(output)
    kept = [time for time, kind in zip(times, kinds, strict=True) if kind == "acquired"]
    assert kept == TIMES and plays(output)
    assert np.array_equal(hearts.frames_of(output)[0], arrays[0])


def test_an_mr_image_sequence_goes_in_with_its_trigger_times_and_comes_out_playing(panel):
    """Instance numbers need not follow the time; the frames are sorted by it."""
    arrays = [array[:, :, :1] for array in hearts.beat()]
    order = [2, 0, 4, 1, 3]
    files = [(arrays[n], np.eye(4), str(TIMES[n])) for n in order]
    source = dicom_plugins.image_sequence(files)
    assert chosen(panel, source).enabled
    output = hearts.synthesize(panel)
    kinds, times = hearts.kinds_of(output), hearts.times_of(output)
    acquired = [n for n, kind in enumerate(kinds) if kind == "acquired"]
    assert [times[n] for n in acquired] == TIMES and plays(output)
    frames = hearts.frames_of(output)
    for n, array in zip(acquired, arrays, strict=True):
        assert np.array_equal(frames[n], array)


def without_times(kind):
    arrays = hearts.beat()
    slices = [(array[:, :, :1], np.eye(4), "") for array in arrays]
    return {
        "image sequence": lambda: dicom_plugins.image_sequence(slices),
        "count": lambda: dicom_plugins.multi_volume(
            arrays, range(1, 6), "TemporalPositionIdentifier"
        ),
        "multi-frame": lambda: dicom_plugins.multi_frame([array for array, *_ in slices]),
    }[kind]()


@pytest.mark.parametrize("kind", ["image sequence", "count", "multi-frame"])
@pytest.mark.parametrize(
    ("number", "unit", "step", "said"),
    [(75.0, "bpm", 160.0, "75 heart beats a minute"), (40.0, "ms", 40.0, "40 ms from frame")],
)
def test_a_cine_without_times_asks_for_its_pace(panel, kind, number, unit, step, said):
    source, ui = without_times(kind), panel.ui
    button = chosen(panel, source)
    assert not button.enabled and button.toolTip == (
        f"{source.GetName()} does not say when its frames were taken; give the heart rate or "
        "frame time."
    )
    assert not ui.cinePaceSpinBox.isHidden() and ui.cinePaceSpinBox.value == 0
    ui.cinePaceUnitComboBox.currentIndex = ui.cinePaceUnitComboBox.findData(unit)
    ui.cinePaceSpinBox.value = number
    assert button.enabled, button.toolTip
    output = hearts.synthesize(panel)
    kinds, times = hearts.kinds_of(output), hearts.times_of(output)
    kept = [time for time, kind in zip(times, kinds, strict=True) if kind == "acquired"]
    assert kept == [step * n for n in range(5)] and plays(output)
    assert said in ui.statusLabel.text and said in output.GetAttribute("MambaSynth.warnings")


def test_shares_of_the_beat_need_only_the_heart_rate(panel):
    shares = [0.0, 10.0, 35.0, 60.0, 85.0]
    tag = "NominalPercentageOfCardiacPhase"
    source = dicom_plugins.multi_volume(hearts.beat(), shares, tag)
    assert not chosen(panel, source).enabled
    panel.ui.cinePaceSpinBox.value = 60.0
    output = hearts.synthesize(panel)
    kinds, times = hearts.kinds_of(output), hearts.times_of(output)
    kept = [time for time, kind in zip(times, kinds, strict=True) if kind == "acquired"]
    assert kept == [10 * share for share in shares]


def test_the_pace_is_asked_for_only_where_it_is_missing_and_for_each_cine_anew(panel):
    ui, unknown, known = panel.ui, without_times("count"), hearts.sequence()
    chosen(panel, unknown)
    ui.cinePaceSpinBox.value = 70.0
    chosen(panel, known)
    assert ui.cinePaceSpinBox.isHidden() and ui.cinePaceUnitComboBox.isHidden()
    assert ui.applyButton.enabled
    chosen(panel, unknown)
    assert not ui.cinePaceSpinBox.isHidden() and ui.cinePaceSpinBox.value == 0
    assert not ui.applyButton.enabled


def test_a_cine_without_times_is_preselected_as_one_that_can_be_used(panel):
    source = without_times("count")
    panel.ui.taskTabs.setCurrentIndex(1)
    panel.events()
    assert panel.ui.cineSourceSelector.currentNode() is source


def test_frames_of_different_echo_times_are_no_cine(panel):
    source = dicom_plugins.multi_volume(hearts.beat(), range(5), "EchoTime")
    told = f"The frames of {source.GetName()} differ in EchoTime, not in time; select a cine."
    assert chosen(panel, source).toolTip == told
    assert panel.ui.cinePaceSpinBox.isHidden()


def test_a_script_gives_the_pace_as_an_option(panel):
    source = without_times("count")
    with pytest.raises(Exception, match="does not say when"):
        panel.logic.synthesizeCine(source, model="blender")
    output = panel.logic.synthesizeCine(source, model="blender", frames=9, heartRate=60.0)
    assert hearts.times_of(output)[-1] == 800.0


# --------------------------------------------------------------------------------- joined slices


def oblique_grid():
    from panel import oblique

    affine = oblique()
    affine[:3, 2] = 8.0 * np.cross(affine[:3, 0], affine[:3, 1])
    affine[:3, 2] *= 8.0 / np.linalg.norm(affine[:3, 2])
    return affine


def stack(arrays, affine, order=(2, 0, 3, 1), delay_ms=3.0):
    """One sequence for each slice, in the order in which the scanner took them."""
    study = dicom_plugins.study("heart")
    return [
        dicom_plugins.image_sequence(
            slices_of(arrays, k, affine, [t + delay_ms * k for t in TIMES]), f"{n}: sax", study
        )
        for n, k in enumerate(order, start=1)
    ]


def test_slices_that_were_loaded_one_sequence_each_are_joined_on_request(panel):
    arrays, affine = hearts.beat(), oblique_grid()
    parts = stack(arrays, affine)
    chosen(panel, parts[1])
    button = panel.ui.cineJoinButton
    assert not button.isHidden() and button.text == "Join 4 slices to one stack"
    button.click()
    joined = panel.ui.cineSourceSelector.currentNode()
    assert joined.GetName() == "1: sax stack" and panel.ui.applyButton.enabled
    assert button.isHidden()
    assert hearts.times_of(joined) == [t + 4.5 for t in TIMES]
    assert "4 slices" in joined.GetDescription() and "up to 9 ms" in joined.GetDescription()
    for frame, array in zip(hearts.frames_of(joined), arrays, strict=True):
        assert np.array_equal(frame, array) or np.array_equal(frame[:, :, ::-1], array)
    first = joined.GetNthDataNode(0)
    made = slicer.util.arrayFromVTKMatrix(first_matrix(first))
    corner = made @ [0, 0, 0, 1]
    ends = [affine @ [0, 0, k, 1] for k in (0, 3)]
    assert min(np.abs(corner - end).max() for end in ends) < 1e-6
    assert len(first.GetAttribute("DICOM.instanceUIDs").split()) == 4
    output = hearts.synthesize(panel)
    assert plays(output) and hearts.frames_of(output)[0].shape == (20, 18, 4)


def first_matrix(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_slices_of_one_series_that_lie_one_after_another_are_joined_too(panel):
    arrays, affine = hearts.beat(), oblique_grid()
    files = [f for k in range(4) for f in slices_of(arrays, k, affine, TIMES)]
    source = dicom_plugins.image_sequence(files)
    told = f"{source.GetName()} holds several slices one after another; join them to one stack."
    assert chosen(panel, source).toolTip == told
    panel.ui.cineJoinButton.click()
    joined = panel.ui.cineSourceSelector.currentNode()
    assert panel.ui.applyButton.enabled and hearts.times_of(joined) == TIMES
    assert hearts.frames_of(joined)[0].shape == (20, 18, 4)


def test_slices_without_times_are_joined_with_the_pace_that_was_given(panel):
    arrays, affine = hearts.beat(), oblique_grid()
    for k in range(4):
        files = [(a, place, "") for a, place, _ in slices_of(arrays, k, affine, TIMES)]
        source = dicom_plugins.image_sequence(files, f"{k}: sax")
    chosen(panel, source)
    assert "does not say when" in dialog_after(panel, panel.ui.cineJoinButton.click).text
    panel.ui.cinePaceSpinBox.value = 60.0
    panel.ui.cineJoinButton.click()
    joined = panel.ui.cineSourceSelector.currentNode()
    assert joined is not source and hearts.times_of(joined) == [0.0, 200.0, 400.0, 600.0, 800.0]


def test_slices_of_another_study_are_left_alone(panel):
    arrays, affine = hearts.beat(), oblique_grid()
    parts = stack(arrays, affine)
    other = dicom_plugins.study("somebody else's heart")
    slices = slices_of(arrays, 1, affine, TIMES)
    stranger = dicom_plugins.image_sequence(slices, "9: sax", other)
    chosen(panel, stranger)
    assert panel.ui.cineJoinButton.isHidden()
    chosen(panel, parts[0])
    assert panel.ui.cineJoinButton.text == "Join 4 slices to one stack"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("gap", "lie 16.0 mm apart, but most slices 8.0 mm; load the slice between them"),
        ("twice", "show the same slice; remove one of them."),
        ("frames", "4 frames, but 1: sax 5; load all of them."),
        ("shifted", "is shifted sideways against 1: sax; resample it first."),
    ],
)
def test_a_stack_that_is_not_even_is_refused_by_the_names_of_its_slices(panel, spoil, said):
    arrays, affine = hearts.beat(shape=(20, 18, 6)), oblique_grid()
    order = (2, 0, 3, 1, 5) if spoil == "gap" else (2, 0, 3, 1)
    source = stack(arrays, affine, order)[0]
    slices = slices_of(arrays, 4, affine, TIMES)
    if spoil == "twice":
        slices = slices_of(arrays, 3, affine, TIMES)
    elif spoil == "frames":
        slices = slices[:4]
    elif spoil == "shifted":
        for _, place, _ in slices:
            place[:3, 3] += 0.05 * affine[:3, 0]
    if spoil != "gap":
        dicom_plugins.image_sequence(slices, "8: sax", study_of(source))
    chosen(panel, source)
    before = len(slicer.util.getNodesByClass("vtkMRMLSequenceNode"))
    assert said in dialog_after(panel, panel.ui.cineJoinButton.click).text
    assert len(slicer.util.getNodesByClass("vtkMRMLSequenceNode")) == before


def study_of(sequence):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)
    return hierarchy.GetItemParent(hierarchy.GetItemByDataNode(browser.GetProxyNode(sequence)))
