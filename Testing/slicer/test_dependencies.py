"""Missing packages: what is asked, when, and what the user reads if they cannot be had."""

import importlib.metadata
import subprocess
import sys

import hearts
import pytest
from panel import dialog_after, head


def click(panel):
    head()
    panel.events()
    panel.choose_model("inverter")
    panel.ui.applyButton.click()


@pytest.fixture
def installed(stand, monkeypatch):
    """Restores what tests of missing packages change."""
    monkeypatch.setattr(stand.packaging, "satisfied", True)
    monkeypatch.setattr(stand.packaging, "error", None)
    monkeypatch.setattr(stand.torch, "installed", True)
    monkeypatch.setattr(stand.torch, "accepts", True)
    monkeypatch.setattr(stand.torch, "error", None)
    stand.packaging.asked.clear()
    stand.torch.requests.clear()
    return monkeypatch


def with_torch(monkeypatch, version, onnx=None):
    """As another extension has left it; None: as in a fresh Slicer."""
    versions = {"torch": version, "onnx": onnx, "onnxruntime": onnx, "onnxruntime-gpu": None}

    def installed(name):
        if name not in versions:
            return honest(name)
        if versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    honest = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", installed)


def click_cine(panel):
    hearts.choose_cine(panel, hearts.sequence())
    panel.ui.applyButton.click()


def test_nothing_is_asked_when_everything_is_installed(panel, stand, installed):
    head()
    panel.synthesize()
    assert stand.packaging.asked == [] and stand.torch.requests == []


def test_missing_packages_are_asked_for_once_and_without_exact_pins(panel, stand, installed):
    stand.packaging.satisfied = False
    head()
    panel.synthesize()
    ((requirements, requester),) = stand.packaging.asked
    assert requester == "MambaSynth" and any(r.startswith("safetensors") for r in requirements)
    assert not any("==" in r or "SimpleITK" in r or "torch" in r for r in requirements)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("User declined the installation."),
        subprocess.CalledProcessError(1, "pip", "Could not fetch URL: timed out"),
        OSError("Network is unreachable"),
    ],
)
def test_refused_or_failed_packages_give_one_sentence_and_the_offline_way(
    panel, stand, installed, error
):
    stand.packaging.satisfied, stand.packaging.error = False, error
    dialog = dialog_after(panel, lambda: click(panel))
    assert dialog.text.startswith("MambaSynth needs Python packages that were not installed")
    assert "--no-index --find-links" in dialog.text and "\n" not in dialog.text


@pytest.mark.usefixtures("untouched")
def test_refused_torch_gives_the_offline_way(panel, stand, installed):
    with_torch(installed, None)
    stand.torch.installed = stand.torch.accepts = False
    dialog = dialog_after(panel, lambda: click_cine(panel))
    assert dialog.text.startswith("PyTorch was not installed")
    assert "--no-index --find-links" in dialog.text
    assert stand.torch.requests == [{"ask": True, "torch": ">=2.10,<2.14"}]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("version", ["2.2.2", "2.9.1+cu126", "2.14.0"])
def test_another_version_of_torch_is_told_with_the_remedy_and_not_replaced(
    panel, stand, installed, version
):
    """``find_spec`` takes any of them for PyTorch."""
    with_torch(installed, version)
    dialog = dialog_after(panel, lambda: click_cine(panel))
    assert dialog.text.startswith(f"PyTorch {version} is installed, probably by another extension")
    assert (
        ">=2.10,<2.14" in dialog.text and "uninstall it in the module PyTorch Utils" in dialog.text
    )
    assert stand.torch.requests == []


@pytest.mark.parametrize(
    ("torch", "onnx", "asked", "said"),
    [
        ("2.2.2", None, False, "Contrasts will compute with ONNX Runtime"),
        (None, None, False, "Contrasts will compute with ONNX Runtime"),
        ("2.13.0", None, True, "Computes with PyTorch 2.13.0."),
        (None, "1.20.0", True, "with ONNX Runtime, on the CPU. PyTorch would also make cines"),
        ("2.2.2", "1.20.0", True, "Computes contrasts with ONNX Runtime"),
    ],
)
def test_the_panel_says_what_computes_and_asks_for_devices_where_something_does(
    panel, installed, torch, onnx, asked, said
):
    """The child process would import it to find out."""
    with_torch(installed, torch, onnx)
    calls = []
    installed.setattr(panel.logic, "askDevices", lambda: calls.append(1))
    panel.ui.advancedSection.collapsed = False
    assert bool(calls) == asked and said in panel.ui.backendLabel.text


