"""MambaSynth: synthesize an MR contrast that was not acquired, such as T2w from T1w, or the frames
of a cine between those that were.

Four parts, as every scripted module: the module (what Slicer's menu shows), the widget (the
panel), the logic (usable from scripts without the panel) and the test. What they do with nodes,
processes and packages is in ``MambaSynthSlicer/``.
"""

from __future__ import annotations

import importlib.util
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

from MambaSynthSlicer import (
    annotation,
    file_marks,
    frame_times,
    models,
    mrml,
    queue_sources,
    run,
    sequences,
)
from MambaSynthSlicer.catalog_section import CatalogSection
from MambaSynthSlicer.cine_run import CineJob, CineRequest
from MambaSynthSlicer.cine_section import CineSection
from MambaSynthSlicer.compare_section import CompareSection
from MambaSynthSlicer.contrast_run import ContrastJob, Request
from MambaSynthSlicer.contrast_section import ContrastSection
from MambaSynthSlicer.models_section import ModelsSection
from MambaSynthSlicer.parameters import Parameters
from MambaSynthSlicer.remote_section import RemoteSection
from MambaSynthSlicer.results_section import ResultsSection
from MambaSynthSlicer.run_section import RunSection
from MambaSynthSlicer.several import Item, Several
from MambaSynthSlicer.several_section import SeveralSection


class MambaSynth(ScriptedLoadableModule):
    """What Slicer's module menu shows."""

    def __init__(self, parent: Any):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "MambaSynth"
        parent.categories = ["Image Synthesis"]
        parent.dependencies = ["Sequences"]
        parent.contributors = ["MambaSynth developers"]
        parent.helpText = _(
            "Synthesizes an MR contrast that was not acquired, such as T2w from T1w, or a smooth "
            "cine from few frames. Research software: synthetic images are marked and are NOT FOR "
            "DIAGNOSIS."
        )
        parent.acknowledgementText = _(
            "Implements CRAViM and MSTG; each model card names its paper."
        )
        self.annotations = annotation.SliceAnnotations()
        self.fileMarks = file_marks.FileMarks()
        self._started = False
        registerDicomExport()
        slicer.app.connect("startupCompleted()", self.onStartup)
        qt.QTimer.singleShot(0, self.onEventLoop)

    def onEventLoop(self) -> None:
        """Added to a running Slicer, whose start-up was completed long ago."""
        window = slicer.util.mainWindow()
        if window is not None and window.visible:
            self.onStartup()

    def onStartup(self) -> None:
        if not self._started:
            self._started = True
            self.annotations.start()
            self.fileMarks.start()


def registerDicomExport() -> None:
    """Slicer may have been built without DICOM."""
    if importlib.util.find_spec("DICOMLib") is not None:
        from MambaSynthSlicer import dicom_plugin

        dicom_plugin.register()


class MambaSynthWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: keeps parameters and widgets in step, and follows the scene.

    What it does is in its sections. Each can ``show`` the parameters, and ``keep`` what the user
    has changed. They use ``ui``, ``logic``, ``parameters`` (None while a scene is closed or
    loaded), ``follow``, ``update``, ``showing`` and ``showError``, and each other.
    """

    def __init__(self, parent: Any = None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: MambaSynthLogic | None = None
        self.parameters: Parameters | None = None
        self._isShowing = False
        self._watched: list[tuple[Any, Any]] = []

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        self._panel = slicer.util.loadUI(self.resourcePath("UI/MambaSynth.ui"))
        self.layout.addWidget(self._panel)
        self._addTab()
        self.ui = slicer.util.childWidgetVariables(self._panel)
        self._panel.setMRMLScene(slicer.mrmlScene)
        self.logic = MambaSynthLogic()
        self.models = ModelsSection(self)
        self.catalog = CatalogSection(self)
        self.remote = RemoteSection(self)
        self.compare = CompareSection(self)
        self.contrast = ContrastSection(self)
        self.cine = CineSection(self)
        self.several = SeveralSection(self)
        self.results = ResultsSection(self)
        self.run = RunSection(self)
        self._sections = (self.models, self.catalog, self.contrast, self.cine, self.run,
                          self.compare, self.several, self.results, self.remote)  # fmt: skip
        self._observeScene()
        self.models.fill()
        self.initParameters()

    def _addTab(self) -> None:
        """The tab Models has a .ui file of its own."""
        tabs = slicer.util.childWidgetVariables(self._panel).taskTabs
        tabs.addTab(slicer.util.loadUI(self.resourcePath("UI/Models.ui")), _("Models"))

    def follow(self, signal: str, *widgets: Any) -> None:
        """Keep what the user changes there."""
        for widget in widgets:
            widget.connect(signal, self.onPanelChanged)

    def addBelow(self, part: Any, above: Any) -> None:
        """Put what a section has loaded from a file of its own below a widget of the panel."""
        part.setMRMLScene(slicer.mrmlScene)
        layout = self._panel.layout()
        layout.insertWidget(layout.indexOf(above) + 1, part)

    @property
    def isShowing(self) -> bool:
        """Whether signals of widgets are not the user's wishes just now, see ``showing``."""
        return self._isShowing

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
        self.catalog.close()
        self.compare.leave()
        self.removeObservers()
        self.parameters, self._watched = None, []

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
        old, new = (p and p.mrml for p in (self.parameters, parameters))
        if old is not new:
            if old is not None:
                self.removeObserver(old, vtk.vtkCommand.ModifiedEvent, self.update)
            if new is not None:
                self.addObserver(new, vtk.vtkCommand.ModifiedEvent, self.update)
        self.parameters = parameters

    def _watchSources(self) -> None:
        """Look again whenever a chosen source changes."""
        watched = list(dict.fromkeys([*self.contrast.watched(), *self.cine.watched()]))
        if watched != self._watched:
            for node, event in self._watched:
                self.removeObserver(node, event, self.update)
            for node, event in watched:
                self.addObserver(node, event, self.update)
            self._watched = watched

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
            for section in self._sections:
                section.show()
        self._watchSources()

    def onPanelChanged(self) -> None:
        """The user has changed something: keep it."""
        if self.parameters is None or self._isShowing:
            return
        node = self.parameters.mrml
        wasModifying = node.StartModify()
        for section in self._sections:
            section.keep()
        node.EndModify(wasModifying)
        self.update()

    def showError(self, message: str, details: str = "") -> None:
        folded = {"detailedText": details} if details else {}
        slicer.util.errorDisplay(message, windowTitle="MambaSynth", **folded)


