"""The module as its user meets it: load it, click, wait, read. Used by the tests of the panel."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHARED = ROOT.parent / "shared"
MODULE = ROOT / "MambaSynth" / "MambaSynth.py"
LAUNCHER = [sys.executable, "-S", str(HERE / "slicerstand" / "launcher.py")]
FAKE = [*LAUNCHER, sys.executable, str(HERE / "fake_engine.py")]


def write_model(folder: Path, model_id: str, target: str = "T2w") -> Path:
    """A model card as the panel reads it; the fake engine needs no weights."""
    package = folder / model_id
    package.mkdir(parents=True)
    card = {
        "id": model_id,
        "title": f"Fake {model_id}",
        "version": "1.0.0",
        "source_contrasts": ["T1w"],
        "target_contrasts": [target],
        "grid": {"axis_codes": "LPS", "in_plane_spacing_mm": 1.0, "size": [64, 64]},
        "license": "Apache-2.0",
        "intended_use": "Testing only <b>&</b> nothing else",
        "trained_on": "nothing",
        "scores": [
            {"data": "a phantom", "rows": [{"name": "model", "ssim": 0.91}, {"name": "identity"}]}
        ],
    }
    (package / "model.json").write_text(json.dumps(card))
    return package


def small_package(folder):
    """An untrained network of the real kind: every step is real but the quality."""
    from Testing.model_packages import SIZES, contrast_card, random_package

    sampling = contrast_card()["sampling"] | {"default_steps": 4}
    grid = contrast_card()["grid"] | {"size": [64, 64]}
    card = contrast_card(
        id="small", title="Small, untrained", network=SIZES, grid=grid, sampling=sampling
    )
    return random_package(folder / "small", card)


def small_cine_package(folder):
    """An untrained network of the real kind, whose exact ends and motion are real."""
    from Testing.model_packages import cine_card, random_package

    return random_package(folder / "small-cine", cine_card(id="small-cine"), seed=3)


def head(name="Head", shape=(20, 24, 16), affine=None):
    """A volume node with the first voxels dark; ``shape`` is (I,J,K)."""
    import slicer

    array = np.random.default_rng(1).random(shape[::-1]).astype("float32") * 900 + 100
    array[0] = 0
    matrix = None if affine is None else slicer.util.vtkMatrixFromArray(affine)
    return slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name=name)


def sample_file(folder, spacing=(4.0, 4.0, 4.0), skull=True):
    """A T1w head from formulas, as a file."""
    from MambaSynthLib.io.files import write_volume
    from Testing.analytic_heads import analytic_head

    path = folder / "head_T1w.nrrd"
    write_volume(analytic_head(spacing, skull)["T1w"], path)
    return path


def oblique(degrees=13.7):
    """(4,4) an affine turned about two axes, with three voxel sizes and a left-handed grid."""
    a = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag([-0.9, 1.1, 3.0])
    affine[:3, 3] = [40.0, -50.0, 20.0]
    return affine


def run_python(code):
    """Output of a fresh interpreter on the stand-in."""
    start = f"import sys; sys.path[:0] = [{str(HERE)!r}]\n"
    begin = "from slicerstand.start import start; stand = start()\n"
    result = subprocess.run(
        [sys.executable, "-c", start + begin + code], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1]


class Panel:
    """The loaded module with a fake child process."""

    def __init__(self, stand):
        import slicer

        self.stand = stand
        self.module = stand.modules.load_scripted(MODULE)
        self.widget = slicer.modules.MambaSynthWidget
        self.ui = self.widget.ui
        self.logic = self.widget.logic
        self.worker = self.logic._runner.worker
        self.worker.command = FAKE
        self.module.widgetRepresentation().enter()

    def events(self):
        self.stand.app.processEvents()

    def wait(self, done, seconds=60.0):
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self.events()
            time.sleep(0.005)
        assert done(), f"not within {seconds} s; status: {self.ui.statusLabel.text!r}"

    def wait_idle(self, seconds=60.0):
        self.wait(lambda: not self.logic.busy, seconds)

    def choose_model(self, model_id):
        box = self.ui.modelComboBox
        box.currentIndex = box.findData(model_id)
        assert box.currentData == model_id

    def synthesize(self, model_id="inverter"):
        """Click and wait; the new synthetic node."""
        self.choose_model(model_id)
        self.ui.applyButton.click()
        assert self.logic.busy, self.ui.applyButton.toolTip
        self.wait_idle()
        return self.logic.latestSynthetic(self.ui.sourceSelector.currentNode())

    def files_left(self):
        """Files of runs that are still in the temporary folder."""
        folder = self.worker._folder
        return list(folder.rglob("*")) if folder and folder.exists() else []

    def expect_dialog(self):
        """The next dialog is answered with OK."""
        import qt

        self.stand.record.answers.append(lambda dialog: qt.QMessageBox.Ok)

    def close(self):
        self.stand.modules.unload_scripted(self.module)


def dialog_after(panel, action):
    """The one dialog that ``action`` leads to."""
    panel.expect_dialog()
    action()
    panel.wait(lambda: not panel.stand.record.answers)
    panel.wait_idle()
    assert panel.files_left() == []
    return panel.stand.record.dialogs[-1]
