"""The panel's run: the button and its reasons, preview, progress, devices, slices, and errors."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError

from . import dependencies, mrml
from .models_section import fillBox
from .parameters import OUTPUT, SOURCE
from .run import Request
from .worker import Event

POLL_MS = 50
LOG_LINES = 500


class RunSection:
    """``panel`` is the module's widget; see there for what sections use of it."""

    def __init__(self, panel: Any):
        self.panel, self.ui, self.logic = panel, panel.ui, panel.logic
        self._cancelling = False
        self._devicesKnown = False
        self._timer = qt.QTimer(panel.parent)
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.onPoll)
        ui = self.ui
        ui.progressBar.visible = False
        ui.logText.setMaximumBlockCount(LOG_LINES)
        ui.deviceComboBox.addItem(_("Automatic"), "auto")
        ui.applyButton.connect("clicked(bool)", self.onApply)
        ui.previewButton.connect("clicked(bool)", self.onPreview)
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

    def show(self) -> None:
        self._showDevice()
        self._showSliceRange()
        self._showButtons()

    def _showDevice(self) -> None:
        box, device = self.ui.deviceComboBox, self.panel.parameters.get("device")
        if box.findData(device) < 0:  # remembered, but not yet asked for
            box.addItem(device, device)
        box.currentIndex = box.findData(device)

    def _showSliceRange(self) -> None:
        """Keep the range where the number of slices is the same; all of them otherwise."""
        source, entry = self.panel.parameters.volume(SOURCE), self.panel.models.current()
        widget = self.ui.sliceRangeWidget
        if entry is None or mrml.refusal(source):
            widget.enabled = False
            return
        last = mrml.sliceCount(source, entry.axisCodes) - 1
        if not widget.enabled or widget.maximum != last:
            widget.setRange(0, last)
            widget.setValues(0, last)
        widget.enabled = True

    def _showButtons(self) -> None:
        ui, busy = self.ui, self.logic.busy
        reason = self.whyNot()
        for button in (ui.applyButton, ui.previewButton):
            button.toolTip = reason or _("Ctrl+Enter starts, too.")
        if busy:
            ui.applyButton.text = _("Cancelling...") if self._cancelling else _("Cancel")
            ui.applyButton.toolTip = _("Stop the synthesis; the scene stays as it is.")
        else:
            contrast = ui.targetComboBox.currentText.removesuffix("w")
            ui.applyButton.text = _("Synthesize {contrast}").format(contrast=contrast)
        ui.applyButton.enabled = not self._cancelling if busy else reason is None
        ui.previewButton.enabled = not busy and reason is None
        ui.progressBar.visible = busy

    def whyNot(self) -> str | None:
        """Why nothing can be synthesized now, for the tooltip; None: all is well."""
        source = self.panel.parameters.volume(SOURCE)
        if self.panel.models.current() is None:
            return _("Import a model package first, under Models.")
        if source is not None and source is self.panel.parameters.volume(OUTPUT):
            return _("The output must not be the source; choose another output volume.")
        return mrml.refusal(source)

    def showStatus(self, text: str) -> None:
        self.ui.statusLabel.text = text

    # --------------------------------------------------------------------- start and cancel

    def onShortcut(self) -> None:
        if self.ui.applyButton.enabled and not self.logic.busy:
            self.onApply()

    def onApply(self) -> None:
        if self.logic.busy:
            self._cancelling = True
            self.logic.cancel()
            self.panel.update()
        else:
            self.start(self.selectedSlices(), self.panel.parameters.volume(OUTPUT))

    def onPreview(self) -> None:
        """One slice into a new volume: seconds instead of minutes, to see whether it works."""
        source, entry = self.panel.parameters.volume(SOURCE), self.panel.models.current()
        view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
        index = mrml.sliceShown(view, source, entry.axisCodes)
        self.start((index, index + 1), None)

    def selectedSlices(self) -> tuple[int, int] | None:
        """First and end of the chosen range; None for all slices."""
        widget = self.ui.sliceRangeWidget
        first, last = int(widget.minimumValue), int(widget.maximumValue)
        whole = (first, last) == (int(widget.minimum), int(widget.maximum))
        return None if whole else (first, last + 1)

    def start(self, slices: tuple[int, int] | None, output: Any) -> None:
        try:
            dependencies.ensure()
            source = self.panel.parameters.volume(SOURCE)
            self.logic.start(source, output, self._request(slices))
        except MambaSynthError as error:
            self.panel.showError(str(error))
            return
        self.ui.progressBar.setRange(0, 0)  # busy, until the first progress arrives
        self.showStatus(_("Starting..."))
        self._timer.start()
        self.panel.update()

    def _request(self, slices: tuple[int, int] | None) -> Request:
        get, entry = self.panel.parameters.get, self.panel.models.current()
        return Request(
            model=entry.key,
            sourceContrast=entry.sources[0],
            targetContrast=self.ui.targetComboBox.currentText,
            device=get("device"),
            steps=get("steps") or None,
            samples=get("samples") or None,
            seed=get("seed"),
            slices=slices,
            spread=get("spread"),
        )

    def onAdvancedFolded(self, folded: bool) -> None:
        """Ask for the devices when they are first looked at: it needs the child process."""
        if not folded and not self._devicesKnown and dependencies.torchIsInstalled():
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
        self._devicesKnown = True
        titles = {device["id"]: device["title"] for device in event["devices"]}
        with self.panel.showing():
            fillBox(self.ui.deviceComboBox, {"auto": _("Automatic"), **titles})
        self.panel.update()

    def on_loading(self, event: Event) -> None:
        self.showStatus(_("Loading the model..."))

    def on_progress(self, event: Event) -> None:
        self.ui.progressBar.setRange(0, event["total"])
        self.ui.progressBar.value = event["done"]
        counted, left = f"{event['done']}/{event['total']}", event["secondsLeft"]
        self.showStatus(counted if left is None else f"{counted}, {duration(left)} left")

    def on_finished(self, event: Event) -> None:
        output = event["output"]
        self.panel.compare.present(output.GetNodeReference(mrml.SOURCE_ROLE), output)
        self._ended(_("Done in {time}.").format(time=duration(event["seconds"])))

    def on_cancelled(self, event: Event) -> None:
        self._ended(_("Cancelled; nothing was changed."))

    def on_failed(self, event: Event) -> None:
        self._ended(_("Failed; nothing was changed."))
        self.panel.showError(event["message"], event["details"])

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
