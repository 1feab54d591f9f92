"""What is done with a result: saved as a DICOM series, or shown on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError
from MambaSynthLib.io.dicom_series import Series

from . import dependencies, dicom_export, dicom_source, mrml, report_page, sequences
from .parameters import CINE_SOURCE

KINDS = "PDF (*.pdf);;PNG (*.png)"


class ResultsSection:
    """``panel`` is the module's widget; see there for what sections use of it."""

    def __init__(self, panel: Any):
        self.panel = panel
        part = slicer.util.loadUI(panel.resourcePath("UI/Results.ui"))
        self.own = slicer.util.childWidgetVariables(part)
        panel.addBelow(part, panel.ui.statusLabel)
        self._part = part
        self.own.dicomButton.connect("clicked(bool)", self.onDicom)
        self.own.pageButton.connect("clicked(bool)", self.onPage)

    # ------------------------------------------------------------------------ what is shown

    def result(self) -> Any:
        """What was made last from the source of the tab shown, or None."""
        if self._isCine():
            return self._latestCine()
        pair = self.panel.compare.pair()
        return pair[1] if pair else None

    def _isCine(self) -> bool:
        return self.panel.parameters.get("task") == "cine"

    def _latestCine(self) -> Any:
        chosen = self.panel.parameters.node(CINE_SOURCE)
        source = sequences.sequenceOf(chosen) or chosen
        if source is None:
            return None
        nodes = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
        made = [node for node in nodes if mrml.isSynthesisOf(node, source)]
        return made[-1] if made else None

    def show(self) -> None:
        node, ui = self.result(), self.own
        self._part.visible = not self.panel.run.isCatalogShown
        ui.dicomButton.enabled = ui.pageButton.enabled = node is not None
        ui.pageButton.visible = not self._isCine()
        nothing = _("There is nothing yet: synthesize first.")
        into = _(
            "{name} goes into the study of its source and to its patient, marked as synthetic."
        )
        ui.dicomButton.toolTip = into.format(name=node.GetName()) if node else nothing

    def keep(self) -> None:
        """There is nothing to be remembered."""

    # -------------------------------------------------------------------------------- DICOM

    def onDicom(self) -> None:
        node = self.result()
        try:
            series = dicom_export.sourceSeries(node) or self._askedSeries(node)
            if series is None:
                self._say(_("Nothing was saved: a DICOM series needs a patient and a study."))
                return
            title = _("Folder in which a new one is made for the series")
            folder = qt.QFileDialog.getExistingDirectory(self.panel.parent, title)
            if not folder:
                return
            with slicer.util.WaitCursor():
                files = dicom_export.export(node, Path(folder), series)
        except MambaSynthError as error:
            self.panel.showError(str(error))
            return
        told = _("Saved as {count} DICOM files in {folder}.")
        self._say(told.format(count=len(files), folder=files[0].parent))

    def _askedSeries(self, node: Any) -> Series | None:
        """Whose it is, where Slicer's DICOM database does not tell. Raises FileError."""
        identity = dicom_source.identityOf(node)
        if identity["PatientID"]:
            question = _(
                "The source of {name} was not loaded from the DICOM database.\n\nSave it for the "
                "patient {patient} ({number}), under whom it stands in the Data module?"
            )
            told = {"patient": identity["PatientName"], "number": identity["PatientID"]}
            if slicer.util.confirmYesNoDisplay(question.format(name=node.GetName(), **told)):
                return dicom_export.namedSeries(node, identity)
            return None
        question = _(
            "The source of {name} was not loaded from the DICOM database, so its patient and study "
            "are unknown.\n\nChoose the folder of the DICOM series that it was made from? "
            "(Otherwise, put it under a patient with an ID and a study in the Data module.)"
        )
        if not slicer.util.confirmYesNoDisplay(question.format(name=node.GetName())):
            return None
        title = _("Folder of the DICOM series that the source was made from")
        folder = qt.QFileDialog.getExistingDirectory(self.panel.parent, title)
        return dicom_export.chosenSeries(Path(folder)) if folder else None

    # --------------------------------------------------------------------------------- the page

    def onPage(self) -> None:
        source, synthetic = self.panel.compare.pair()
        acquired = self.panel.compare.acquired()
        title = _("Save report")
        chosen = qt.QFileDialog.getSaveFileName(
            self.panel.parent, title, f"{synthetic.GetName()}.pdf", KINDS
        )
        if not chosen:
            return
        path = Path(chosen)
        path = path if path.suffix else path.with_suffix(".pdf")
        try:
            if acquired is not None:
                dependencies.ensurePackages(dependencies.SCORE_REQUIREMENTS)
            with slicer.util.WaitCursor():
                entry = self.panel.models.entryOf(synthetic)
                report_page.write(path, source, synthetic, acquired, entry)
        except MambaSynthError as error:
            self.panel.showError(str(error))
            return
        self._say(_("Saved the report {name}.").format(name=path.name))

    def _say(self, text: str) -> None:
        self.panel.run.showStatus(text)
