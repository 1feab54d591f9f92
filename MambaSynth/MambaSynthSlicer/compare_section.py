"""The panel's comparison: source, synthetic and acquired volume side by side, overlays, scores.

The line of values follows the cursor, whatever the layout.
"""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError

from . import dependencies, reading
from .compare import SideBySide
from .models_section import fillBox
from .parameters import ACQUIRED, SOURCE

OPACITY = 0.6  # of an overlay


class CompareSection:
    """``panel`` is the module's widget; see there for what sections use of it."""

    def __init__(self, panel: Any):
        self.panel, self.ui = panel, panel.ui
        self._sideBySide = SideBySide()
        ui = self.ui
        ui.sideBySideButton.connect("toggled(bool)", self.onSideBySide)
        ui.fadeSlider.connect("valueChanged(double)", self.onFade)
        panel.follow("currentNodeChanged(vtkMRMLNode*)", ui.acquiredSelector)
        ui.acquiredSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onAcquired)
        ui.overlayComboBox.connect("currentIndexChanged(int)", self.onOverlay)
        ui.scoreButton.connect("clicked(bool)", self.onScore)
        crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
        panel.addObserver(crosshair, crosshair.CursorPositionModifiedEvent, self.onCursor)

    def pair(self) -> tuple[Any, Any] | None:
        """The source and the volume synthesized last from it, or None."""
        source = self.panel.parameters.node(SOURCE)
        synthetic = self.panel.logic.latestSynthetic(source)
        return (source, synthetic) if synthetic is not None else None

    def acquired(self) -> Any:
        """The acquired target that was selected and may be one, or None."""
        node = self.panel.parameters.node(ACQUIRED)
        return node if reading.acquiredRefusal(node) is None else None

    # ------------------------------------------------------------------- parameters <-> widgets

    def show(self) -> None:
        ui, pair, acquired = self.ui, self.pair(), self.acquired()
        ui.sideBySideButton.enabled = pair is not None or ui.sideBySideButton.checked
        ui.fadeSlider.enabled = pair is not None
        selected = self.panel.parameters.node(ACQUIRED)
        ui.acquiredSelector.setCurrentNode(selected)
        ui.acquiredSelector.toolTip = reading.acquiredRefusal(selected) or _(
            "The acquired volume of the contrast that was synthesized, registered to the source."
        )
        beside = _("Source, synthetic and acquired volume side by side")
        two = _("Source and synthetic volume side by side")
        ui.sideBySideButton.text = two if acquired is None else beside
        ui.scoreButton.enabled = pair is not None and acquired is not None
        self._showOverlays(pair, acquired)

    def _showOverlays(self, pair: tuple[Any, Any] | None, acquired: Any) -> None:
        choices = {"": _("nothing")}
        if pair is not None and acquired is not None:
            choices["difference"] = _("difference to the acquired target")
        if pair is not None and reading.spreadOf(pair[0]) is not None:
            choices["spread"] = _("uncertainty map")
        box = self.ui.overlayComboBox
        chosen = box.currentData or ""
        fillBox(box, choices)
        box.currentIndex = max(0, box.findData(chosen))
        box.enabled = self._sideBySide.shown and len(choices) > 1

    def keep(self) -> None:
        self.panel.parameters.setNode(ACQUIRED, self.ui.acquiredSelector.currentNode())

    # --------------------------------------------------------------------------------- the views

    def present(self, source: Any, synthetic: Any) -> None:
        """Show a new result: beside its source where that view is on, else over it."""
        self.ui.scoresText.text = ""
        if self._sideBySide.shown:
            self._sideBySide.show(source, synthetic, self.acquired())
            self.ui.overlayComboBox.currentIndex = 0
        else:
            slicer.util.setSliceViewerLayers(
                background=source, foreground=synthetic, foregroundOpacity=1.0
            )
            self.ui.fadeSlider.value = 1.0

    def leave(self) -> None:
        """Give the former views back, while their volumes exist."""
        self.ui.sideBySideButton.checked = False
        self._sideBySide.restore()

    def onSideBySide(self, shown: bool) -> None:
        pair = self.pair()
        if shown and pair is not None:
            self._sideBySide.show(*pair, self.acquired())
            self.ui.fadeSlider.value = 0.0
        else:
            self.ui.overlayComboBox.currentIndex = 0
            self._sideBySide.restore()
        self.panel.update()

    def onAcquired(self) -> None:
        """Another target: other views, other scores."""
        self.ui.scoresText.text = ""
        pair = self.pair() if self.panel.parameters is not None else None
        if self._sideBySide.shown and pair is not None:
            self.ui.overlayComboBox.currentIndex = 0
            self._sideBySide.show(*pair, self.acquired())

    def onFade(self, opacity: float) -> None:
        if self._sideBySide.shown:
            self._sideBySide.fade(opacity)
        else:
            slicer.util.setSliceViewerLayers(foregroundOpacity=opacity)

    def onOverlay(self) -> None:
        """Lay the chosen map over the synthetic volume, with its colors and their bar."""
        pair = self.pair() if self.panel.parameters is not None else None
        if pair is None or not self._sideBySide.shown:
            return
        chosen, node = self.ui.overlayComboBox.currentData, None
        try:
            if chosen == "difference":
                node = reading.differenceNode(self.acquired(), pair[1])
        except MambaSynthError as error:
            self.panel.showError(str(error))
        spread = reading.spreadOf(pair[0])
        node = spread if chosen == "spread" else node
        for known in filter(None, (spread, reading.latestMap(reading.DIFFERENCE))):
            reading.showColors(known, known is node)
        self._sideBySide.overlay(node, pair[1], OPACITY)

    # -------------------------------------------------------------------------- values and scores

    def onCursor(self, crosshair: Any, event: Any) -> None:
        pair = self.pair() if self.panel.parameters is not None else None
        ras = [0.0, 0.0, 0.0]
        inView = crosshair.GetCursorPositionRAS(ras)
        line = reading.probeLine(*pair, self.acquired(), ras) if pair and inView else ""
        self.ui.probeLabel.text = line

    def onScore(self) -> None:
        try:
            dependencies.ensurePackages(dependencies.SCORE_REQUIREMENTS)
            with slicer.util.WaitCursor():
                rows = reading.scores(*self.pair(), self.acquired())
        except MambaSynthError as error:
            self.panel.showError(str(error))
            return
        self.ui.scoresText.text = scoresTable(rows)


def scoresTable(rows: list[tuple[str, ...]]) -> str:
    """For a rich-text label: the model's row, and below it what it must beat."""
    head = "".join(f"<th align='right'>&nbsp;{title}</th>" for title, *_rest in reading.COLUMNS)
    body = "".join(
        f"<tr><td>{name}</td>"
        + "".join(f"<td align='right'>&nbsp;{c}</td>" for c in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return f"<table><tr><th></th>{head}</tr>{body}</table>"
