"""Do the tests notice the mistakes that scripted modules are made of? Plant them and see.

    python Testing/slicer/mutate.py            all of them, one after another
    python Testing/slicer/mutate.py 3 17       only these

Each mistake is planted in a copy of the repository, in which the tests of the module then run.
Exit code 0 when every mistake was caught, and the untouched copy passes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from engine_mistakes import ENGINE_MISTAKES
from mistake import Mistake

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("MambaSynth", "MambaSynthLib", "Resources", "Testing", "models")
FILES = ("CMakeLists.txt", "pyproject.toml")
PARTS = "MambaSynth/MambaSynthSlicer"
PANEL = "MambaSynth/Resources/UI/MambaSynth.ui"


MISTAKES = (
    Mistake(
        "a typo in a property",
        f"{PARTS}/run_section.py",
        "ui.applyButton.enabled = not",
        "ui.applyButton.enable = not",
        "test_synthesis.py",
    ),
    Mistake(
        "a typo in a widget's name",
        f"{PARTS}/compare_section.py",
        "self.ui.fadeSlider.value = 1.0",
        "self.ui.fadeSlyder.value = 1.0",
        "test_synthesis.py",
    ),
    Mistake(
        "a signal that does not exist",
        f"{PARTS}/models_section.py",
        '"currentIndexChanged(int)"',
        '"currentIndexChanged(QString)"',
        "test_synthesis.py",
    ),
    Mistake(
        "a property called as a method",
        f"{PARTS}/contrast_section.py",
        "contrast = self.ui.targetComboBox.currentText.removesuffix",
        "contrast = self.ui.targetComboBox.currentText().removesuffix",
        "test_synthesis.py",
    ),
    Mistake(
        "a wrong type for a property",
        f"{PARTS}/run_section.py",
        'ui.seedSpinBox.value = self.panel.parameters.get("seed")',
        'ui.seedSpinBox.value = str(self.panel.parameters.get("seed"))',
        "test_synthesis.py",
    ),
    Mistake(
        "a misspelt slicer.util function",
        f"{PARTS}/compare_section.py",
        "slicer.util.setSliceViewerLayers(\n                background=source",
        "slicer.util.setSliceViewersLayers(\n                background=source",
        "test_synthesis.py",
    ),
    Mistake(
        "the geometry is not copied",
        f"{PARTS}/mrml.py",
        "    node.SetIJKToRASMatrix(matrix)\n",
        "",
        "test_synthesis.py",
    ),
    Mistake(
        "the parent transform is not copied",
        f"{PARTS}/mrml.py",
        "    node.SetAndObserveTransformNodeID(source.GetTransformNodeID())\n",
        "",
        "test_synthesis.py",
    ),
    Mistake(
        "the axis order of the output is wrong",
        f"{PARTS}/mrml.py",
        "volume.array.transpose(2, 1, 0))  # (K,J,I)",
        "volume.array.transpose(2, 0, 1))",
        "test_synthesis.py",
    ),
    Mistake(
        "the parent transform is ignored when the volume is read",
        f"{PARTS}/mrml.py",
        "return Volume(array.transpose(2, 1, 0), worldAffine(node, under)",
        "return Volume(array.transpose(2, 1, 0), ijkToRas(node)",
        "test_synthesis.py",
    ),
    Mistake(
        "the marks are forgotten",
        f"{PARTS}/contrast_run.py",
        "        mrml.markSynthetic(output, provenance, source)\n",
        "",
        "test_synthesis.py",
    ),
    Mistake(
        "the window is left to chance",
        f"{PARTS}/mrml.py",
        "    display.SetWindowLevelMinMax(low, high)\n",
        "",
        "test_synthesis.py",
    ),
    Mistake(
        "an error is swallowed",
        f"{PARTS}/run_section.py",
        '        self.panel.showError(event["message"], event["details"])\n',
        "        pass\n",
        "test_trouble.py",
    ),
    Mistake(
        "an edited source is not noticed",
        f"{PARTS}/contrast_run.py",
        "if mrml.fingerprint(source) != self._fingerprint:",
        "if False:",
        "test_trouble.py",
    ),
    Mistake(
        "label maps are let through",
        f"{PARTS}/mrml.py",
        'node.IsA("vtkMRMLLabelMapVolumeNode")',
        'node.IsA("vtkMRMLLabelMapNode")',
        "test_unfit_sources.py",
    ),
    Mistake(
        "files of a run stay behind",
        f"{PARTS}/run.py",
        "            self.worker.removeRunFolder(run.folder)\n            self._run = None",
        "            self._run = None",
        "test_synthesis.py",
    ),
    Mistake(
        "cancel waits for the computation",
        "MambaSynthLib/server/server.py",
        "        timer.start()\n",
        "",
        "test_worker.py",
    ),
    Mistake(
        "the child outlives Slicer",
        "MambaSynthLib/server/server.py",
        "        self._idle.wait(STOP_GRACE_S)\n        leave()\n",
        "        self._idle.wait()\n        leave()\n",
        "test_worker.py",
    ),
    Mistake(
        "a selector is not connected to the scene",
        PANEL,
        "<receiver>sourceSelector</receiver>",
        "<receiver>outputSelector</receiver>",
        "test_synthesis.py",
    ),
    Mistake(
        "a misspelt property in the .ui file",
        PANEL,
        'name="noneDisplay"',
        'name="noneDisplayed"',
        "test_synthesis.py",
    ),
    Mistake(
        "a file is left out of CMake",
        "MambaSynth/CMakeLists.txt",
        "  ${MODULE_NAME}Slicer/annotation.py\n",
        "",
        "test_package.py",
    ),
    Mistake(
        "a third-party package at file scope",
        f"{PARTS}/models.py",
        "import html\n",
        "import html\nimport safetensors\n",
        "test_panel.py",
    ),
    Mistake(
        "frames of a cine come without their mark",
        f"{PARTS}/sequences.py",
        "        mrml.setTags(frame, replace(provenance, times_ms=(), acquired=()))\n",
        "        replace(provenance, times_ms=(), acquired=())\n",
        "test_cine.py",
    ),
    Mistake(
        "the word in the view stays that of the first frame",
        f"{PARTS}/annotation.py",
        "            self._follow(name, nodes, update)\n",
        "",
        "test_cine.py",
    ),
    Mistake(
        "seconds are taken for milliseconds",
        f"{PARTS}/frame_times.py",
        '"s": 1000.0',
        '"s": 1.0',
        "test_cine.py",
    ),
    Mistake(
        "the browser goes on stepping through the acquired frames only",
        f"{PARTS}/sequences.py",
        "    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())\n",
        "",
        "test_cine.py",
    ),
    Mistake(
        "an edited frame is not noticed",
        f"{PARTS}/cine_run.py",
        "return None if same else edited",
        "return None",
        "test_cine_trouble.py",
    ),
    Mistake(
        "a model is checked inside Slicer's process",
        f"{PARTS}/model_jobs.py",
        '        super().__init__("import", path=str(path), replace=replace)\n',
        "        from MambaSynthLib.install.importing import read_package\n\n"
        "        if path.is_dir():\n            read_package(path).read_weights()\n"
        '        super().__init__("import", path=str(path), replace=replace)\n',
        "test_panel_models.py",
    ),
    Mistake(
        "an imported model is not listed before the next start",
        f"{PARTS}/catalog_section.py",
        "            self.panel.models.select(entry)\n            self.panel.models.fill()\n",
        "            self.panel.models.select(entry)\n",
        "test_panel_models.py",
    ),
    Mistake(
        "a model is installed before its network was built",
        "MambaSynthLib/install/importing.py",
        '    choose_backend(device="cpu").load_network(package, "cpu")\n',
        '    write_package(target.with_name(f"{target.name}-unchecked"), {**json.loads(\n'
        '        (folder / CARD).read_text(encoding="utf-8"))}, weights, "")\n'
        '    choose_backend(device="cpu").load_network(package, "cpu")\n',
        "test_panel_models.py",
    ),
    Mistake(
        "the uncertainty map looks like an image",
        f"{PARTS}/contrast_run.py",
        "        mrml.setColors(spreadNode, float(np.percentile(spread.array, BRIGHTEST)))\n",
        "",
        "test_synthesis.py",
    ),
    Mistake(
        "the uncertainty map is not put under the parent transform",
        f"{PARTS}/contrast_run.py",
        "        mrml.fill(spreadNode, spread, source)\n",
        "        mrml.setVoxels(spreadNode, spread, source)\n",
        "test_synthesis.py",
    ),
    Mistake(
        "the description of a map has no mark",
        f"{PARTS}/mrml.py",
        'node.SetDescription(f"{MARK}. {provenance.sentence()}")',
        "node.SetDescription(provenance.quantity or provenance.sentence())",
        "test_synthesis.py",
    ),
    Mistake(
        "the time left is that of what was done",
        f"{PARTS}/run.py",
        "(done - run.doneAtStart) * (total - done)",
        "(total - run.doneAtStart) * done",
        "test_synthesis.py",
    ),
    Mistake(
        "views are given back unlinked",
        f"{PARTS}/compare.py",
        "    composite.SetLinkedControl(state.linked)",
        "    composite.SetLinkedControl(False)",
        "test_panel_views.py",
    ),
    Mistake(
        "a faint synthetic layer has no mark",
        f"{PARTS}/annotation_text.py",
        "composite.GetNthLayerOpacity(layer) > 0\n",
        "composite.GetNthLayerOpacity(layer) > 0.1\n",
        "test_panel_views.py",
    ),
    Mistake(
        "further slice layers have no mark",
        f"{PARTS}/annotation_text.py",
        "range(FIXED_LAYERS + composite.GetNumberOfAdditionalLayers())",
        "range(FIXED_LAYERS)",
        "test_panel_views.py",
    ),
    Mistake(
        "3-D views have no mark",
        f"{PARTS}/annotation.py",
        "        self._threeD.addMissing()\n",
        "",
        "test_panel_views.py",
    ),
    Mistake(
        "the last child's words explain the end of the next",
        f"{PARTS}/worker.py",
        "        self._generation += 1\n        self._stderr = []\n",
        "        self._generation += 1\n",
        "test_worker.py",
    ),
    Mistake(
        "a preview counts as a result",
        f"{PARTS}/mrml.py",
        "return made and whole and node",
        "return made and node",
        "test_synthesis.py",
    ),
    Mistake(
        "only the launcher is ended",
        f"{PARTS}/process_tree.py",
        "            quietly(os.killpg, self.process.pid, signal.SIGKILL)\n",
        "            self.process.kill()\n",
        "test_worker.py",
    ),
    Mistake(
        "a saved file gets no marks",
        f"{PARTS}/file_marks.py",
        "            mark_file(name, mrml.provenanceOrNone(node))\n",
        "            mrml.provenanceOrNone(node)\n",
        "test_file_marks.py",
    ),
    Mistake(
        "marks wait for a start-up that is over",
        "MambaSynth/MambaSynth.py",
        "        qt.QTimer.singleShot(0, self.onEventLoop)\n",
        "",
        "test_panel_views.py",
    ),
    Mistake(
        "the number of the frame is taken for its time",
        f"{PARTS}/frame_times.py",
        "    if sequence.GetAttribute(LABELS) is not None:\n",
        "    if sequence.GetAttribute(LABELS) is None:\n",
        "test_dicom_cines.py",
    ),
    Mistake(
        "slices are stacked in the order in which they were loaded",
        f"{PARTS}/stacks.py",
        "    stack = sorted(slices, key=lambda one: one.place.above(first.place))\n",
        "    stack = slices\n",
        "test_dicom_cines.py",
    ),
    Mistake(
        "comparing takes the foreground away",
        f"{PARTS}/compare.py",
        "composite.SetForegroundVolumeID(state.foreground)",
        "composite.SetForegroundVolumeID(None)",
        "test_panel_views.py",
    ),
    Mistake(
        "a cine stops after one beat",
        f"{PARTS}/sequences.py",
        "browser.SetPlaybackLooped(True)",
        "browser.SetPlaybackLooped(False)",
        "test_cine.py",
    ),
    Mistake(
        "the seed of a cine does not reach the engine",
        f"{PARTS}/cine_section.py",
        '            seed=get("seed"),\n',
        "",
        "test_cine.py",
    ),
    Mistake(
        "a preview is of the slice at the other end",
        f"{PARTS}/mrml.py",
        "return count - 1 - number if way.flipped[0] else number",
        "return number",
        "test_synthesis.py",
    ),
    Mistake(
        "the files of another Slicer are cleared away",
        f"{PARTS}/worker.py",
        "if pid.isdigit() and not isAlive(int(pid)):",
        "if pid.isdigit():",
        "test_worker.py",
    ),
    Mistake(
        "an uncertainty map of one sample",
        f"{PARTS}/contrast_section.py",
        "ui.samplesSpinBox.value < 2",
        "ui.samplesSpinBox.value < 1",
        "test_synthesis.py",
    ),
    Mistake(
        "the window is that of the background",
        f"{PARTS}/mrml.py",
        "tissue = array[array > array.min()]",
        "tissue = array",
        "test_synthesis.py",
    ),
    Mistake(
        "a source that is edited at the last moment is not noticed",
        f"{PARTS}/run.py",
        "run.lost = run.lost or run.job.loss(atEnd=True)",
        "run.lost = run.lost or None",
        "test_cine_trouble.py",
    ),
    Mistake(
        "a model of the user's hides that of the extension",
        f"{PARTS}/models.py",
        "entries.setdefault(entry.key, entry)",
        "entries[entry.key] = entry",
        "test_panel_models.py",
    ),
    Mistake(
        "a line of the log that is no UTF-8 ends the listening",
        f"{PARTS}/worker.py",
        'errors="replace"',
        'errors="strict"',
        "test_worker.py",
    ),
    Mistake(
        "Slicer's own exporter is preselected for synthetic volumes",
        f"{PARTS}/dicom_plugin.py",
        "exportable.confidence = 1.0",
        "exportable.confidence = 0.4",
        "test_dicom_export.py",
    ),
    Mistake(
        "of a cine, the frame that is shown is exported alone",
        f"{PARTS}/dicom_export.py",
        "return sequence if marked else node",
        "return node",
        "test_dicom_export.py",
    ),
    Mistake(
        "the series is forgotten with the node of the source",
        f"{PARTS}/mrml.py",
        "    dicom_source.keepOrigin(node, source)\n",
        "",
        "test_dicom_export.py",
    ),
    Mistake(
        "what came from DICOM is not asked for marks",
        f"{PARTS}/mrml.py",
        "return file or (str(images[0]) if images else None)",
        "return file",
        "test_dicom_export.py",
    ),
    Mistake(
        "a changed patient name is passed over",
        f"{PARTS}/dicom_plugin.py",
        "                    checkIdentity(exportable, series)\n",
        "                    series.volume()\n",
        "test_dicom_export.py",
    ),
    Mistake(
        "a moved image is written where it no longer lies",
        f"{PARTS}/dicom_export.py",
        "        checkUnmoved(node)\n",
        "        mrml.worldAffine(framesOf(whole)[0])\n",
        "test_dicom_export.py",
    ),
    Mistake(
        "a cancelled queue goes on with the next",
        f"{PARTS}/several.py",
        "self._next < len(self.items) and not self._cancelled",
        "self._next < len(self.items)",
        "test_several.py",
    ),
    Mistake(
        "the first failure ends the queue",
        f"{PARTS}/several.py",
        '            self.failures.append((item, event["message"]))\n',
        '            self.failures.append((item, event["message"]))\n'
        "            self._next = len(self.items)\n",
        "test_several.py",
    ),
    Mistake(
        "a result of another seed counts as done",
        f"{PARTS}/queue_sources.py",
        "made.seed == request.seed and ",
        "",
        "test_several.py",
    ),
    Mistake(
        "a frame that was edited meanwhile is not noticed",
        f"{PARTS}/frame_run.py",
        "if mrml.fingerprint(frame) != self._fingerprint:",
        "if mrml.fingerprint(frame) is None:",
        "test_several.py",
    ),
    Mistake(
        "synthetic series of a study are offered as sources",
        f"{PARTS}/queue_sources.py",
        'modality == "MR" and "SYNTHETIC" not in kind.upper()',
        'modality == "MR"',
        "test_several.py",
    ),
    Mistake(
        "the acquired target is missing on the page",
        f"{PARTS}/report_page.py",
        "        reference=reference,\n",
        "",
        "test_report_page.py",
    ),
    Mistake(
        "a synthetic T2 is windowed as any image",
        f"{PARTS}/contrast_run.py",
        "mrml.fill(output, volume, source, self.request.targetContrast)",
        "mrml.fill(output, volume, source)",
        "test_report_page.py",
    ),
    Mistake(
        "the page shows other slices than the view",
        f"{PARTS}/report_page.py",
        "        through=middleOfView(),\n",
        "",
        "test_report_page.py",
    ),
)


def copy_repository(folder: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    if (ROOT.parent / "shared").exists():  # tests find it beside the repository
        (folder.parent / "shared").symlink_to(ROOT.parent / "shared")


def failure(folder: Path, tests: str) -> str | None:
    """The first failing test, or None where all pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, str(folder / "Testing" / "slicer" / tests)],
        cwd=folder,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
    )
    if result.returncode == 0:
        return None
    told = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return told[0].split("::", 1)[-1][:70] if told else result.stdout[-300:]


