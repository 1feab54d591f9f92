"""The tab Models: what is installed, its whole card; install, update, delete, choose a default.

What changes the models is done by the child process (``model_jobs.py``); only cards are read here.
A file from an address waits until its sha256 was looked at; see the library's ``install/offer.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from . import models
from .model_jobs import ImportJob, ModelJob
from .worker import Event

ADDRESSES = "MambaSynth/addresses/"  # in the settings: where a model was fetched from, by its id
CARD_WINDOW = (700, 800)  # pixels


class CatalogSection:
    """``panel`` is the module's widget; see there for what sections use of it."""

    def __init__(self, panel: Any):
        self.panel, self.ui = panel, panel.ui
        self._entries: list[models.ModelEntry] = []
        self._rows: list[str] = []
        self._selected = ""  # the id of a model: its row changes when models come and go
        self._shown: models.ModelEntry | None = None
        self._fetched = ""  # the address of the latest offer
        self._address = ""  # that what is being installed came from
        self._window: Any = None
        self.needs = "models"  # of the run that is started next, see dependencies.ensure
        ui = self.ui
        for button, slot in (
            (ui.importFileButton, self.onInstallFile),
            (ui.importFolderButton, self.onInstallFolder),
            (ui.fetchButton, self.onFetch),
            (ui.updateModelButton, self.onUpdate),
            (ui.defaultModelButton, self.onDefault),
            (ui.deleteModelButton, self.onDelete),
            (ui.showFolderButton, self.onShowFolder),
            (ui.openCardButton, self.onOpenCard),
        ):
            button.connect("clicked(bool)", slot)
        ui.catalogList.connect("currentRowChanged(int)", self.onRow)
        ui.addressEdit.connect("textChanged(QString)", self.onAddress)

    # ------------------------------------------------------------------------ what is shown

    def fill(self) -> None:
        """Read the models again; see ``ModelsSection.fill``."""
        self._entries = models.available() + models.available("cine")
        self._shown = None  # the card of a row may be another now

    def current(self) -> models.ModelEntry | None:
        row = self.ui.catalogList.currentRow
        return self._entries[row] if 0 <= row < len(self._entries) else None

    def show(self) -> None:
        defaults = defaultsOf(self._entries)
        rows = [rowText(entry, entry in defaults) for entry in self._entries]
        if rows != self._rows:
            self._rows = rows
            self.ui.catalogList.clear()
            self.ui.catalogList.addItems(rows)
        keys = [entry.key for entry in self._entries]
        row = keys.index(self._selected) if self._selected in keys else 0
        if row != self.ui.catalogList.currentRow:
            self.ui.catalogList.setCurrentRow(row)
        self._showCard()
        self._showButtons()

    def keep(self) -> None:
        """What is selected here is nothing to remember."""

    def _showCard(self) -> None:
        entry = self.current()
        if entry is not self._shown:  # the user may have scrolled or selected
            self._shown = entry
            self.ui.catalogCard.setMarkdown(models.wholeCard(entry) if entry else "")

    def _showButtons(self) -> None:
        ui, entry, idle = self.ui, self.current(), not self.panel.logic.busy
        for button in (ui.importFileButton, ui.importFolderButton):
            button.enabled = idle
        ui.fetchButton.enabled = idle and bool(ui.addressEdit.text.strip())
        ui.showFolderButton.enabled = ui.openCardButton.enabled = entry is not None
        own = entry is not None and entry.deletable
        ui.deleteModelButton.enabled = own and idle
        ui.updateModelButton.enabled = own and idle and bool(addressOf(entry))
        other = entry is not None and entry not in defaultsOf(self._entries)
        ui.defaultModelButton.enabled = other and idle

    def showOptions(self, shown: bool) -> None:
        """Nothing outside the tab concerns the models."""

    def onRow(self, row: int) -> None:
        if self.panel.isShowing:  # not the user's wish
            return
        entry = self.current()
        self._selected = entry.key if entry else ""
        self.panel.update()

    def onAddress(self, text: str) -> None:
        self.panel.update()

    def onShowFolder(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.current().folder)))

    def onOpenCard(self) -> None:
        """In a window of its own, of any size; Slicer goes on beside it."""
        entry = self.current()
        window = qt.QTextBrowser()
        window.setWindowTitle(entry.title)
        window.setOpenExternalLinks(True)
        window.setMarkdown(models.wholeCard(entry))
        window.resize(*CARD_WINDOW)
        window.show()
        self._window = window  # or it would vanish at once

    def close(self) -> None:
        if self._window is not None:
            self._window.close()

    # --------------------------------------------------------------------------- install

    def onInstallFile(self) -> None:
        title = _("Install a model package")
        path = qt.QFileDialog.getOpenFileName(self.panel.parent, title, "", "Model package (*.zip)")
        self._install(path)

    def onInstallFolder(self) -> None:
        title = _("Install a model package")
        self._install(qt.QFileDialog.getExistingDirectory(self.panel.parent, title))

    def _install(self, path: str, replace: bool = False, address: str = "") -> None:
        if path:  # the dialog was not cancelled
            self._address = address
            self._start(lambda: ImportJob(Path(path), replace), _("Importing the model..."))

    def _start(self, makeJob: Callable[[], ModelJob], text: str) -> None:
        """A package is checked with what contrasts are computed with; the rest needs nothing."""
        self.needs = "import" if makeJob().do == "import" else "models"
        self.panel.run.start(makeJob, self, text)

    def onFetch(self) -> None:
        self._fetch(self.ui.addressEdit.text.strip())

    def onUpdate(self) -> None:
        """Look again where the model came from."""
        self._fetch(addressOf(self.current()))

    def _fetch(self, address: str) -> None:
        self._fetched = address
        self._start(lambda: ModelJob("fetch", address=address), _("Fetching the model..."))

    def onDefault(self) -> None:
        model = self.current().key
        self._start(lambda: ModelJob("default", model=model), _("Choosing..."))

    def onDelete(self) -> None:
        entry = self.current()
        question = _("Delete the model {title} ({size:.0f} MB) from this computer?")
        size = models.bytesOnDisk(entry) / 1e6
        if slicer.util.confirmYesNoDisplay(question.format(title=entry.title, size=size)):
            self._start(lambda: ModelJob("remove", model=entry.key), _("Deleting the model..."))

    # ------------------------------------------------------------------------- what has ended

    def present(self, event: Event) -> str:
        """What to say of it; an imported model is selected, and the tab that it is for shown."""
        if "model" in event:
            entry = event["model"]
            self._selected = entry.key
            qt.QSettings().setValue(ADDRESSES + entry.key, self._address)
            self.panel.models.select(entry)
            self.panel.models.fill()
            return _("Imported {title}.").format(title=entry.title)
        told = event["told"]
        if "sha256" in told:
            return self._presentOffer(told)
        self.panel.models.fill()
        return ""

    def _presentOffer(self, offer: Event) -> str:
        title = offer["card"]["title"]
        if offer["same"]:
            Path(offer["file"]).unlink(missing_ok=True)
            return _("{title}: the version at its address is installed.").format(title=title)
        qt.QTimer.singleShot(0, lambda: self._askToTrust(offer))
        return _("Fetched {title}.").format(title=title)

    def _askToTrust(self, offer: Event) -> None:
        if slicer.util.confirmYesNoDisplay(trustQuestion(offer), windowTitle="MambaSynth"):
            self._install(offer["file"], offer["installed"] is not None, self._fetched)
            return
        Path(offer["file"]).unlink(missing_ok=True)
        self.panel.run.showStatus(_("Nothing was installed."))


