"""The reading desk: an acquired target beside source and result, overlays, values, scores."""

import numpy as np
import pytest
from panel import dialog_after, head, oblique

slicer = pytest.importorskip("slicer")


def acquired_of(source, name="Head T2w", gain=3.0, offset=40.0, wrong=0.0, affine=None):
    """What the fake engine would make, in units of its own; ``wrong`` is added in one corner."""
    array = slicer.util.arrayFromVolume(source)
    made = gain * (array.max() - array) + offset
    made[3:6, 4:8, 4:8] += wrong
    matrix = None if affine is None else slicer.util.vtkMatrixFromArray(affine)
    return slicer.util.addVolumeFromArray(made, ijkToRAS=matrix, name=name)


@pytest.fixture
def desk(panel):
    """Source, synthetic and acquired volume, the last one off by 300 units in one corner."""
    source = head(affine=oblique())
    synthetic = panel.synthesize()
    acquired = acquired_of(source, wrong=900.0, affine=oblique())
    panel.events()
    panel.ui.acquiredSelector.setCurrentNode(acquired)
    return source, synthetic, acquired


def shown_in(stand, view):
    composite = stand.layout.sliceWidget(view).mrmlSliceCompositeNode()
    return composite.GetBackgroundVolumeID(), composite.GetLinkedControl()


def test_three_volumes_stand_side_by_side_linked_and_the_former_views_come_back(panel, stand, desk):
    layout = stand.layout.layout
    views = ("Red", "Yellow", "Green")
    before = [shown_in(stand, view) for view in views]
    assert panel.ui.sideBySideButton.text == "Source, synthetic and acquired volume side by side"
    panel.ui.sideBySideButton.click()
    assert [shown_in(stand, view) for view in views] == [(node.GetID(), 1) for node in desk]
    description = stand.layout.layoutLogic().GetLayoutNode()
    assert description.IsLayoutDescription(stand.layout.layout)
    panel.ui.sideBySideButton.click()
    assert [shown_in(stand, view) for view in views] == before
    assert stand.layout.layout == layout


def test_without_an_acquired_target_two_views_are_enough(panel, stand):
    head()
    panel.synthesize()
    assert panel.ui.sideBySideButton.text == "Source and synthetic volume side by side"
    panel.ui.sideBySideButton.click()
    assert stand.layout.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
    assert not panel.ui.scoreButton.enabled


def test_a_target_selected_while_two_are_shown_joins_them(panel, stand, desk):
    panel.ui.acquiredSelector.setCurrentNode(None)
    panel.ui.sideBySideButton.click()
    assert stand.layout.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
    panel.ui.acquiredSelector.setCurrentNode(desk[2])
    assert shown_in(stand, "Green")[0] == desk[2].GetID()
    panel.ui.sideBySideButton.click()


def test_a_synthetic_volume_is_no_acquired_target(panel, desk):
    panel.ui.acquiredSelector.setCurrentNode(desk[1])
    assert "is synthetic itself" in panel.ui.acquiredSelector.toolTip
    assert not panel.ui.scoreButton.enabled
    assert panel.ui.sideBySideButton.text == "Source and synthetic volume side by side"


def overlay(panel, kind):
    box = panel.ui.overlayComboBox
    assert box.findData(kind) >= 0, kind
    box.currentIndex = box.findData(kind)


def test_the_difference_lies_over_the_synthetic_volume_in_its_units_and_marked(panel, stand, desk):
    panel.ui.sideBySideButton.click()
    overlay(panel, "difference")
    composite = stand.layout.sliceWidget("Yellow").mrmlSliceCompositeNode()
    node = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
    assert composite.GetForegroundOpacity() == 0.6
    array = slicer.util.arrayFromVolume(node)
    corner = np.zeros(array.shape, bool)
    corner[3:6, 4:8, 4:8] = True
    assert array[corner].mean() == pytest.approx(300, rel=0.1) and array[~corner].mean() < 15
    assert node.GetAttribute("MambaSynth.mark") and not node.GetSaveWithScene()
    assert node.GetAttribute("MambaSynth.quantity").endswith("Head T2w, which got a gain and an "
                                                             "offset for it")  # fmt: skip
    assert node.GetDisplayNode().GetApplyThreshold()
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    assert legend.GetVisibility()
    assert panel.logic.latestSynthetic(desk[0]) is desk[1]
    overlay(panel, "")
    assert composite.GetForegroundOpacity() == 0.0 and not legend.GetVisibility()
    panel.ui.sideBySideButton.click()


def test_where_both_show_air_there_is_no_difference(panel, desk):
    """The offset that brings the tissue nearest would color the air."""
    from MambaSynthSlicer import reading

    air = np.ones((16, 24, 20), bool)
    air[3:13, 4:20, 4:16] = False
    tissue = np.random.default_rng(2).random(air.shape) * 500 + 300
    for node, array in ((desk[1], tissue), (desk[2], tissue**2 / 500)):
        slicer.util.updateVolumeFromArray(node, np.where(air, 0, array).astype("float32"))
    apart = reading.differenceTo(desk[2], desk[1]).transpose(2, 1, 0)
    assert not apart[air].any() and apart[~air].mean() > 1