@pytest.mark.parametrize("torch", [None, "2.2.2"])
def test_a_contrast_without_a_fitting_torch_asks_for_onnx_runtime_alone(
    panel, stand, installed, torch
):
    with_torch(installed, torch)
    stand.packaging.satisfied = False
    head()
    assert panel.synthesize() is not None
    light, onnx = (requirements for requirements, _ in stand.packaging.asked)
    assert any(r.startswith("onnxruntime>=") for r in onnx) and stand.torch.requests == []
    assert not any("torch" in r or "==" in r for r in (*light, *onnx))


def test_onnx_runtime_in_any_build_is_not_asked_for_again(panel, stand, installed):
    with_torch(installed, None, "1.20.0")
    stand.packaging.satisfied = False
    head()
    panel.synthesize()
    assert len(stand.packaging.asked) == 1


def test_on_an_intel_slicer_of_a_mac_cines_are_refused_with_the_reason(panel, stand, installed):
    with_torch(installed, None, "1.20.0")
    installed.setattr("MambaSynthSlicer.dependencies.sys.platform", "darwin")
    installed.setattr("MambaSynthSlicer.dependencies.platform.machine", lambda: "x86_64")
    dialog = dialog_after(panel, lambda: click_cine(panel))
    assert "does not exist for this Slicer" in dialog.text and stand.torch.requests == []
    panel.ui.advancedSection.collapsed = False
    assert "there is no PyTorch that fits" in panel.ui.backendLabel.text


@pytest.mark.parametrize(("torch", "chosen"), [("2.2.2", "onnxruntime"), ("2.13.0", None)])
def test_the_child_leaves_a_torch_that_does_not_fit_alone(installed, torch, chosen):
    from MambaSynthSlicer import dependencies

    with_torch(installed, torch, "1.20.0")
    assert dependencies.childEnvironment().get("MAMBASYNTH_BACKEND") == chosen


SYSTEMS = {
    "macOS": ["macosx_11_0_x86_64"],
    "Windows": ["win_amd64"],
    "Linux": ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"],
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_asked_for_can_be_had_for_slicers_python_on_every_system(system, tmp_path):
    """By pip's own resolver. Skips where no package registry is reachable."""
    from MambaSynthSlicer import dependencies

    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1"]
    reachable = subprocess.run([*pip, "download", "--no-deps", "-d", tmp_path, "iniconfig"])
    if reachable.returncode:
        pytest.skip("no package registry can be reached")
    platforms = [part for name in SYSTEMS[system] for part in ("--platform", name)]
    files = [dependencies.REQUIREMENTS, dependencies.ONNX_REQUIREMENTS]
    result = subprocess.run(
        [*pip, "install", "--dry-run", "--ignore-installed", "--target", tmp_path / "none"]
        + ["--python-version", "3.12", "--only-binary=:all:", *platforms]
        + [part for file in files for part in ("-r", file)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-500:]
    assert "Would install" in result.stdout and "onnxruntime-1." in result.stdout


@pytest.mark.parametrize("version", ["2.10.0", "2.12.1+cu130", "2.13.0", "2.13.0a0+git123"])
@pytest.mark.parametrize("system", ["linux", "win32"])
def test_a_version_of_torch_that_fits_is_used_as_it_is(panel, stand, installed, version, system):
    with_torch(installed, version)
    installed.setattr("MambaSynthSlicer.dependencies.sys.platform", system)
    from MambaSynthSlicer import dependencies

    dependencies.ensureTorch()
    assert stand.torch.requests == []


@pytest.mark.parametrize(
    ("system", "wanted"),
    [("linux", ">=2.10,<2.14"), ("darwin", ">=2.10,<2.14"), ("win32", ">=2.10,<2.13")],
)
def test_on_windows_a_version_is_installed_whose_paths_are_short_enough(
    panel, stand, installed, system, wanted
):
    """Slicer/light-the-torch issue 176."""
    with_torch(installed, None)
    installed.setattr("MambaSynthSlicer.dependencies.sys.platform", system)
    installed.setattr("MambaSynthSlicer.dependencies.platform.machine", lambda: "arm64")
    from MambaSynthSlicer import dependencies

    dependencies.ensureTorch()
    assert stand.torch.requests == [{"ask": True, "torch": wanted}]


@pytest.mark.usefixtures("untouched")
def test_a_failed_download_of_torch_is_told(panel, stand, installed):
    with_torch(installed, None)
    stand.torch.error = RuntimeError("407 Proxy Authentication Required\nmore lines")
    dialog = dialog_after(panel, lambda: click_cine(panel))
    assert "PyTorch could not be installed (407 Proxy Authentication Required)" in dialog.text


@pytest.mark.usefixtures("untouched")
def test_a_missing_pytorch_extension_is_told(panel, installed):
    with_torch(installed, None)
    installed.setitem(__import__("sys").modules, "PyTorchUtils", None)
    dialog = dialog_after(panel, lambda: click_cine(panel))
    assert "install the PyTorch extension in the Extensions Manager" in dialog.text
