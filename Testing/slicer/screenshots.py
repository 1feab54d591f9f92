"""Pictures of the panel and of the slice views, as the tutorial and the catalog show them.

    python Testing/slicer/screenshots.py            writes Resources/Screenshots/*.png
    python Testing/slicer/screenshots.py cine       only those of the cine tab
    python Testing/slicer/screenshots.py models     only the tab with the models
    python Testing/slicer/screenshots.py advanced   only all sections unfolded
    python Testing/slicer/screenshots.py desk       only those of the reading desk: three volumes
                                                    side by side, the page, the queue

The panel is drawn by Qt with the stand-ins' widgets, so colors and small distances differ from
those in Slicer; the slice views are rendered by Slicer's own MRML library.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "Resources" / "Screenshots"
PANEL_WIDTH = 400


def save_panel(panel, path):
    """The whole panel at the width that it has in Slicer."""
    representation = panel.module.widgetRepresentation()
    representation.show()
    fit(panel)
    assert representation.grab().save(str(path))
    representation.hide()


def fit(panel):
    """Make the panel as high as its content at ``PANEL_WIDTH``."""
    representation = panel.module.widgetRepresentation()
    representation.resize(PANEL_WIDTH, 400)
    for _ in range(3):  # word-wrapped labels settle their height only when shown
        panel.events()
        height = representation.layout().minimumHeightForWidth(PANEL_WIDTH)
        representation.resize(PANEL_WIDTH, max(height, representation.minimumSizeHint().height()))
    panel.events()


def save_views(stand, path, names):
    """The slice views side by side."""
    from PySide6.QtGui import QImage

    pixels = np.hstack([stand.layout.sliceWidget(name).image() for name in names])
    pixels = np.ascontiguousarray(pixels)
    height, width, _ = pixels.shape
    picture = QImage(pixels.data, width, height, 3 * width, QImage.Format_RGB888)
    assert picture.save(str(path))


def main(only: str) -> None:
    """Click through the tutorial with the first installed model (else the fake one)."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from panel import Panel
    from slicerstand.start import start

    stand = start()
    FOLDER.mkdir(parents=True, exist_ok=True)
    panel = Panel(stand)
    panel.worker.command = None  # the real engine
    stand.app.startupCompleted.emit()
    if not only:
        contrast_tab(panel, stand)
    for name, tab in (("models", models_tab), ("advanced", advanced), ("cine", cine_tab)):
        if only in ("", name):
            tab(panel)
    if only in ("", "desk"):
        desk(panel, stand)
    stand.modules.unload_scripted(panel.module)


def cine_tab(panel) -> None:
    """With the sample heart; with a result where a cine model is installed."""
    panel.ui.taskTabs.setCurrentIndex(1)
    panel.ui.advancedSection.collapsed = panel.widget.remote.own.remoteSection.collapsed = True
    panel.ui.sampleButton.click()
    panel.events()
    if panel.ui.applyButton.enabled:
        panel.ui.applyButton.click()
        panel.wait_idle(1800)
    save_panel(panel, FOLDER / "panel-cine.png")


def models_tab(panel) -> None:
    """With the models that come along."""
    panel.ui.taskTabs.setCurrentIndex(2)
    save_panel(panel, FOLDER / "panel-models.png")


def advanced(panel) -> None:
    """All sections of the tab Contrast, with the devices of this computer."""
    panel.ui.taskTabs.setCurrentIndex(0)
    panel.ui.advancedSection.collapsed = panel.widget.remote.own.remoteSection.collapsed = False
    panel.wait(lambda: panel.ui.deviceComboBox.count > 1, 300)
    save_panel(panel, FOLDER / "panel-advanced.png")


def desk(panel, stand) -> None:
    """With a head from formulas, whose T2w image is known, and the difference to it."""
    import slicer

    from Testing.analytic_heads import analytic_head

    slicer.mrmlScene.Clear(0)
    panel.ui.taskTabs.setCurrentIndex(0)
    source, acquired = (
        slicer.util.addVolumeFromArray(
            np.ascontiguousarray(volume.array.transpose(2, 1, 0)),
            ijkToRAS=slicer.util.vtkMatrixFromArray(volume.affine),
            name=f"Head {contrast}",
        )
        for contrast, volume in analytic_head((1.0, 1.0, 5.0)).items()
    )
    panel.ui.sourceSelector.setCurrentNode(source)
    panel.events()
    panel.ui.applyButton.click()
    panel.wait_idle(1800)
    panel.ui.acquiredSelector.setCurrentNode(acquired)
    panel.ui.sideBySideButton.click()
    panel.ui.overlayComboBox.currentIndex = panel.ui.overlayComboBox.findData("difference")
    panel.ui.scoreButton.click()
    names = ("Red", "Yellow", "Green")
    for name in names:
        stand.layout.sliceWidget(name).mrmlSliceNode().JumpSliceByCentering(0, -15, 20)
    crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    crosshair.SetCursorPositionRAS([20.0, -15.0, 20.0])
    save_views(stand, FOLDER / "three-up.png", names)
    panel.widget.several.own.severalSection.collapsed = False
    save_panel(panel, FOLDER / "panel-desk.png")
    page = FOLDER / "report-page.png"
    stand.record.answers.append(lambda dialog: str(page))
    panel.widget.results.own.pageButton.click()
    shrink(page)
    panel.ui.sideBySideButton.click()


def shrink(page) -> None:
    """A page of 150 dots an inch is larger than a tutorial needs."""
    from PIL import Image

    picture = Image.open(page).convert("RGB")
    size = picture.width * 2 // 3, picture.height * 2 // 3
    picture.resize(size, Image.Resampling.LANCZOS).quantize(128).save(page, optimize=True)


def contrast_tab(panel, stand) -> None:
    """With a head from formulas in the place of MRHead."""
    import slicer
    from panel import sample_file
    from slicerstand import sample_data

    with tempfile.TemporaryDirectory() as folder:
        sample_data.serve(sample_file(Path(folder), (1.3, 1.0, 1.0)))
        panel.ui.sampleButton.click()
    panel.events()
    save_panel(panel, FOLDER / "panel-sample.png")
    panel.ui.applyButton.click()
    panel.wait(lambda: "left" in panel.ui.statusLabel.text or not panel.logic.busy, 600)
    save_panel(panel, FOLDER / "panel-running.png")
    panel.wait_idle(1800)
    save_panel(panel, FOLDER / "panel.png")
    panel.ui.sideBySideButton.click()
    for name in ("Red", "Yellow"):
        node = stand.layout.sliceWidget(name).mrmlSliceNode()
        node.SetOrientation("Axial")
        node.JumpSliceByCentering(0, -15, 20)
    save_views(stand, FOLDER / "side-by-side.png", ("Red", "Yellow"))
    panel.ui.sideBySideButton.click()
    slicer.util.resetSliceViews()
    for name in ("Red", "Yellow", "Green"):
        stand.layout.sliceWidget(name).mrmlSliceNode().JumpSliceByOffsetting(0, -15, 20)
    save_views(stand, FOLDER / "slices.png", ("Red", "Yellow", "Green"))


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main("".join(sys.argv[1:]))
    os._exit(0)  # Qt and VTK are torn down in no order that can be relied on
