"""The panel's cine tab: a cine, or ED and ES volumes; how many frames; which are ED and ES.

Two rows appear only where they are needed: the pace of a cine that does not say when its frames
were taken, and the button that joins slices which Slicer has loaded one sequence each.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError

from . import frame_times, mrml, sample_data, sequences, stacks
from .cine_run import CineJob, CineRequest
from .frame_times import Pace
from .models_section import fillBox
from .parameters import CINE_ES, CINE_SOURCE
from .worker import Event

BETWEEN = 1  # frames to synthesize, at least
PACE_UNITS = {"bpm": _("beats/min"), "ms": _("ms/frame")}


class CineSection:
    """A task of the panel, see ``run_section.py``; ``panel`` is the module's widget."""

    def __init__(self, panel: Any):
        self.panel, self.ui = panel, panel.ui
        ui = self.ui
        selectors = ui.cineSourceSelector, ui.cineEsSelector
        panel.follow("currentNodeChanged(vtkMRMLNode*)", *selectors)
        panel.follow("valueChanged(int)", ui.cineFramesSpinBox, ui.cineEdSpinBox, ui.cineEsSpinBox)
        panel.follow("toggled(bool)", ui.cinePhasesCheckBox)
        fillBox(ui.cinePaceUnitComboBox, PACE_UNITS)
        panel.follow("valueChanged(double)", ui.cinePaceSpinBox)
        panel.follow("currentIndexChanged(int)", ui.cinePaceUnitComboBox)
        ui.cineJoinButton.connect("clicked(bool)", self.onJoin)

    # ------------------------------------------------------------------- parameters <-> widgets

    def show(self) -> None:
        ui, parameters = self.ui, self.panel.parameters
        if parameters.node(CINE_SOURCE) is None:
            self._chooseSource(self.panel.logic.firstSuitableCine())
        source, count = parameters.node(CINE_SOURCE), self._count()
        ui.cineSourceSelector.setCurrentNode(source)
        ui.cineEsSelector.setCurrentNode(parameters.node(CINE_ES))
        ui.cineEsSelector.enabled = source is not None and count == 0
        for box, name in ((ui.cineEdSpinBox, "cineEd"), (ui.cineEsSpinBox, "cineEs")):
            box.enabled = count > 0
            box.maximum = count
            box.value = parameters.get(name)
        ui.cinePhasesCheckBox.enabled = count > 0
        ui.cinePhasesCheckBox.checked = parameters.get("cineOnlyPhases")
        ui.cineFramesSpinBox.minimum = self._kept() + BETWEEN
        ui.cineFramesSpinBox.value = parameters.get("cineFrames")
        self._showPace()
        self._showJoin()

    def _sequence(self) -> Any:
        return sequences.sequenceOf(self.panel.parameters.node(CINE_SOURCE))

    def _showPace(self) -> None:
        """Asked for only where the cine does not say it."""
        ui, get, sequence = self.ui, self.panel.parameters.get, self._sequence()
        asked = sequence is not None and not frame_times.stated(sequence)
        for part in (ui.cinePaceLabel, ui.cinePaceSpinBox, ui.cinePaceUnitComboBox):
            part.visible = asked
        ui.cinePaceSpinBox.value = get("cinePace")
        unit = ui.cinePaceUnitComboBox.findData(get("cinePaceUnit"))
        ui.cinePaceUnitComboBox.currentIndex = max(0, unit)

    def _showJoin(self) -> None:
        count = stacks.sliceCount(self._sequence())
        self.ui.cineJoinButton.visible = count > 0
        self.ui.cineJoinButton.enabled = not self.panel.logic.busy
        self.ui.cineJoinButton.text = _("Join {count} slices to one stack").format(count=count)

    def _pace(self) -> Pace:
        get = self.panel.parameters.get
        if get("cinePaceUnit") == "ms":
            return Pace(frameMs=get("cinePace"))
        return Pace(heartRate=get("cinePace"))

    def _count(self) -> int:
        """How many frames the source has; 0 for a volume."""
        sequence = self._sequence()
        return sequence.GetNumberOfDataNodes() if sequence else 0

    def _kept(self) -> int:
        """How many acquired frames the result has."""
        return 2 if self.panel.parameters.get("cineOnlyPhases") else max(2, self._count())

    def _chooseSource(self, node: Any) -> None:
        """Numbers that were given for another cine mean nothing for this one."""
        parameters = self.panel.parameters
        if node is not parameters.node(CINE_SOURCE):
            parameters.setNode(CINE_SOURCE, node)
            parameters.set("cineEd", 0)
            parameters.set("cineEs", 0)
            parameters.set("cinePace", 0.0)

    def showOptions(self, shown: bool) -> None:
        """Everything of this task stands inside its tab."""

    def keep(self) -> None:
        ui, parameters = self.ui, self.panel.parameters
        parameters.set("cineEd", ui.cineEdSpinBox.value)
        parameters.set("cineEs", ui.cineEsSpinBox.value)
        parameters.set("cinePace", ui.cinePaceSpinBox.value)
        parameters.set("cinePaceUnit", ui.cinePaceUnitComboBox.currentData)
        self._chooseSource(ui.cineSourceSelector.currentNode())
        parameters.setNode(CINE_ES, ui.cineEsSelector.currentNode())
        parameters.set("cineFrames", ui.cineFramesSpinBox.value)
        parameters.set("cineOnlyPhases", ui.cinePhasesCheckBox.checked)

    def watched(self) -> list[tuple[Any, Any]]:
        """Frames that come, go or move may make the source fit or unfit; playing does not."""
        source, es = (self.panel.parameters.node(role) for role in (CINE_SOURCE, CINE_ES))
        sequence = sequences.sequenceOf(source)
        if sequence is not None:
            return [(sequence, vtk.vtkCommand.ModifiedEvent)]
        return [change for node in (source, es) if node for change in mrml.changesOf(node)]

    # --------------------------------------------------------------------------------- the run

    def buttonText(self) -> str:
        return _("Synthesize cine")

    def whyNot(self) -> str | None:
        get, node = self.panel.parameters.get, self.panel.parameters.node
        if self.panel.models.currentCine() is None:
            return _("Import a cine model first, under Models.")
        if get("cineEd") and get("cineEd") == get("cineEs"):
            return _("One frame cannot be both ED and ES; give two frame numbers.")
        reason = sequences.refusal(node(CINE_SOURCE), node(CINE_ES), self._pace())
        sequence = self._sequence()
        if reason and sequence is not None and len(stacks.slicesOf(sequence)) > 1:
            message = _("{name} holds several slices one after another; join them to one stack.")
            return message.format(name=sequence.GetName())
        return reason

    def job(self) -> CineJob:
        get, node = self.panel.parameters.get, self.panel.parameters.node
        source = node(CINE_SOURCE)
        isCine = sequences.sequenceOf(source) is not None
        request = CineRequest(
            model=self.panel.models.currentCine().key,
            frames=self.ui.cineFramesSpinBox.value,
            device=get("device"),
            ed=get("cineEd") or None,
            es=get("cineEs") or None,
            onlyPhases=isCine and get("cineOnlyPhases"),
            seed=get("seed"),
            frameMs=self._pace().frameMs,
            heartRate=self._pace().heartRate,
        )
        return CineJob(source, node(CINE_ES), request)

    def present(self, event: Event) -> str:
        self.panel.compare.leave()
        slicer.util.setSliceViewerLayers(background=event["proxy"], foreground=None, fit=True)
        slicer.modules.sequences.showSequenceBrowser(event["browser"])
        told = _("ED is frame {ed}, ES frame {es}: {rule}.")
        return told.format(**event["phases"])

    def onJoin(self) -> None:
        try:
            joined = stacks.join(self._sequence(), self._pace())
        except MambaSynthError as error:
            self.panel.showError(str(error))
            return
        self._chooseSource(joined)
        self.panel.update()
        slicer.util.setSliceViewerLayers(background=sequences.proxyOf(joined), fit=True)

    sampleText = _("Compute a sample heart")
    sampleTip = _(
        "Computes a coarse cine of a beating heart from formulas, in a second and without a "
        "network, and selects it."
    )

    def loadSample(self) -> None:
        joined = sample_data.computeHeart()
        self._chooseSource(joined)
        slicer.util.setSliceViewerLayers(
            background=sequences.proxyOf(joined), foreground=None, fit=True
        )
