"""The panel's queue: what is checked in a list, one after the other; what failed, at the end.

A section that ``run_section.py`` can run: see there for ``present``.
"""

from __future__ import annotations

from html import escape
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from . import queue_sources
from .models_section import fillBox
from .several import Item
from .worker import Event


class SeveralSection:
    """``panel`` is the module's widget; see there for what sections use of it."""

    def __init__(self, panel: Any):
        self.panel = panel
        part = slicer.util.loadUI(panel.resourcePath("UI/Several.ui"))
        self.own = slicer.util.childWidgetVariables(part)
        panel.addBelow(part, panel.ui.compareSection)
        self._sources: list[queue_sources.Source] = []
        self._series: list[queue_sources.Source] = []  # of the study that is chosen
        self._checked: set[str] = set()
        self._part = part
        ui = self.own
        ui.severalList.connect("itemChanged(QListWidgetItem*)", self.onChecked)
        ui.severalButton.connect("clicked(bool)", self.onStart)
        ui.severalStudyComboBox.connect("currentIndexChanged(int)", self.onStudy)
        ui.severalSection.connect("contentsCollapsed(bool)", self.onFolded)

    # ------------------------------------------------------------------------ what is shown

    def show(self) -> None:
        isCatalogShown = self.panel.run.isCatalogShown
        self._part.visible = self.panel.parameters.get("task") == "contrast" and not isCatalogShown
        if not self.own.severalSection.collapsed:
            self._showList()
        self._showButton()

    def keep(self) -> None:
        """What is checked is no setting: it is of this scene and this moment."""

    def _showStudies(self) -> None:
        """Asked when the section is unfolded: a large database takes a moment."""
        box, known = self.own.severalStudyComboBox, queue_sources.studies()
        chosen = box.currentData
        fillBox(box, {"": _("none"), **known})
        box.currentIndex = max(0, box.findData(chosen))
        box.enabled = bool(known)

    def _showList(self) -> None:
        """Rows are made anew only where they differ: the user may be about to click one."""
        self._sources = [*queue_sources.inScene(), *self._series]
        rows, widget = [self._row(source) for source in self._sources], self.own.severalList
        shown = [rowOf(widget.item(number)) for number in range(widget.count)]
        if shown == rows:
            return
        with self.panel.showing():
            widget.clear()
            for title, checked in rows:
                item = qt.QListWidgetItem(title)
                item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
                widget.addItem(item)

    def _row(self, source: queue_sources.Source) -> tuple[str, bool]:
        request = self.panel.contrast.request()
        done = request is not None and not source.items(request)
        title = _("{title}: done").format(title=source.title) if done else source.title
        return title, source.key in self._checked

    def _items(self) -> list[Item]:
        """What is to be done of what is checked."""
        request = self.panel.contrast.request()
        if request is None:
            return []
        chosen = [source for source in self._sources if source.key in self._checked]
        return [item for source in chosen for item in source.items(request)]

    def _showButton(self) -> None:
        button, count = self.own.severalButton, len(self._items())
        text = self.panel.contrast.buttonText()
        button.text = _("{synthesize} of {count} in the list").format(synthesize=text, count=count)
        button.enabled = count > 0 and not self.panel.logic.busy
        button.toolTip = _("What is done already is not done again.") if count else _(
            "Check what is to be synthesized from; what is done already is not done again."
        )  # fmt: skip

    # ---------------------------------------------------------------------------- the user

    def onFolded(self, folded: bool) -> None:
        if not folded:
            self._showStudies()
        self.panel.update()

    def onStudy(self) -> None:
        self._series = queue_sources.inStudy(self.own.severalStudyComboBox.currentData or "")
        self.panel.update()

    def onChecked(self, item: Any) -> None:
        if self.panel.isShowing:
            return
        source = self._sources[self.own.severalList.row(item)]
        if rowOf(item)[1]:
            self._checked.add(source.key)
        else:
            self._checked.discard(source.key)
        self._showButton()

    def onStart(self) -> None:
        self.own.severalText.text = ""
        items = self._items()
        self.panel.run.startSeveral(items, self)

    # -------------------------------------------------------------------------- the run's end

    def present(self, event: Event) -> str:
        self._tell(event["failures"])
        if event["results"]:
            _item, last = event["results"][-1]
            self.panel.contrast.showResult(last["output"])
        done = len(event["results"])
        return _("{done} of {count} done.").format(
            done=done, count=done + len(event["failures"])
        )  # fmt: skip

    def presentRest(self, event: Event) -> str:
        """Of a queue that was cancelled."""
        self._tell(event["failures"])
        return event["status"]

    def _tell(self, failures: list[tuple[Item, str]]) -> None:
        lines = [f"<b>{escape(item.title)}</b>: {escape(why)}" for item, why in failures]
        head = _("Failed, and nothing was changed by them:")
        self.own.severalText.text = "<br>".join([head, *lines]) if lines else ""


def rowOf(item: Any) -> tuple[str, bool]:
    return item.text(), item.checkState() == qt.Qt.Checked
