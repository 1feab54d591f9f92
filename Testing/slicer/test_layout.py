"""The panel at the width it has in Slicer: nothing clipped, aligned, and pictures to look at."""

import json

import hearts
import numpy as np
import pytest
import screenshots
from panel import head
from slicerstand import dicom_plugins


@pytest.fixture(params=["contrast", "cine", "cine without times", "models"])
def shown(panel, request):
    """The panel with everything unfolded and a result in one of its tabs, 400 pixels wide."""
    head()
    if request.param == "cine without times":
        slices = [array[:, :, :1] for array in hearts.beat()]
        for place in (0.0, 8.0):
            affine = np.diag([1.0, 1.0, 8.0, 1.0])
            affine[2, 3] = place
            source = dicom_plugins.image_sequence([(array, affine, "") for array in slices])
        hearts.choose_cine(panel, source)
        assert not panel.ui.cineJoinButton.isHidden() and not panel.ui.cinePaceSpinBox.isHidden()
    elif request.param == "cine":
        hearts.choose_cine(panel, hearts.sequence())
        hearts.synthesize(panel)
    else:
        panel.synthesize()
    for section in ("advancedSection", "logSection"):
        getattr(panel.ui, section).collapsed = False
    panel.widget.remote.own.remoteSection.collapsed = False
    panel.widget.several.own.severalSection.collapsed = False
    panel.wait(lambda: panel.ui.deviceComboBox.count > 1)
    if request.param == "models":
        panel.ui.taskTabs.setCurrentIndex(2)
    panel.module.widgetRepresentation().show()
    screenshots.fit(panel)
    yield panel
    panel.module.widgetRepresentation().hide()


def visible(panel, cls):
    return [w for w in panel.widget._panel.findChildren(cls) if w.isVisible()]


def test_nothing_is_wider_than_the_panel(shown):
    import qt

    assert shown.module.widgetRepresentation().width == screenshots.PANEL_WIDTH
    for widget in visible(shown, qt.QWidget):
        left = widget.mapTo(shown.widget._panel, qt.QPoint(0, 0)).x()
        assert 0 <= left and left + widget.width <= screenshots.PANEL_WIDTH, widget.objectName


def test_every_text_has_the_room_it_needs(shown):
    import qt

    texts = visible(shown, qt.QLabel) + visible(shown, qt.QAbstractButton)
    named = [w for w in texts if w.text and not w.className().startswith("ctk")]
    assert len(named) > 10
    for widget in named:
        if getattr(widget, "wordWrap", False):
            assert widget.height >= widget.heightForWidth(widget.width), widget.text
        else:
            assert widget.width >= widget.sizeHint().width(), widget.text


def test_the_fields_of_a_form_start_at_one_edge(shown):
    import qt

    tab = [["inputsLayout"], ["cineLayout"], []][shown.ui.taskTabs.currentIndex]
    for form in (*tab, "advancedLayout"):
        layout = shown.widget._panel.findChild(qt.QFormLayout, form)
        rows = [r for r in range(layout.rowCount()) if layout.itemAt(r, qt.QFormLayout.LabelRole)]
        fields = [layout.itemAt(row, qt.QFormLayout.FieldRole).geometry().left() for row in rows]
        assert len(fields) >= 4 and len(set(fields)) == 1


def test_pictures_of_panel_and_views_are_drawn(shown, stand, tmp_path):
    from PySide6.QtGui import QImage

    screenshots.save_panel(shown, tmp_path / "panel.png")
    screenshots.save_views(stand, tmp_path / "views.png", ("Red", "Yellow", "Green"))
    assert QImage(str(tmp_path / "panel.png")).width() == screenshots.PANEL_WIDTH
    assert QImage(str(tmp_path / "views.png")).width() == 3 * 256


def test_the_mark_can_be_read_in_the_rendered_view(panel, stand):
    """The same picture with and without the mark differs at the top edge, in the mark's color."""
    import slicer

    annotations = slicer.modules.MambaSynthInstance.annotations
    annotations.start()
    head()
    output = panel.synthesize()
    slicer.util.setSliceViewerLayers(background=output, foreground=None, fit=True)
    red = stand.layout.sliceWidget("Red")
    marked = red.image().astype(int)
    output.RemoveAttribute("MambaSynth.mark")
    output.SetName("plain")
    red.mrmlSliceCompositeNode().Modified()
    plain = red.image().astype(int)
    annotations.stop()
    changed = (marked != plain).any(axis=2)
    assert changed.sum() > 200 and not changed[60:].any()
    yellow = marked[changed]
    assert (yellow[:, 0] > yellow[:, 2] + 40).mean() > 0.2  # the rest is its dark outline


def test_models_of_cine_frames_are_no_choice_for_a_contrast(panel, models):
    from MambaSynthSlicer import models as catalogue

    offered = [entry.key for entry in catalogue.available()]
    card = json.loads(next(models.glob("*/model.json")).read_text())
    card |= {"id": "frames", "source_contrasts": ["ED", "ES"], "target_contrasts": ["cine"]}
    (models / "frames").mkdir()
    (models / "frames" / "model.json").write_text(json.dumps(card))
    assert [entry.key for entry in catalogue.available()] == offered
    assert "frames" in [entry.key for entry in catalogue.available("cine")]
