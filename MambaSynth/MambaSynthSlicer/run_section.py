"""The panel's run: the button of the tab shown and its reasons, progress, devices, and errors.

A tab is a task (``contrast_section.py``, ``cine_section.py``): its ``buttonText``, ``whyNot`` (the
reason why nothing can be synthesized now, or None), ``job`` for the runner, ``present`` for the
result, which returns what to say of it, and ``loadSample`` with ``sampleText`` and ``sampleTip``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError

from . import dependencies
from .models_section import fillBox
from .problem_report import report
from .run import Job
from .several import Item
from .worker import Event

POLL_MS = 50
LOG_LINES = 500


class RunSection:
    """``panel`` is the module's widget; see there for what sections use of it."""

    def __init__(self, panel: Any):
        self.panel, self.ui, self.logic = panel, panel.ui, panel.logic
        self._tasks = {"contrast": panel.contrast, "cine": panel.cine}
        self._tabs = [*self._tasks.values(), panel.catalog]  # in their order
        self._running: Any = None  # the section whose job is under way
        self._makeJob: Callable[[], Any] | None = None  # makes that job anew
        self._cancelling = False
        self._devicesKnown = False
        self.isCatalogShown = False  # not remembered: Slicer starts with what is synthesized
        self._timer = qt.QTimer(panel.parent)
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.onPoll)
        ui = self.ui
        ui.progressBar.visible = False
        ui.logText.setMaximumBlockCount(LOG_LINES)
        ui.deviceComboBox.addItem(_("Automatic"), "auto")
        ui.applyButton.connect("clicked(bool)", self.onApply)
        panel.follow("currentChanged(int)", ui.taskTabs)
        ui.taskTabs.connect("currentChanged(int)", self.onTab)
        panel.follow("currentIndexChanged(int)", ui.deviceComboBox)
        panel.follow("valueChanged(int)", ui.seedSpinBox)
        ui.sampleButton.connect("clicked(bool)", self.onSample)
        ui.reportButton.connect("clicked(bool)", self.onReport)
        ui.advancedSection.connect("contentsCollapsed(bool)", self.onAdvancedFolded)
        self._shortcuts = [self._shortcut(keys) for keys in ("Ctrl+Return", "Ctrl+Enter")]

    def _shortcut(self, keys: str) -> Any:
        """On the main keyboard and on the keypad; only while the panel has the focus."""
        shortcut = qt.QShortcut(self.panel.parent)
        shortcut.setKey(qt.QKeySequence(keys))
        shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        shortcut.connect("activated()", self.onShortcut)
        return shortcut

    def close(self) -> None:
        self._timer.stop()
        self.logic.stop()

    # ------------------------------------------------------------------------ what is shown

    @property
    def task(self) -> Any:
        """The section of the task that is shown, or was last."""
        return self._tasks.get(self.panel.parameters.get("task"), self.panel.contrast)

    def show(self) -> None:
        self.ui.seedSpinBox.value = self.panel.parameters.get("seed")
        self.ui.sampleButton.text = self.task.sampleText
        self.ui.sampleButton.toolTip = self.task.sampleTip
        self._showDevice()
        self._showTab()
        self._showButtons()

    def keep(self) -> None:
        parameters = self.panel.parameters
        index = self.ui.taskTabs.currentIndex
        if index < len(self._tasks):
            parameters.set("task", list(self._tasks)[index])
        self.isCatalogShown = index >= len(self._tasks)
        parameters.set("device", self.ui.deviceComboBox.currentData)
        parameters.set("seed", self.ui.seedSpinBox.value)

    def _showTab(self) -> None:
        tabs = self.ui.taskTabs
        shown = self.panel.catalog if self.isCatalogShown else self.task
        for index, section in enumerate(self._tabs):
            section.showOptions(section is shown)
            if section is shown:
                tabs.setCurrentIndex(index)
            height = qt.QSizePolicy.Preferred if section is shown else qt.QSizePolicy.Ignored
            tabs.widget(index).setSizePolicy(qt.QSizePolicy.Preferred, height)

    def _showDevice(self) -> None:
        box, device = self.ui.deviceComboBox, self.panel.parameters.get("device")
        if box.findData(device) < 0:  # remembered, but not yet asked for
            box.addItem(device, device)
        box.currentIndex = box.findData(device)

    def _showButtons(self) -> None:
        ui, busy = self.ui, self.logic.busy
        reason = self.task.whyNot()
        for button in (ui.applyButton, ui.previewButton):
            button.toolTip = reason or _("Ctrl+Enter starts, too.")
        if busy:
            ui.applyButton.text = _("Cancelling...") if self._cancelling else _("Cancel")
            ui.applyButton.toolTip = _("Stop the synthesis; the scene stays as it is.")
        else:
            ui.applyButton.text = self.task.buttonText()
        for button in (ui.applyButton, ui.sampleButton):
            button.visible = not self.isCatalogShown or (busy and button is ui.applyButton)
        ui.applyButton.enabled = not self._cancelling if busy else reason is None
        ui.previewButton.enabled = not busy and reason is None
        ui.progressBar.visible = busy

    def showStatus(self, text: str) -> None:
        self.ui.statusLabel.text = text

    # --------------------------------------------------------------------- start and cancel

    def onShortcut(self) -> None:
        if self.ui.applyButton.enabled and not self.logic.busy:
            self.onApply()

    def onTab(self) -> None:
        """What was said of the last run concerns the other tab."""
        if not self.logic.busy:
            self.showStatus("")

    def onApply(self) -> None:
        if self.logic.busy:
            self._cancelling = True
            self.logic.cancel()
            self.panel.update()
        else:
            self.start(self.task.job)

    def start(self, makeJob: Callable[[], Job], section: Any = None, status: str = "") -> None:
        """Run the job of the tab shown, or of another ``section`` that can ``present`` it."""
        self._makeJob = makeJob
        section = section or self.task
        needs = self._needsOf(section)
        self._begin(lambda: self.logic.start(makeJob()), section, needs, status)

    def startSeveral(self, items: list[Item], section: Any) -> None:
        """Run a queue; ``section`` can also ``presentRest`` of one that was cancelled."""
        self._begin(lambda: self.logic.startSeveral(items), section, self._needsOf(section))

    def _begin(self, go: Callable[[], None], section: Any, needs: str, status: str = "") -> None:
        try:
            dependencies.ensure(needs)
            go()
        except MambaSynthError as error:
            self.panel.showError(str(error))
            return
        self._running = section
        self.ui.progressBar.setRange(0, 0)  # busy, until the first progress arrives
        self.showStatus(status or _("Starting..."))
        self._timer.start()
        self.panel.update()

    def _needsOf(self, section: Any) -> str:
        """What ``dependencies.ensure`` is to have installed for it."""
        if section is self.panel.catalog:
            return section.needs
        return "cine" if section is self.panel.cine else "contrast"

    def showTask(self) -> None:
        """Leave the catalog."""
        self.isCatalogShown = False
        self.panel.update()

    def onSample(self) -> None:
        try:
            self.task.loadSample()
        except MambaSynthError as error:
            self.panel.showError(str(error))
        self.panel.update()

    def onReport(self) -> None:
        """Into the clipboard: nothing is sent anywhere."""
        ui = self.ui
        entry = self.panel.models.shownEntry()
        text = report(
            entry, ui.deviceComboBox.currentText, ui.statusLabel.text, ui.logText.toPlainText()
        )
        qt.QApplication.clipboard().setText(text)
        told = _("The report is in the clipboard, without names and paths; look through it.")
        self.showStatus(told)

    def onAdvancedFolded(self, folded: bool) -> None:
        """Ask for the devices when they are first looked at: it needs the child process."""
        self.ui.backendLabel.text = dependencies.computesWith()
        if not folded and not self._devicesKnown and dependencies.somethingComputes():
            self.askDevices()

    def forgetDevices(self) -> None:
        """Another computer computes from now on."""
        self._devicesKnown = False
        self.panel.parameters.set("device", "auto")
        with self.panel.showing():
            fillBox(self.ui.deviceComboBox, {"auto": _("Automatic")})
        self.ui.backendLabel.text = dependencies.computesWith()

    def askDevices(self) -> None:
        self.logic.askDevices()
        self._timer.start()

    # ---------------------------------------------------------- events, by their protocol names

    def onPoll(self) -> None:
        if self.panel.parameters is None:  # a scene is being closed or loaded: wait for its end
            return
        for event in self.logic.poll():
            getattr(self, "on_" + event["event"], self.on_other)(event)
        if not self.logic.listening:
            self._timer.stop()

    def on_other(self, event: Event) -> None:
        pass  # "ready" needs no answer

    def on_log(self, event: Event) -> None:
        self.ui.logText.appendPlainText(event["text"])

    def on_devices(self, event: Event) -> None:
        self._devicesKnown = bool(event["devices"])
        self.panel.remote.presentDevices(event["devices"], event.get("why", ""))
        titles = {device["id"]: device["title"] for device in event["devices"]}
        with self.panel.showing():
            fillBox(self.ui.deviceComboBox, {"auto": _("Automatic"), **titles})
        self.panel.update()

    def on_queued(self, event: Event) -> None:
        told = _("Waiting for the engine; {count} come first...")
        self.showStatus(told.format(count=event["before"]))

    def on_loading(self, event: Event) -> None:
        self.showStatus(_("Loading the model..."))

    def on_progress(self, event: Event) -> None:
        self.ui.progressBar.setRange(0, event["total"])
        self.ui.progressBar.value = event["done"]
        counted = event.get("counted") or f"{event['done']}/{event['total']}"
        left = event["secondsLeft"]
        self.showStatus(counted if left is None else f"{counted}, {duration(left)} left")

    def on_finished(self, event: Event) -> None:
        done = _("Done in {time}.").format(time=duration(event["seconds"]))
        warnings = [_("Warning: {text}.").format(text=text) for text in event["warnings"]]
        told = (done, self._running.present(event), *warnings, *event.get("notes", ()))
        self._ended(" ".join(filter(None, told)))

    def on_cancelled(self, event: Event) -> None:
        several = "results" in event
        told = self._running.presentRest(event) if several else None
        self._ended(told or _("Cancelled; nothing was changed."))

    def on_failed(self, event: Event) -> None:
        self._ended(_("Failed; nothing was changed."))
        if not event.get("refused"):
            self.panel.showError(event["message"], event["details"])
            return
        makeJob = self._makeJob
        question = makeJob().question.format(why=event["message"])
        if slicer.util.confirmYesNoDisplay(question):
            self.start(lambda: makeJob().insisting(), self._running)

    def on_crashed(self, event: Event) -> None:
        message = _("{what} Nothing was changed, and the next synthesis starts a new process.")
        self._ended(_("Failed; nothing was changed."))
        self.panel.showError(message.format(what=event["message"]), event["details"])

    def _ended(self, status: str) -> None:
        self._cancelling = False
        self.showStatus(status)
        self.panel.update()


def duration(seconds: float) -> str:
    """'8 s', '2 min 5 s'."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