def test_a_second_difference_takes_the_place_of_the_first(panel, desk):
    panel.ui.sideBySideButton.click()
    for _ in range(2):
        overlay(panel, "difference")
        overlay(panel, "")
    names = [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    assert len([name for name in names if name.endswith("difference map")]) == 1
    panel.ui.sideBySideButton.click()


def test_an_uncertainty_map_is_an_overlay_too(panel, stand):
    head()
    panel.ui.spreadCheckBox.checked = True
    output = panel.synthesize()
    panel.ui.sideBySideButton.click()
    overlay(panel, "spread")
    composite = stand.layout.sliceWidget("Yellow").mrmlSliceCompositeNode()
    spread = slicer.util.getNode(output.GetName() + " uncertainty map")
    assert composite.GetForegroundVolumeID() == spread.GetID()
    panel.ui.sideBySideButton.click()


def test_a_target_that_shows_nothing_there_is_told(panel, desk):
    far = oblique()
    far[:3, 3] += 500
    elsewhere = acquired_of(desk[0], "elsewhere", affine=far)
    panel.ui.acquiredSelector.setCurrentNode(elsewhere)
    panel.ui.sideBySideButton.click()
    dialog = dialog_after(panel, lambda: overlay(panel, "difference"))
    assert dialog.text.startswith("elsewhere shows nothing where the synthetic volume lies")
    panel.ui.sideBySideButton.click()


def point_at(ras):
    crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    if ras is None:
        crosshair.SetCursorPositionInvalid()
    else:
        crosshair.SetCursorPositionRAS(list(ras))


def test_the_values_under_the_cursor_are_told_of_all_three(panel, desk):
    source = slicer.util.arrayFromVolume(desk[0])
    ras = (oblique() @ [7, 9, 5, 1])[:3]  # I, J, K
    point_at(ras)
    own, made = source[5, 9, 7], source.max() - source[5, 9, 7]
    target = 3 * made + 40
    said = f"T1w {own:.0f} | T2w synthetic {made:.0f} | T2w acquired {target:.0f}"
    assert panel.ui.probeLabel.text == said
    point_at((500.0, 500.0, 500.0))
    assert panel.ui.probeLabel.text == ""
    point_at(ras)
    point_at(None)
    assert panel.ui.probeLabel.text == ""


def test_the_spread_under_the_cursor_stands_beside_the_synthetic_value(panel):
    head()
    panel.ui.spreadCheckBox.checked = True
    output = panel.synthesize()
    slicer.util.updateVolumeFromArray(
        slicer.util.getNode(output.GetName() + " uncertainty map"),
        np.full((16, 24, 20), 21.0, "f"),
    )
    point_at((7.0, 9.0, 5.0))
    assert " \u00b1 21" in panel.ui.probeLabel.text
    assert panel.ui.probeLabel.text.index("synthetic") < panel.ui.probeLabel.text.index("\u00b1")


def test_scores_stand_beside_the_best_answer_without_a_model(panel, desk):
    """The image is right but for one corner, which a linear map of the source is, too: both are
    near 1. Scored by the library's own ``evaluate``.
    """
    pytest.importorskip("skimage")
    from MambaSynthSlicer import mrml, reading

    from MambaSynthLib.report.evaluation import evaluate

    panel.ui.scoreButton.click()
    source, synthetic, acquired = (mrml.readVolume(node) for node in desk)
    rows = {row.name: row for row in evaluate(synthetic, acquired, source=source).rows}
    text = panel.ui.scoresText.text
    assert "SSIM" in text and f"{rows['synthetic'].ssim:.3f}" in text
    best = reading.scores(*desk)[1]
    assert best[0] in text and not best[0].startswith("target shifted")
    assert float(best[1]) == pytest.approx(
        max(r.ssim for n, r in rows.items() if n != "synthetic" and "shifted" not in n), abs=1e-3
    )
    panel.ui.acquiredSelector.setCurrentNode(None)
    assert panel.ui.scoresText.text == ""


def test_a_target_on_another_grid_is_brought_onto_that_of_the_result(panel, desk):
    from MambaSynthSlicer import mrml, reading

    half = oblique()
    half[:3, 2] /= 2
    array = np.repeat(slicer.util.arrayFromVolume(desk[2]), 2, axis=0)
    finer = slicer.util.addVolumeFromArray(
        array, ijkToRAS=slicer.util.vtkMatrixFromArray(half), name="finer"
    )
    same = reading.onGridOf(finer, desk[1])
    assert same.shape == (20, 24, 16)
    assert np.allclose(same.affine, mrml.worldAffine(desk[1]))
    assert np.allclose(same.array, mrml.readVolume(desk[2]).array)
