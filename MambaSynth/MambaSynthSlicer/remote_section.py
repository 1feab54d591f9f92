"""The panel's fields for an engine on another computer, and whether it answers."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from . import dependencies, remote_engine
from .remote_engine import RemoteEngine


class RemoteSection:
    """``panel`` is the module's widget; see there for what sections use of it."""

    def __init__(self, panel: Any):
        self.panel = panel
        part = slicer.util.loadUI(panel.resourcePath("UI/RemoteEngine.ui"))
        self.own = slicer.util.childWidgetVariables(part)
        panel.addBelow(part, panel.ui.advancedSection)
        self._trying = False
        ui = self.own
        self._edits = (ui.engineEdit, ui.engineTokenEdit, ui.engineCertificateEdit)
        for edit in self._edits:
            edit.connect("editingFinished()", panel.onPanelChanged)
        ui.engineTokenButton.connect("clicked(bool)", self.onChooseToken)
        ui.engineCertificateButton.connect("clicked(bool)", self.onChooseCertificate)
        ui.tryEngineButton.connect("clicked(bool)", self.onTry)

    def show(self) -> None:
        engine, idle = remote_engine.kept(), not self.panel.logic.busy
        values = engine.address, engine.token, engine.certificate
        for edit, value in zip(self._edits, values, strict=True):
            if edit.text != value:
                edit.text = value
            edit.enabled = idle
        self.own.tryEngineButton.enabled = idle and bool(engine.address) and not self._trying

    def keep(self) -> None:
        engine = RemoteEngine(*(edit.text.strip() for edit in self._edits))
        if self.panel.logic.busy or engine == remote_engine.kept():
            return
        remote_engine.keep(engine)
        self.panel.logic.stop()  # the child process asks where it was told to when it started
        self.panel.run.forgetDevices()
        self._tell("")

    def onChooseToken(self) -> None:
        self._choose(self.own.engineTokenEdit, _("Token file"))

    def onChooseCertificate(self) -> None:
        self._choose(self.own.engineCertificateEdit, _("Certificate"))

    def _choose(self, edit: Any, title: str) -> None:
        path = qt.QFileDialog.getOpenFileName(self.panel.parent, title, "", "")
        if path:  # the dialog was not cancelled
            edit.text = path
            self.panel.onPanelChanged()

    def onTry(self) -> None:
        """Ask the engine for its devices."""
        try:
            dependencies.ensure("models")
        except dependencies.DependencyError as error:
            self.panel.showError(str(error))
            return
        self._trying = True
        self._tell(_("Asking..."))
        self.panel.run.askDevices()
        self.panel.update()

    def presentDevices(self, devices: list[dict[str, str]], why: str) -> None:
        """What has answered, or why nothing has."""
        self._trying = False
        if remote_engine.chosen() is None:
            return
        titles = ", ".join(device["title"] for device in devices)
        self._tell(_("It computes on: {devices}").format(devices=titles) if devices else why)

    def _tell(self, text: str) -> None:
        self.own.engineStatusLabel.text = text
