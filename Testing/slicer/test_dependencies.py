"""Missing packages: what is asked, when, and what the user reads if they cannot be had."""

import importlib.metadata
import subprocess

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


def with_torch(monkeypatch, version):
    """As another extension has left it; None: as in a fresh Slicer."""

    def installed(name):
        if name != "torch":
            return honest(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    honest = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", installed)


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
    dialog = dialog_after(panel, lambda: click(panel))
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
    dialog = dialog_after(panel, lambda: click(panel))
    assert dialog.text.startswith(f"PyTorch {version} is installed, probably by another extension")
    assert (
        ">=2.10,<2.14" in dialog.text and "uninstall it in the module PyTorch Utils" in dialog.text
    )
    assert stand.torch.requests == []


@pytest.mark.parametrize(("version", "asked"), [("2.2.2", False), (None, False), ("2.13.0", True)])
def test_devices_are_asked_for_only_where_torch_is_usable(panel, installed, version, asked):
    """The child process would import it to find out."""
    with_torch(installed, version)
    calls = []
    installed.setattr(panel.logic, "askDevices", lambda: calls.append(1))
    panel.ui.advancedSection.collapsed = False
    assert bool(calls) == asked


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
    from MambaSynthSlicer import dependencies

    dependencies.ensureTorch()
    assert stand.torch.requests == [{"ask": True, "torch": wanted}]


@pytest.mark.usefixtures("untouched")
def test_a_failed_download_of_torch_is_told(panel, stand, installed):
    with_torch(installed, None)
    stand.torch.error = RuntimeError("407 Proxy Authentication Required\nmore lines")
    dialog = dialog_after(panel, lambda: click(panel))
    assert "PyTorch could not be installed (407 Proxy Authentication Required)" in dialog.text


@pytest.mark.usefixtures("untouched")
def test_a_missing_pytorch_extension_is_told(panel, installed):
    with_torch(installed, None)
    installed.setitem(__import__("sys").modules, "PyTorchUtils", None)
    dialog = dialog_after(panel, lambda: click(panel))
    assert "install the PyTorch extension in the Extensions Manager" in dialog.text
