"""The panel's models: target contrast, models of both tabs and their cards."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from . import models, mrml


class ModelsSection:
    """``panel`` is the module's widget; see there for what sections use of it."""

    def __init__(self, panel: Any):
        self.panel, self.ui = panel, panel.ui
        self._entries: list[models.ModelEntry] = []
        self._cines: list[models.ModelEntry] = []
        self._cards: dict[Any, str] = {}
        ui = self.ui
        boxes = ui.targetComboBox, ui.modelComboBox, ui.cineModelComboBox
        panel.follow("currentIndexChanged(int)", *boxes)
        for link in (ui.limitsLabel, ui.cineLimitsLabel):
            link.text = f"<a href='limits'>{_('What can this not do?')}</a>"
            link.connect("linkActivated(QString)", self.onLimits)

    def fill(self) -> None:
        """Read the model cards again: at start, and whenever the models have changed."""
        self.panel.catalog.fill()
        self._entries, self._cines = models.available(), models.available("cine")
        targets = sorted({target for entry in self._entries for target in entry.targets})
        with self.panel.showing():
            self.ui.targetComboBox.clear()
            self.ui.targetComboBox.addItems(targets)
        self.panel.update()

    def current(self) -> models.ModelEntry | None:
        key = self.ui.modelComboBox.currentData
        return next((entry for entry in self._entries if entry.key == key), None)

    def currentCine(self) -> models.ModelEntry | None:
        key = self.ui.cineModelComboBox.currentData
        return next((entry for entry in self._cines if entry.key == key), None)

    def entryOf(self, synthetic: Any) -> models.ModelEntry | None:
        """The model that made a node, where it is installed in the same version."""
        made = mrml.provenanceOf(synthetic)
        keys = made.model_id, made.model_version
        return next((e for e in self._entries if (e.key, e.version) == keys), None)

    def shownEntry(self) -> models.ModelEntry | None:
        """The model of the task whose tab is shown."""
        cine = self.panel.parameters.get("task") == "cine"
        return self.currentCine() if cine else self.current()

    def show(self) -> None:
        """The parameters' target and models, and the cards of these models."""
        self._showContrast()
        self._showCine()
        self.ui.limitsLabel.visible = self.current() is not None
        self.ui.cineLimitsLabel.visible = self.currentCine() is not None

    def _showCine(self) -> None:
        ui = self.ui
        fillBox(ui.cineModelComboBox, titlesOf(self._cines))
        chosen = ui.cineModelComboBox.findData(self.panel.parameters.get("cineModel"))
        ui.cineModelComboBox.currentIndex = max(0, chosen)
        entry = self.currentCine()
        self._showCard(ui.cineCardText, models.cardHtml(entry) if entry else models.noCineHtml())

    def _showContrast(self) -> None:
        ui, get = self.ui, self.panel.parameters.get
        ui.targetComboBox.currentIndex = max(0, ui.targetComboBox.findText(get("target")))
        target = ui.targetComboBox.currentText
        fitting = [entry for entry in self._entries if target in entry.targets]
        fillBox(ui.modelComboBox, titlesOf(fitting))
        ui.modelComboBox.currentIndex = max(0, ui.modelComboBox.findData(get("model")))
        entry = self.current()
        self._showCard(ui.cardText, models.cardHtml(entry) if entry else models.noneHtml())
        if entry is not None:
            ui.sourceSelectorLabel.text = _("{contrast} volume:").format(contrast=entry.sources[0])

    def _showCard(self, browser: Any, html: str) -> None:
        """Set again only when it differs: the user may have scrolled or selected."""
        if html != self._cards.get(browser.objectName):
            browser.setHtml(html)
            self._cards[browser.objectName] = html

    def keep(self) -> None:
        ui, parameters = self.ui, self.panel.parameters
        parameters.set("target", ui.targetComboBox.currentText)
        for box, name in ((ui.modelComboBox, "model"), (ui.cineModelComboBox, "cineModel")):
            if box.currentIndex >= 0:
                parameters.set(name, box.currentData)

    def select(self, entry: models.ModelEntry) -> None:
        """Choose the model, and show the tab that it is for."""
        parameters = self.panel.parameters
        parameters.set("task", entry.task)
        self.panel.run.showTask()
        if entry.task == "cine":
            parameters.set("cineModel", entry.key)
        else:
            parameters.set("target", entry.targets[0])
            parameters.set("model", entry.key)

    def onLimits(self, link: str) -> None:
        """The limits of the model of the tab shown, in full, beside what it is meant for."""
        entry = self.shownEntry()
        slicer.util.infoDisplay(models.limitsOf(entry), windowTitle=entry.title)


def titlesOf(entries: list[models.ModelEntry]) -> dict[str, str]:
    return {entry.key: f"{entry.title} ({entry.version})" for entry in entries}


def fillBox(box: Any, titles: dict[str, str]) -> None:
    """Data -> title of every row; left alone where nothing changes, as it may be open."""
    rows = [(box.itemData(row), box.itemText(row)) for row in range(box.count)]
    if rows != list(titles.items()):
        box.clear()
        for data, title in titles.items():
            box.addItem(title, data)
