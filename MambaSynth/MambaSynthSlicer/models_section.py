"""The panel's models: target contrast, model and its card; import, show and delete packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError

from . import dependencies, models


class ModelsSection:
    """``panel`` is the module's widget; see there for what sections use of it."""

    def __init__(self, panel: Any):
        self.panel, self.ui = panel, panel.ui
        self._entries: list[models.ModelEntry] = []
        self._card = ""
        ui = self.ui
        ui.importFileButton.connect("clicked(bool)", self.onImportFile)
        ui.importFolderButton.connect("clicked(bool)", self.onImportFolder)
        ui.showFolderButton.connect("clicked(bool)", self.onShowFolder)
        ui.deleteModelButton.connect("clicked(bool)", self.onDelete)

    def fill(self) -> None:
        """Read the model cards again: at start, and after an import or a deletion."""
        self._entries = models.available()
        targets = sorted({target for entry in self._entries for target in entry.targets})
        with self.panel.showing():
            self.ui.targetComboBox.clear()
            self.ui.targetComboBox.addItems(targets)
        self.panel.update()

    def current(self) -> models.ModelEntry | None:
        key = self.ui.modelComboBox.currentData
        return next((entry for entry in self._entries if entry.key == key), None)

    def show(self) -> None:
        """The parameters' target and model, and the card of that model."""
        ui, get = self.ui, self.panel.parameters.get
        ui.targetComboBox.currentIndex = max(0, ui.targetComboBox.findText(get("target")))
        target = ui.targetComboBox.currentText
        fitting = [entry for entry in self._entries if target in entry.targets]
        fillBox(ui.modelComboBox, {e.key: f"{e.title} ({e.version})" for e in fitting})
        ui.modelComboBox.currentIndex = max(0, ui.modelComboBox.findData(get("model")))
        entry = self.current()
        self._showCard(models.cardHtml(entry) if entry else models.noneHtml())
        ui.showFolderButton.enabled = entry is not None
        ui.deleteModelButton.enabled = entry is not None and entry.deletable
        if entry is not None:
            ui.sourceSelectorLabel.text = _("{contrast} volume:").format(contrast=entry.sources[0])

    def _showCard(self, html: str) -> None:
        """Set again only when it differs: the user may have scrolled or selected."""
        if html != self._card:
            self.ui.cardText.setHtml(html)
            self._card = html

    def onImportFile(self) -> None:
        title = _("Import model package")
        path = qt.QFileDialog.getOpenFileName(self.panel.parent, title, "", "Model package (*.zip)")
        self._import(path)

    def onImportFolder(self) -> None:
        title = _("Import model package")
        self._import(qt.QFileDialog.getExistingDirectory(self.panel.parent, title))

    def _import(self, path: str) -> None:
        if not path:  # the dialog was cancelled
            return
        try:
            dependencies.ensure()  # the checks build the network from the weights
            with slicer.util.WaitCursor():
                entry = models.importFrom(Path(path))
        except MambaSynthError as error:
            self.panel.showError(str(error))
            return
        self.panel.parameters.set("target", entry.targets[0])
        self.panel.parameters.set("model", entry.key)
        self.fill()

    def onShowFolder(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.current().folder)))

    def onDelete(self) -> None:
        entry = self.current()
        question = _("Delete the model {title} ({size:.0f} MB) from this computer?")
        size = models.bytesOnDisk(entry) / 1e6
        if slicer.util.confirmYesNoDisplay(question.format(title=entry.title, size=size)):
            models.delete(entry)
            self.fill()


def fillBox(box: Any, titles: dict[str, str]) -> None:
    """Data -> title of every row; left alone where nothing changes, as it may be open."""
    rows = [(box.itemData(row), box.itemText(row)) for row in range(box.count)]
    if rows != list(titles.items()):
        box.clear()
        for data, title in titles.items():
            box.addItem(title, data)