def addressOf(entry: models.ModelEntry) -> str:
    """Where the installed model was fetched from; '' where that was no address."""
    return slicer.util.settingsValue(ADDRESSES + entry.key, "")


def defaultsOf(entries: list[models.ModelEntry]) -> list[models.ModelEntry]:
    """The first of each direction: chosen ones come first; see ``models.available``."""
    return list({entry.direction: entry for entry in reversed(entries)}.values())


def rowText(entry: models.ModelEntry, isDefault: bool) -> str:
    parts = [entry.direction, entry.origin] + ([_("default")] if isDefault else [])
    return f"{entry.title} {entry.version}\n{', '.join(parts)}"


def trustQuestion(offer: Event) -> str:
    """What somebody has to know before a file from an address is trusted."""
    card, installed = offer["card"], offer["installed"]
    size = f"{offer['bytes'] / 1e6:.1f} MB"
    parts = [
        f"{card['title']} {card['version']} ({card['direction']}), {size}, {card['license']}",
        card["limits"] or _("Its card states no limits: expect the worst."),
        _("sha256 of the file:") + "\n" + offer["sha256"],
    ]
    if installed is not None:
        parts.append(_("It replaces version {version}.").format(version=installed))
    parts.append(
        _(
            "Compare the sha256 with what the publisher of the model states. Is it the same, and "
            "shall the model be installed?"
        )
    )
    return "\n\n".join(parts)
