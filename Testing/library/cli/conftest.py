"""A folder with a head to synthesize from, and the command that does it."""

import pytest

from MambaSynthLib import engine as engine_module
from MambaSynthLib.gate import admission
from MambaSynthLib.gate.verdict import Verdict
from MambaSynthLib.io.files import write_volume
from Testing.library.cli.command_line import called


@pytest.fixture(autouse=True)
def toys_pass(monkeypatch):
    """The head measures 3 cm, which the input gate refuses; Testing/library/gate tests that."""
    monkeypatch.setattr(admission, "examine", lambda volume, contrast: Verdict(volume.name))


@pytest.fixture
def folder(tmp_path, head):
    """A folder with a T1w head to work in."""
    folder = tmp_path / "folder"
    folder.mkdir()
    write_volume(head, folder / "head.nii.gz")
    return folder


@pytest.fixture
def run(folder, tiny_package, capsys):
    """run(*options, source=..., to=..., out=..., model=...) -> (exit code, stdout, stderr)."""

    def run(*options, source="head.nii.gz", to="T2w", out="out.nii.gz", model=tiny_package.folder):
        arguments = [str(folder / source), "--to", to, "-o", str(folder / out), *map(str, options)]
        if model:
            arguments += ["--model", str(model)]
        return called(capsys, "synthesize", *arguments)

    return run


@pytest.fixture
def no_engine(monkeypatch):
    """Fails the test if a network is loaded."""

    def no(*_, **__):
        raise AssertionError("the engine was made before the refusal")

    monkeypatch.setattr(engine_module, "Engine", no)
