"""MambaSynth: synthesize an MR contrast that was not acquired, such as T2w from T1w.

Four parts, as every scripted module: the module (what Slicer's menu shows), the widget (the
panel), the logic (usable from scripts without the panel) and the test. What they do with nodes,
processes and packages is in ``MambaSynthSlicer/``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import MambaSynthLib  # noqa: F401 - installed beside this file
except ImportError:  # in a source checkout it lies one folder up
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from MambaSynthSlicer import annotation, compare, dependencies, models, mrml, run, sample_data
from MambaSynthSlicer.parameters import OUTPUT, SOURCE, Parameters

from MambaSynthLib.errors import MambaSynthError

POLL_MS = 50
LOG_LINES = 500
SAMPLES_FOR_SPREAD = 4


class MambaSynth(ScriptedLoadableModule):
    """What Slicer's module menu shows."""

    def __init__(self, parent: Any):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "MambaSynth"
        parent.categories = ["Image Synthesis"]
        parent.dependencies = ["Sequences"]
        parent.contributors = ["MambaSynth developers"]
        parent.helpText = _(
            "Synthesizes an MR contrast that was not acquired, such as T2w from T1w. Research "
            "software: synthetic images are marked and are NOT FOR DIAGNOSIS."
        )
        parent.acknowledgementText = _("Implements CRAViM; each model card names its paper.")
        self.annotations = annotation.SliceAnnotations()
        slicer.app.connect("startupCompleted()", self.onStartup)

    def onStartup(self) -> None:
        sample_data.register()
        self.annotations.start()


class MambaSynthWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: shows the parameters, starts and cancels runs, shows what comes of them."""

    def __init__(self, parent: Any = None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: MambaSynthLogic | None = None
        self._parameters: Parameters | None = None  # None while a scene is closed or loaded
        self._updating = False  # True while the panel is made to show the parameters
        self._cancelling = False
        self._devicesKnown = False
        self._entries: list[models.ModelEntry] = []
        self._observedSource: Any = None
        self._sideBySide = compare.SideBySide()

    # ------------------------------------------------------------------------------- set up

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        self._panel = slicer.util.loadUI(self.resourcePath("UI/MambaSynth.ui"))
        self.layout.addWidget(self._panel)
        self.ui = slicer.util.childWidgetVariables(self._panel)
        self._panel.setMRMLScene(slicer.mrmlScene)
        self.logic = MambaSynthLogic()
        self._timer = qt.QTimer(self.parent)
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.onPoll)
        self.ui.progressBar.visible = False
        self.ui.logText.setMaximumBlockCount(LOG_LINES)
        self.ui.deviceComboBox.addItem(_("Automatic"), "auto")
        self._connectPanel()
        self._addShortcuts()
        self._observeScene()
        self.fillModels()
        self.initParameters()

    def _connectPanel(self) -> None:
        ui = self.ui
        for selector in (ui.sourceSelector, ui.outputSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self.onPanelChanged)
        for box in (ui.targetComboBox, ui.modelComboBox, ui.deviceComboBox):
            box.connect("currentIndexChanged(int)", self.onPanelChanged)
        for number in (ui.stepsSpinBox, ui.samplesSpinBox, ui.seedSpinBox):
            number.connect("valueChanged(int)", self.onPanelChanged)
        ui.spreadCheckBox.connect("toggled(bool)", self.onPanelChanged)
        ui.applyButton.connect("clicked(bool)", self.onApply)
        ui.previewButton.connect("clicked(bool)", self.onPreview)
        ui.sampleButton.connect("clicked(bool)", self.onSample)
        ui.sideBySideButton.connect("toggled(bool)", self.onSideBySide)
        ui.fadeSlider.connect("valueChanged(double)", self.onFade)
        ui.advancedSection.connect("contentsCollapsed(bool)", self.onAdvancedFolded)
        ui.importFileButton.connect("clicked(bool)", self.onImportFile)
        ui.importFolderButton.connect("clicked(bool)", self.onImportFolder)
        ui.showFolderButton.connect("clicked(bool)", self.onShowFolder)
        ui.deleteModelButton.connect("clicked(bool)", self.onDeleteModel)

    def _addShortcuts(self) -> None:
        self._shortcuts = []
        for keys in ("Ctrl+Return", "Ctrl+Enter"):  # main keyboard and keypad
            shortcut = qt.QShortcut(self.parent)
            shortcut.setKey(qt.QKeySequence(keys))
            shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
            shortcut.connect("activated()", self.onShortcut)
            self._shortcuts.append(shortcut)

    def _observeScene(self) -> None:
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneCloses)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneChanges)
        for event in (scene.EndCloseEvent, scene.EndImportEvent):
            self.addObserver(scene, event, self.onSceneEnds)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self.onNodesChanged)

    def cleanup(self) -> None:
        self._timer.stop()
        self.logic.stop()
        self._sideBySide.restore()
        self.removeObservers()
        self._parameters = self._observedSource = None

    def enter(self) -> None:
        self.initParameters()

    def exit(self) -> None:
        pass  # a run goes on while another module is looked at

    # --------------------------------------------------------------------------- parameters

    def onSceneCloses(self, caller: Any, event: Any) -> None:
        self.logic.cancel()
        self.ui.sideBySideButton.checked = False  # while the volumes of the former views exist
        self.onSceneChanges(caller, event)

    def onSceneChanges(self, caller: Any, event: Any) -> None:
        """Selectors empty themselves now: that must not be taken for the user's wish."""
        self._observe(self._parameters and self._parameters.node, None)
        self._parameters = None

    def onSceneEnds(self, caller: Any, event: Any) -> None:
        self.initParameters()

    def onNodesChanged(self, caller: Any, event: Any) -> None:
        """Look when the node is complete: it has no image yet while it is being added."""
        if self._parameters is not None:
            qt.QTimer.singleShot(0, self.updatePanel)

    def initParameters(self) -> None:
        if slicer.mrmlScene.IsImporting() or slicer.mrmlScene.IsClosing():
            return
        parameters = Parameters(self.logic.getParameterNode())
        self._observe(self._parameters and self._parameters.node, parameters.node)
        self._parameters = parameters
        self.updatePanel()

    def _observe(self, old: Any, new: Any) -> None:
        if old is not new:
            if old is not None:
                self.removeObserver(old, vtk.vtkCommand.ModifiedEvent, self.updatePanel)
            if new is not None:
                self.addObserver(new, vtk.vtkCommand.ModifiedEvent, self.updatePanel)

    def _observeSource(self, source: Any) -> None:
        """Loading, editing or transforming the source may make it fit or unfit."""
        events = (
            slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
            slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
        )
        if source is self._observedSource:
            return
        for event in events:
            if self._observedSource is not None:
                self.removeObserver(self._observedSource, event, self.updatePanel)
            if source is not None:
                self.addObserver(source, event, self.updatePanel)
        self._observedSource = source

    def onPanelChanged(self, *_: Any) -> None:
        """The user has changed something: keep it."""
        if self._parameters is None or self._updating:
            return
        ui, parameters = self.ui, self._parameters
        wasModifying = parameters.node.StartModify()
        parameters.setVolume(SOURCE, ui.sourceSelector.currentNode())
        parameters.setVolume(OUTPUT, ui.outputSelector.currentNode())
        parameters.set("target", ui.targetComboBox.currentText)
        if ui.modelComboBox.currentIndex >= 0:
            parameters.set("model", ui.modelComboBox.currentData)
        parameters.set("device", ui.deviceComboBox.currentData)
        parameters.set("steps", ui.stepsSpinBox.value)
        samples = ui.samplesSpinBox.value
        if ui.spreadCheckBox.checked and samples < 2:  # a spread needs several
            samples = SAMPLES_FOR_SPREAD
        parameters.set("samples", samples)
        parameters.set("seed", ui.seedSpinBox.value)
        parameters.set("spread", ui.spreadCheckBox.checked)
        parameters.node.EndModify(wasModifying)
        self.updatePanel()

    def updatePanel(self, caller: Any = None, event: Any = None) -> None:
        """Make the panel show the parameters."""
        if self._parameters is None or self._updating:
            return
        self._updating = True
        try:
            self._selectFirstSuitable()
            self._showParameters()
            self._showModels()
            self._showSliceRange()
            self._showButtons()
        finally:
            self._updating = False

    def _selectFirstSuitable(self) -> None:
        if self._parameters.volume(SOURCE) is None:
            self._parameters.setVolume(SOURCE, self.logic.firstSuitableVolume())

    def _showParameters(self) -> None:
        ui, parameters = self.ui, self._parameters
        source = parameters.volume(SOURCE)
        self._observeSource(source)
        ui.sourceSelector.setCurrentNode(source)
        ui.outputSelector.setCurrentNode(parameters.volume(OUTPUT))
        ui.stepsSpinBox.value = parameters.get("steps")
        ui.samplesSpinBox.value = parameters.get("samples")
        ui.seedSpinBox.value = parameters.get("seed")
        ui.spreadCheckBox.checked = parameters.get("spread")
        device = parameters.get("device")
        if ui.deviceComboBox.findData(device) < 0:  # remembered, but not yet asked for
            ui.deviceComboBox.addItem(device, device)
        ui.deviceComboBox.currentIndex = ui.deviceComboBox.findData(device)

    # ------------------------------------------------------------------------------- models

    def fillModels(self) -> None:
        """Read the model cards again: at start, and after an import or a deletion."""
        self._entries = models.available()
        targets = sorted({target for entry in self._entries for target in entry.targets})
        self._updating = True
        self.ui.targetComboBox.clear()
        self.ui.targetComboBox.addItems(targets)
        self._updating = False
        self.updatePanel()

    def _showModels(self) -> None:
        ui, parameters = self.ui, self._parameters
        ui.targetComboBox.currentIndex = max(
            0, ui.targetComboBox.findText(parameters.get("target"))
        )
        target = ui.targetComboBox.currentText
        self._fillBox(
            ui.modelComboBox,
            {
                entry.key: f"{entry.title} ({entry.version})"
                for entry in self._entries
                if target in entry.targets
            },
        )
        ui.modelComboBox.currentIndex = max(0, ui.modelComboBox.findData(parameters.get("model")))
        entry = self.currentModel()
        ui.cardLabel.text = models.cardHtml(entry) if entry else models.noneHtml()
        ui.showFolderButton.enabled = entry is not None
        ui.deleteModelButton.enabled = entry is not None and entry.deletable
        if entry is not None:
            ui.sourceSelectorLabel.text = _("{contrast} volume:").format(contrast=entry.sources[0])

    def _fillBox(self, box: Any, titles: dict[str, str]) -> None:
        """Data -> title of every row; left alone where nothing changes: it may be open."""
        rows = [(box.itemData(row), box.itemText(row)) for row in range(box.count)]
        if rows != list(titles.items()):
            box.clear()
            for data, title in titles.items():
                box.addItem(title, data)

    def currentModel(self) -> models.ModelEntry | None:
        key = self.ui.modelComboBox.currentData
        return next((entry for entry in self._entries if entry.key == key), None)

    def onImportFile(self) -> None:
        title = _("Import model package")
        path = qt.QFileDialog.getOpenFileName(self.parent, title, "", "Model package (*.zip)")
        self._importModel(path)

    def onImportFolder(self) -> None:
        title = _("Import model package")
        self._importModel(qt.QFileDialog.getExistingDirectory(self.parent, title))

    def _importModel(self, path: str) -> None:
        if not path:  # the dialog was cancelled
            return
        try:
            dependencies.ensureLightPackages()  # the checks need them
            entry = models.importFrom(Path(path))
        except MambaSynthError as error:
            self.showError(str(error))
            return
        self._parameters.set("target", entry.targets[0])
        self._parameters.set("model", entry.key)
        self.fillModels()

    def onShowFolder(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.currentModel().folder)))

    def onDeleteModel(self) -> None:
        entry = self.currentModel()
        question = _("Delete the model {title} ({size:.0f} MB) from this computer?")
        size = models.bytesOnDisk(entry) / 1e6
        if slicer.util.confirmYesNoDisplay(question.format(title=entry.title, size=size)):
            models.delete(entry)
            self.fillModels()

    # ------------------------------------------------------------------------------- slices

    def _showSliceRange(self) -> None:
        """Keep the range where the number of slices is the same; all of them otherwise."""
        source, entry = self._parameters.volume(SOURCE), self.currentModel()
        widget = self.ui.sliceRangeWidget
        if entry is None or mrml.refusal(source):
            widget.enabled = False
            return
        last = mrml.sliceCount(source, entry.axisCodes) - 1
        if not widget.enabled or widget.maximum != last:
            widget.setRange(0, last)
            widget.setValues(0, last)
        widget.enabled = True

    def selectedSlices(self) -> tuple[int, int] | None:
        """First and end of the chosen range; None for all slices."""
        widget = self.ui.sliceRangeWidget
        first, last = int(widget.minimumValue), int(widget.maximumValue)
        whole = (first, last) == (int(widget.minimum), int(widget.maximum))
        return None if whole else (first, last + 1)

    # -------------------------------------------------------------------------------- running

    def _showButtons(self) -> None:
        ui, busy = self.ui, self.logic.busy
        contrast = ui.targetComboBox.currentText.removesuffix("w")
        reason = self.whyNot()
        for button in (ui.applyButton, ui.previewButton):
            button.toolTip = reason or _("Ctrl+Enter starts, too.")
        if busy:
            ui.applyButton.text = _("Cancelling...") if self._cancelling else _("Cancel")
            ui.applyButton.toolTip = _("Stop the synthesis; the scene stays as it is.")
        else:
            ui.applyButton.text = _("Synthesize {contrast}").format(contrast=contrast)
        ui.applyButton.enabled = not self._cancelling if busy else reason is None
        ui.previewButton.enabled = not busy and reason is None
        ui.progressBar.visible = busy
        hasResult = self.comparedPair() is not None
        ui.sideBySideButton.enabled = hasResult or ui.sideBySideButton.checked
        ui.fadeSlider.enabled = hasResult

    def whyNot(self) -> str | None:
        """Why nothing can be synthesized now, for the tooltip; None: all is well."""
        source = self._parameters.volume(SOURCE)
        if self.currentModel() is None:
            return _("Import a model package first, under Models.")
        if source is not None and source is self._parameters.volume(OUTPUT):
            return _("The output must not be the source; choose another output volume.")
        return mrml.refusal(source)

    def onShortcut(self) -> None:
        if self.ui.applyButton.enabled and not self.logic.busy:
            self.onApply()

    def onApply(self) -> None:
        if self.logic.busy:
            self.onCancel()
        else:
            self.start(self.selectedSlices(), self._parameters.volume(OUTPUT))

    def onCancel(self) -> None:
        self._cancelling = True
        self.logic.cancel()
        self.updatePanel()

    def onPreview(self) -> None:
        """One slice into a new volume: seconds instead of minutes, to see whether it works."""
        source, entry = self._parameters.volume(SOURCE), self.currentModel()
        view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
        index = mrml.sliceShown(view, source, entry.axisCodes)
        self.start((index, index + 1), None)

    def start(self, slices: tuple[int, int] | None, output: Any) -> None:
        get = self._parameters.get
        entry = self.currentModel()
        request = run.Request(
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
        try:
            dependencies.ensure()
            self.logic.start(self._parameters.volume(SOURCE), output, request)
        except MambaSynthError as error:
            self.showError(str(error))
            return
        self.ui.progressBar.setRange(0, 0)  # busy, until the first progress arrives
        self.showStatus(_("Starting..."))
        self._timer.start()
        self.updatePanel()

    def onPoll(self) -> None:
        if self._parameters is None:  # a scene is being closed or loaded: wait for its end
            return
        for event in self.logic.poll():
            getattr(self, "on_" + event["event"], self.on_other)(event)
        if not self.logic.listening:
            self._timer.stop()

    def on_other(self, event: run.Event) -> None:
        pass  # "ready" needs no answer

    def on_log(self, event: run.Event) -> None:
        self.ui.logText.appendPlainText(event["text"])

    def on_loading(self, event: run.Event) -> None:
        self.showStatus(_("Loading the model..."))

    def on_progress(self, event: run.Event) -> None:
        self.ui.progressBar.setRange(0, event["total"])
        self.ui.progressBar.value = event["done"]
        counted = f"{event['done']}/{event['total']}"
        left = event["secondsLeft"]
        self.showStatus(counted if left is None else f"{counted}, {duration(left)} left")

    def on_finished(self, event: run.Event) -> None:
        output = event["output"]
        source = output.GetNodeReference(mrml.SOURCE_ROLE)
        if self._sideBySide.shown:
            self._sideBySide.show(source, output)
        else:
            slicer.util.setSliceViewerLayers(
                background=source, foreground=output, foregroundOpacity=1.0
            )
            self.ui.fadeSlider.value = 1.0
        self._ended(_("Done in {time}.").format(time=duration(event["seconds"])))

    def on_cancelled(self, event: run.Event) -> None:
        self._ended(_("Cancelled; nothing was changed."))

    def on_failed(self, event: run.Event) -> None:
        self._ended(_("Failed; nothing was changed."))
        self.showError(event["message"], event["details"])

    def on_crashed(self, event: run.Event) -> None:
        message = _("{what} Nothing was changed, and the next synthesis starts a new process.")
        self._ended(_("Failed; nothing was changed."))
        self.showError(message.format(what=event["message"]), event["details"])

    def _ended(self, status: str) -> None:
        self._cancelling = False
        self.showStatus(status)
        self.updatePanel()

    def showStatus(self, text: str) -> None:
        self.ui.statusLabel.text = text

    def showError(self, message: str, details: str = "") -> None:
        folded = {"detailedText": details} if details else {}
        slicer.util.errorDisplay(message, windowTitle="MambaSynth", **folded)

    # -------------------------------------------------------------------------------- devices

    def onAdvancedFolded(self, folded: bool) -> None:
        """Ask for the devices when they are first looked at: it needs the child process."""
        if folded or self._devicesKnown or not dependencies.torchIsInstalled():
            return
        self.logic.askDevices()
        self._timer.start()

    def on_devices(self, event: run.Event) -> None:
        self._devicesKnown = True
        titles = {device["id"]: device["title"] for device in event["devices"]}
        self._updating = True
        self._fillBox(self.ui.deviceComboBox, {"auto": _("Automatic"), **titles})
        self._updating = False
        self.updatePanel()

    # -------------------------------------------------------------------------------- compare

    def comparedPair(self) -> tuple[Any, Any] | None:
        source = self._parameters.volume(SOURCE)
        synthetic = self.logic.latestSynthetic(source)
        return (source, synthetic) if synthetic is not None else None

    def onSideBySide(self, shown: bool) -> None:
        pair = self.comparedPair()
        if shown and pair is not None:
            self._sideBySide.show(*pair)
            self.ui.fadeSlider.value = 0.0
        else:
            self._sideBySide.restore()
        self.updatePanel()

    def onFade(self, opacity: float) -> None:
        if self._sideBySide.shown:
            self._sideBySide.fade(opacity)
        else:
            slicer.util.setSliceViewerLayers(foregroundOpacity=opacity)

    # ----------------------------------------------------------------------------- sample data

    def onSample(self) -> None:
        try:
            node = sample_data.load()
        except MambaSynthError as error:
            self.showError(str(error))
            return
        self._parameters.setVolume(SOURCE, node)
        slicer.util.setSliceViewerLayers(background=node, foreground=None, fit=True)


def duration(seconds: float) -> str:
    """'8 s', '2 min 5 s'."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class MambaSynthLogic(ScriptedLoadableModuleLogic):
    """Synthesis without the panel.

    From a script: ``MambaSynthLogic().synthesize(node, model="...")`` returns the synthetic node.
    """

    def __init__(self, worker: Any = None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = run.Runner(worker)
        self._asked = False

    @property
    def busy(self) -> bool:
        return self._runner.busy

    @property
    def listening(self) -> bool:
        """Whether ``poll`` may still bring something."""
        return self.busy or (self._asked and self._runner.worker.running)

    def start(self, source: Any, output: Any, request: run.Request) -> None:
        self._runner.start(source, output, request)

    def cancel(self) -> None:
        self._runner.cancel()

    def stop(self) -> None:
        self._runner.stop()

    def askDevices(self) -> None:
        self._asked = True
        self._runner.worker.askDevices()

    def poll(self) -> list[run.Event]:
        events = self._runner.poll()
        self._asked = self._asked and not any(e["event"] == "devices" for e in events)
        return events

    def synthesize(self, source: Any, output: Any = None, **options: Any) -> Any:
        """Run and wait; ``options`` are the fields of ``run.Request``.

        Raises MambaSynthError for an unfit source or request, RuntimeError when it fails.
        """
        request = run.Request(**options)
        finished = run.runToEnd(self._runner, source, output, request, slicer.app.processEvents)
        return finished["output"]

    def firstSuitableVolume(self) -> Any:
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((node for node in volumes if mrml.refusal(node) is None), None)

    def latestSynthetic(self, source: Any) -> Any:
        """The synthetic volume that was made last from ``source``, or None."""
        if source is None:
            return None
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        made = [node for node in volumes if mrml.isSynthesisOf(node, source)]
        return made[-1] if made else None


class MambaSynthTest(ScriptedLoadableModuleTest):
    """What can be checked in any Slicer in seconds, without weights or PyTorch."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def test_aVolumeIsReadWithItsAxesAndItsPlace(self) -> None:
        import numpy as np

        array = np.arange(24, dtype="float32").reshape(2, 3, 4)  # (K,J,I)
        node = slicer.util.addVolumeFromArray(array, name="head")
        node.SetSpacing(1, 2, 3)
        node.SetOrigin(4, 5, 6)
        volume = mrml.toVolume(node)
        self.assertEqual(volume.shape, (4, 3, 2))
        self.assertEqual(volume.array[3, 2, 1], array[1, 2, 3])
        self.assertEqual(volume.affine[:3, 3].tolist(), [4, 5, 6])

    def test_unfitNodesAreRefusedWithAReason(self) -> None:
        scene = slicer.mrmlScene
        empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
        labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        self.assertIn("nothing is empty", mrml.refusal(empty))
        self.assertIn("labels is a label map", mrml.refusal(labels))

    def test_theLibraryAndItsModelCardsAreInstalledBesideTheModule(self) -> None:
        from MambaSynthSlicer.worker import libraryFolder

        self.assertTrue((libraryFolder() / "MambaSynthLib" / "serve.py").exists())
        for entry in models.available():
            self.assertTrue(models.cardHtml(entry))
