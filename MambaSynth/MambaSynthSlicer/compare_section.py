"""The panel's comparison of source and synthetic volume: fade, and side by side."""

from __future__ import annotations

from typing import Any

import slicer

from .compare import SideBySide
from .parameters import SOURCE


class CompareSection:
    """``panel`` is the module's widget; see there for what sections use of it."""

    def __init__(self, panel: Any):
        self.panel, self.ui = panel, panel.ui
        self._sideBySide = SideBySide()
        self.ui.sideBySideButton.connect("toggled(bool)", self.onSideBySide)
        self.ui.fadeSlider.connect("valueChanged(double)", self.onFade)

    def pair(self) -> tuple[Any, Any] | None:
        """The source and the volume synthesized last from it, or None."""
        source = self.panel.parameters.node(SOURCE)
        synthetic = self.panel.logic.latestSynthetic(source)
        return (source, synthetic) if synthetic is not None else None

    def show(self) -> None:
        possible = self.pair() is not None
        self.ui.sideBySideButton.enabled = possible or self.ui.sideBySideButton.checked
        self.ui.fadeSlider.enabled = possible

    def present(self, source: Any, synthetic: Any) -> None:
        """Show a new result: beside its source where that view is on, else over it."""
        if self._sideBySide.shown:
            self._sideBySide.show(source, synthetic)
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
            self._sideBySide.show(*pair)
            self.ui.fadeSlider.value = 0.0
        else:
            self._sideBySide.restore()
        self.panel.update()

    def onFade(self, opacity: float) -> None:
        if self._sideBySide.shown:
            self._sideBySide.fade(opacity)
        else:
            slicer.util.setSliceViewerLayers(foregroundOpacity=opacity)