def plant(mistake: Mistake, folder: Path) -> None:
    path = folder / mistake.file
    text = path.read_text(encoding="utf-8")
    if mistake.right not in text:
        raise SystemExit(f"{mistake.title}: the code has changed, {mistake.right!r} is not there")
    path.write_text(text.replace(mistake.right, mistake.wrong), encoding="utf-8")


def caught_by(mistake: Mistake | None, tests: str) -> str | None:
    """Run ``tests`` in a fresh copy with the mistake in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "repository"
        folder.mkdir()
        copy_repository(folder)
        if mistake is not None:
            plant(mistake, folder)
        return failure(folder, tests)


def main(numbers: list[int]) -> int:
    every = (*MISTAKES, *ENGINE_MISTAKES)
    chosen = [m for n, m in enumerate(every, 1) if not numbers or n in numbers]
    for tests in sorted({mistake.tests for mistake in chosen}):
        if broken := caught_by(None, tests):
            raise SystemExit(f"{tests} fails without any mistake: {broken}")
    missed = 0
    for mistake in chosen:
        test = caught_by(mistake, mistake.tests)
        missed += test is None
        print(f"{'caught' if test else 'MISSED'}  {mistake.title:58} {test or ''}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return missed


if __name__ == "__main__":
    sys.exit(main([int(number) for number in sys.argv[1:]]))
