"""Missing packages: what is asked, when, and what the user reads if they cannot be had."""

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


def without_torch(monkeypatch):
    from MambaSynthSlicer import dependencies

    monkeypatch.setattr(dependencies, "torchIsInstalled", lambda: False)


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
    without_torch(installed)
    stand.torch.installed = stand.torch.accepts = False
    dialog = dialog_after(panel, lambda: click(panel))
    assert dialog.text.startswith("PyTorch was not installed")
    assert "--no-index --find-links" in dialog.text
    assert stand.torch.requests == [{"ask": True, "torch": ">=2.10,<2.14"}]


@pytest.mark.usefixtures("untouched")
def test_a_failed_download_of_torch_is_told(panel, stand, installed):
    without_torch(installed)
    stand.torch.error = RuntimeError("407 Proxy Authentication Required\nmore lines")
    dialog = dialog_after(panel, lambda: click(panel))
    assert "PyTorch could not be installed (407 Proxy Authentication Required)" in dialog.text


@pytest.mark.usefixtures("untouched")
def test_a_missing_pytorch_extension_is_told(panel, installed):
    without_torch(installed)
    installed.setitem(__import__("sys").modules, "PyTorchUtils", None)
    dialog = dialog_after(panel, lambda: click(panel))
    assert "install the PyTorch extension in the Extensions Manager" in dialog.text
