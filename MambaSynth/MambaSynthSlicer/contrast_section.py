"""The panel's contrast tab: source, output, slices, steps and samples; preview; the sample head."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from . import mrml, sample_data, sequences
from .contrast_run import ContrastJob, Request
from .parameters import OUTPUT, SOURCE
from .source_check import SourceCheck
from .worker import Event

SAMPLES_FOR_SPREAD = 4
REST_MS = 200  # after the last change of a source, before it is looked at


class ContrastSection:
    """A task of the panel, see ``run_section.py``; ``panel`` is the module's widget."""

    def __init__(self, panel: Any):
        self.panel, self.ui = panel, panel.ui
        self._check = SourceCheck()
        self._rest = qt.QTimer(panel.parent)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.connect("timeout()", self.onRest)
        ui = self.ui
        panel.follow("currentNodeChanged(vtkMRMLNode*)", ui.sourceSelector, ui.outputSelector)
        panel.follow("valueChanged(int)", ui.stepsSpinBox, ui.samplesSpinBox)
        panel.follow("toggled(bool)", ui.spreadCheckBox, ui.onePlaneCheckBox)
        ui.previewButton.connect("clicked(bool)", self.onPreview)

    # ------------------------------------------------------------------- parameters <-> widgets

    def show(self) -> None:
        ui, parameters = self.ui, self.panel.parameters
        if parameters.node(SOURCE) is None:
            parameters.setNode(SOURCE, self.panel.logic.firstSuitableVolume())
        ui.sourceSelector.setCurrentNode(parameters.node(SOURCE))
        ui.outputSelector.setCurrentNode(parameters.node(OUTPUT))
        ui.stepsSpinBox.value = parameters.get("steps")
        ui.samplesSpinBox.value = parameters.get("samples")
        ui.spreadCheckBox.checked = parameters.get("spread")
        ui.onePlaneCheckBox.checked = parameters.get("onePlane")
        self._showSliceRange()
        self._showSourceInfo()

    def _showSourceInfo(self) -> None:
        told = self._check.known(self.panel.parameters.node(SOURCE), self._contrast())
        self.ui.sourceInfoLabel.text = told or ""
        if told is None:
            self._rest.start()  # again, where the last change was a moment ago

    def _contrast(self) -> str:
        entry = self.panel.models.current()
        return entry.sources[0] if entry else "T1w"

    def onRest(self) -> None:
        if self.panel.parameters is not None:
            self._check.look(self.panel.parameters.node(SOURCE), self._contrast())
            self._showSourceInfo()

    def _showSliceRange(self) -> None:
        """Keep the range where the number of slices is the same; all of them otherwise."""
        source, entry = self.panel.parameters.node(SOURCE), self.panel.models.current()
        widget = self.ui.sliceRangeWidget
        if entry is None or mrml.refusal(source):
            widget.enabled = False
            return
        last = mrml.sliceCount(source, entry.axisCodes) - 1
        if not widget.enabled or widget.maximum != last:
            widget.setRange(0, last)
            widget.setValues(0, last)
        widget.enabled = True

    def showOptions(self, shown: bool) -> None:
        """What stands outside the tab and concerns this task only."""
        ui = self.ui
        for part in (ui.previewButton, ui.compareSection):
            part.visible = shown
        for number in (ui.stepsSpinBox, ui.samplesSpinBox, ui.spreadCheckBox):
            number.enabled = shown
        entry = self.panel.models.current()
        ui.onePlaneCheckBox.enabled = bool(shown and entry and entry.allPlanes)
        ui.sliceRangeWidget.enabled = ui.sliceRangeWidget.enabled and shown

    def keep(self) -> None:
        ui, parameters = self.ui, self.panel.parameters
        parameters.setNode(SOURCE, ui.sourceSelector.currentNode())
        parameters.setNode(OUTPUT, ui.outputSelector.currentNode())
        parameters.set("steps", ui.stepsSpinBox.value)
        entry = self.panel.models.current()
        drawn = ui.spreadCheckBox.checked and not (entry and entry.intervals)
        few = drawn and ui.samplesSpinBox.value < 2  # no spread of one
        parameters.set("samples", SAMPLES_FOR_SPREAD if few else ui.samplesSpinBox.value)
        parameters.set("spread", ui.spreadCheckBox.checked)
        parameters.set("onePlane", ui.onePlaneCheckBox.checked)

    def watched(self) -> list[tuple[Any, Any]]:
        """Loading, editing or transforming the source may make it fit or unfit."""
        source = self.panel.parameters.node(SOURCE)
        return mrml.changesOf(source) if source else []

    # --------------------------------------------------------------------------------- the run

    def buttonText(self) -> str:
        contrast = self.ui.targetComboBox.currentText.removesuffix("w")
        return _("Synthesize {contrast}").format(contrast=contrast)

    def whyNot(self) -> str | None:
        parameters = self.panel.parameters
        source = parameters.node(SOURCE)
        if self.panel.models.current() is None:
            return _("Import a model package first, under Models.")
        if source is not None and source is parameters.node(OUTPUT):
            return _("The output must not be the source; choose another output volume.")
        return mrml.refusal(source)

    def job(self) -> ContrastJob:
        return self._job(self.selectedSlices(), self.panel.parameters.node(OUTPUT))

    def _job(
        self, slices: tuple[int, int] | None, output: Any, preview: bool = False
    ) -> ContrastJob:
        request = self.request(slices, preview)
        return ContrastJob(self.panel.parameters.node(SOURCE), output, request)

    def request(
        self, slices: tuple[int, int] | None = None, preview: bool = False
    ) -> Request | None:
        """What the panel asks for, of any source; None without a model."""
        get, entry = self.panel.parameters.get, self.panel.models.current()
        if entry is None:
            return None
        return Request(
            model=entry.key,
            sourceContrast=entry.sources[0],
            targetContrast=self.ui.targetComboBox.currentText,
            device=get("device"),
            steps=get("steps") or None,
            samples=get("samples") or None,
            seed=get("seed"),
            slices=slices,
            onePlane=get("onePlane") and entry.allPlanes,
            spread=get("spread") and not preview,
            preview=preview,
        )

    def selectedSlices(self) -> tuple[int, int] | None:
        """First and end of the chosen range; None for all slices."""
        widget = self.ui.sliceRangeWidget
        first, last = int(widget.minimumValue), int(widget.maximumValue)
        whole = (first, last) == (int(widget.minimum), int(widget.maximum))
        return None if whole else (first, last + 1)

    def present(self, event: Event) -> str:
        self.showResult(event["output"])
        return ""

    def showResult(self, output: Any) -> None:
        """A volume beside or over its source; a sequence by what shows its frame."""
        source = output.GetNodeReference(mrml.SOURCE_ROLE)
        self.panel.compare.present(*map(sequences.shownFor, (source, output)))

    def onPreview(self) -> None:
        """One slice, into a volume of its own: seconds instead of minutes, to see whether it works.

        The next preview takes its place.
        """
        source, entry = self.panel.parameters.node(SOURCE), self.panel.models.current()
        view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
        index = mrml.sliceShown(view, source, entry.axisCodes)
        self.panel.run.start(lambda: self._job((index, index + 1), None, preview=True))

    sampleText = _("Load a sample head")
    sampleTip = _(
        "Loads MRHead, a T1w head that Slicer itself offers under Sample Data (downloaded once), "
        "and selects it."
    )

    def loadSample(self) -> None:
        """Raises SampleDataError."""
        node = sample_data.load()
        self.panel.parameters.setNode(SOURCE, node)
        slicer.util.setSliceViewerLayers(background=node, foreground=None, fit=True)
