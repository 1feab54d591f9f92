import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
# The wheel's "slicer" package collects any folder of that name on sys.path: this one, too, once
# pytest has put its parent there.
sys.path[:] = [str(HERE), *(p for p in sys.path if Path(p or ".").resolve() != HERE.parent)]


if importlib.util.find_spec("slicer_core") is None:
    collect_ignore_glob = ["test_*.py"]  # "make slicer" runs them, in an environment of its own


@pytest.fixture(scope="session")
def stand():
    from slicerstand.start import start

    return start()


FAKE_MODELS = (
    "inverter slow stubborn noisy refuses broken dies loads-slowly".split()
)  # see fake_engine.py
FAKE_CINE_MODELS = ("blender", "slow-blender", "dying-blender")


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder of fake models, and an empty one for the user's."""
    from panel import write_model

    for model_id in FAKE_MODELS:
        write_model(tmp_path / "models", model_id)
    for model_id in FAKE_CINE_MODELS:
        write_model(tmp_path / "models", model_id, "cine")
    monkeypatch.setenv("MAMBASYNTH_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "models"


@pytest.fixture
def panel(stand, scene, models):
    """The module's panel, entered, on an empty scene, with a fake child process."""
    import qt
    from panel import Panel

    qt.QSettings().clear()
    panel = Panel(stand)
    yield panel
    panel.close()


@pytest.fixture
def scene(stand):
    """An empty scene; at the end, no slot may have raised and no prepared answer be left over.

    It is emptied again, as nodes that outlive the interpreter crash it when VTK deletes them.
    """
    stand.record.clear()
    stand.scene.Clear(0)
    yield stand.scene
    stand.scene.Clear(0)
    assert not stand.record.slot_errors, stand.record.slot_errors
    assert not stand.record.answers, "a prepared dialog was never shown"


@pytest.fixture
def untouched(scene):
    """At the end, the scene holds no synthetic volume."""
    import slicer

    yield
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert [v.GetName() for v in volumes if "SYNTHETIC" in v.GetName()] == []