class MambaSynthLogic(ScriptedLoadableModuleLogic):
    """Synthesis without the panel.

    From a script: ``MambaSynthLogic().synthesize(node, model="...")`` returns the synthetic volume,
    ``synthesizeCine(sequence, model="...", frames=30)`` the sequence.
    """

    def __init__(self, worker: Any = None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = run.Runner(worker)
        self._several: Several | None = None
        self._asked = False

    @property
    def busy(self) -> bool:
        return self._runner.busy or self._several is not None

    @property
    def listening(self) -> bool:
        """Whether ``poll`` may still bring something."""
        return self.busy or (self._asked and self._runner.worker.running)

    def start(self, job: run.Job) -> None:
        self._runner.start(job)

    def startSeveral(self, items: list[Item]) -> None:
        """Start one job after another; ``poll`` then tells of all of them as of one run.

        Raises RequestError where something is running.
        """
        several = Several(self._runner, items)
        several.begin()
        self._several = several

    def cancel(self) -> None:
        (self._several or self._runner).cancel()

    def stop(self) -> None:
        self._several = None
        self._runner.stop()

    def askDevices(self) -> None:
        try:
            self._runner.worker.askDevices()
            self._asked = True
        except OSError:
            pass  # no child process: the synthesis itself will tell

    def poll(self) -> list[run.Event]:
        events = (self._several or self._runner).poll()
        if self._several is not None and self._several.over:
            self._several = None
        self._asked = self._asked and not any(e["event"] == "devices" for e in events)
        return events

    def synthesize(self, source: Any, output: Any = None, **options: Any) -> Any:
        """Run and wait; ``options`` are the fields of ``contrast_run.Request``.

        Raises MambaSynthError for an unfit source or request, RuntimeError when it fails.
        """
        return self._runToEnd(ContrastJob(source, output, Request(**options)))

    def synthesizeCine(self, source: Any, es: Any = None, **options: Any) -> Any:
        """As ``synthesize``; ``source``: a sequence or its proxy, or an ED volume with ``es``.

        ``options`` are the fields of ``cine_run.CineRequest``. Returns the sequence, which plays.
        """
        return self._runToEnd(CineJob(source, es, CineRequest(**options)))

    def synthesizeSeveral(
        self, sources: list[Any], **options: Any
    ) -> tuple[list[Any], list[tuple[str, str]]]:
        """Volumes and sequences (all their frames), one after another, and wait.

        ``options`` as in ``synthesize``. Returns what was made, and (title, reason) of what failed;
        what is in the scene already is not made again.
        """
        request = Request(**options)
        rows = [queue_sources.ofNode(node) for node in sources]
        self.startSeveral([item for row in rows for item in row.items(request)])
        event = run.followToEnd(self.poll, slicer.app.processEvents)
        made = dict.fromkeys(placed["output"] for _item, placed in event["results"])
        return list(made), [(item.title, why) for item, why in event["failures"]]

    def _runToEnd(self, job: run.Job) -> Any:
        return run.runToEnd(self._runner, job, slicer.app.processEvents)["output"]

    def firstSuitableVolume(self) -> Any:
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((node for node in volumes if mrml.refusal(node) is None), None)

    def firstSuitableCine(self) -> Any:
        """One that lacks nothing, or only times, which the panel asks for."""
        cines = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
        pace = frame_times.ANY_PACE
        return next((node for node in cines if sequences.refusal(node, pace=pace) is None), None)

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

        self.assertTrue((libraryFolder() / "MambaSynthLib" / "cli.py").exists())
        for entry in models.available():
            self.assertTrue(models.cardHtml(entry))
