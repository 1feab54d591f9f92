"""MambaSynth: synthesize an MR contrast that was not acquired, such as T2w from T1w.

Four parts, as every scripted module: the module (what Slicer's menu shows), the widget (the
panel), the logic (usable from scripts without the panel) and the test. What they do with nodes,
processes and packages is in ``MambaSynthSlicer/``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

from MambaSynthSlicer import annotation, models, mrml, run, sample_data
from MambaSynthSlicer.compare_section import CompareSection
from MambaSynthSlicer.models_section import ModelsSection
from MambaSynthSlicer.parameters import OUTPUT, SOURCE, Parameters
from MambaSynthSlicer.run_section import RunSection

from MambaSynthLib.errors import MambaSynthError

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
    """The panel: keeps parameters and widgets in step, and follows the scene.

    What it does is in its sections (``models``, ``compare``, ``run``). They use ``ui``, ``logic``,
    ``parameters`` (None while a scene is closed or loaded), ``update``, ``showing`` and
    ``showError``, and each other through the panel.
    """

    def __init__(self, parent: Any = None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: MambaSynthLogic | None = None
        self.parameters: Parameters | None = None
        self._isShowing = False
        self._observedSource: Any = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        self._panel = slicer.util.loadUI(self.resourcePath("UI/MambaSynth.ui"))
        self.layout.addWidget(self._panel)
        self.ui = slicer.util.childWidgetVariables(self._panel)
        self._panel.setMRMLScene(slicer.mrmlScene)
        self.logic = MambaSynthLogic()
        self.models = ModelsSection(self)
        self.compare = CompareSection(self)
        self.run = RunSection(self)
        self._connectPanel()
        self._observeScene()
        self.models.fill()
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
        ui.sampleButton.connect("clicked(bool)", self.onSample)

    def _observeScene(self) -> None:
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneCloses)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneChanges)
        for event in (scene.EndCloseEvent, scene.EndImportEvent):
            self.addObserver(scene, event, self.initParameters)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self.onNodesChanged)

    def cleanup(self) -> None:
        self.run.close()
        self.compare.leave()
        self.removeObservers()
        self.parameters = self._observedSource = None

    def enter(self) -> None:
        self.initParameters()

    def exit(self) -> None:
        pass  # a run goes on while another module is looked at

    # ------------------------------------------------------------------------------ the scene

    def onSceneCloses(self, caller: Any, event: Any) -> None:
        self.logic.cancel()
        self.compare.leave()
        self.onSceneChanges()

    def onSceneChanges(self, caller: Any = None, event: Any = None) -> None:
        """Selectors empty themselves now: that must not be taken for the user's wish."""
        self._observeParameters(None)

    def onNodesChanged(self, caller: Any, event: Any) -> None:
        """Look when the node is complete: it has no image yet while it is being added."""
        if self.parameters is not None:
            qt.QTimer.singleShot(0, self.update)

    def initParameters(self, caller: Any = None, event: Any = None) -> None:
        if not slicer.mrmlScene.IsImporting() and not slicer.mrmlScene.IsClosing():
            self._observeParameters(Parameters(self.logic.getParameterNode()))
            self.update()

    def _observeParameters(self, parameters: Parameters | None) -> None:
        old, new = (p and p.node for p in (self.parameters, parameters))
        if old is not new:
            if old is not None:
                self.removeObserver(old, vtk.vtkCommand.ModifiedEvent, self.update)
            if new is not None:
                self.addObserver(new, vtk.vtkCommand.ModifiedEvent, self.update)
        self.parameters = parameters

    def _observeSource(self, source: Any) -> None:
        """Loading, editing or transforming the source may make it fit or unfit."""
        if source is self._observedSource:
            return
        for event in (
            slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
            slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
        ):
            if self._observedSource is not None:
                self.removeObserver(self._observedSource, event, self.update)
            if source is not None:
                self.addObserver(source, event, self.update)
        self._observedSource = source

    # ---------------------------------------------------------------- parameters <-> widgets

    @contextmanager
    def showing(self) -> Iterator[None]:
        """While the panel is made to show something, its signals are not the user's wishes."""
        before, self._isShowing = self._isShowing, True
        try:
            yield
        finally:
            self._isShowing = before

    def update(self, caller: Any = None, event: Any = None) -> None:
        """Make the panel show the parameters."""
        if self.parameters is None or self._isShowing:
            return
        with self.showing():
            if self.parameters.volume(SOURCE) is None:
                self.parameters.setVolume(SOURCE, self.logic.firstSuitableVolume())
            self._showParameters()
            for section in (self.models, self.run, self.compare):
                section.show()

    def _showParameters(self) -> None:
        ui, get = self.ui, self.parameters.get
        source = self.parameters.volume(SOURCE)
        self._observeSource(source)
        ui.sourceSelector.setCurrentNode(source)
        ui.outputSelector.setCurrentNode(self.parameters.volume(OUTPUT))
        ui.stepsSpinBox.value = get("steps")
        ui.samplesSpinBox.value = get("samples")
        ui.seedSpinBox.value = get("seed")
        ui.spreadCheckBox.checked = get("spread")

    def onPanelChanged(self) -> None:
        """The user has changed something: keep it."""
        if self.parameters is None or self._isShowing:
            return
        ui, parameters = self.ui, self.parameters
        wasModifying = parameters.node.StartModify()
        parameters.setVolume(SOURCE, ui.sourceSelector.currentNode())
        parameters.setVolume(OUTPUT, ui.outputSelector.currentNode())
        parameters.set("target", ui.targetComboBox.currentText)
        if ui.modelComboBox.currentIndex >= 0:
            parameters.set("model", ui.modelComboBox.currentData)
        parameters.set("device", ui.deviceComboBox.currentData)
        parameters.set("steps", ui.stepsSpinBox.value)
        few = ui.spreadCheckBox.checked and ui.samplesSpinBox.value < 2  # no spread of one
        parameters.set("samples", SAMPLES_FOR_SPREAD if few else ui.samplesSpinBox.value)
        parameters.set("seed", ui.seedSpinBox.value)
        parameters.set("spread", ui.spreadCheckBox.checked)
        parameters.node.EndModify(wasModifying)
        self.update()

    def onSample(self) -> None:
        try:
            node = sample_data.load()
        except MambaSynthError as error:
            self.showError(str(error))
            return
        self.parameters.setVolume(SOURCE, node)
        slicer.util.setSliceViewerLayers(background=node, foreground=None, fit=True)

    def showError(self, message: str, details: str = "") -> None:
        folded = {"detailedText": details} if details else {}
        slicer.util.errorDisplay(message, windowTitle="MambaSynth", **folded)


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
        try:
            self._runner.worker.askDevices()
            self._asked = True
        except OSError:
            pass  # no child process: the synthesis itself will tell

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
