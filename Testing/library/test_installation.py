"""What is said when a package is missing: the right cause, and a command that works here."""

from __future__ import annotations

import json
import sys
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import MambaSynthLib
from MambaSynthLib import installation
from MambaSynthLib.cli import sentence
from MambaSynthLib.installation import PACKAGES, how_to_install, remedy_for_module

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class Record:
    """A distribution with this ``direct_url.json``, as pip and uv write it (PEP 610)."""

    def __init__(self, record):
        self.text = record if record is None or isinstance(record, str) else json.dumps(record)

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.text


@pytest.fixture
def installed(monkeypatch):
    """installed(record): from now on the library was installed that way."""
    monkeypatch.delenv("SLICER_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")

    def install(record):
        monkeypatch.setattr(metadata, "distribution", lambda name: Record(record))

    return install


def test_a_clone_is_named_by_its_path(installed, tmp_path):
    clone = tmp_path / "my clone"
    clone.mkdir()
    installed({"url": clone.as_uri(), "dir_info": {"editable": True}})
    assert how_to_install("cine") == f"run pip install '{clone}[cine]'"


def test_a_wheel_file_is_named_while_it_is_there(installed, tmp_path):
    wheel = tmp_path / "mambasynth-0.1.0-py3-none-any.whl"
    wheel.touch()
    installed({"url": wheel.as_uri(), "archive_info": {}})
    assert how_to_install("report") == f"run pip install '{wheel}[report]'"
    wheel.unlink()
    assert how_to_install("report") == "run pip install matplotlib scikit-image scipy"


def test_what_came_from_an_index_or_a_repository_is_named_as_it_was(installed):
    for record in (None, "{", "[]"):
        installed(record)
        assert how_to_install("train") == "run pip install 'mambasynth[train]'"
    installed({"url": "https://host/repository.git",
               "vcs_info": {"vcs": "git", "commit_id": "abc"}})  # fmt: skip
    assert how_to_install("cine") == (
        "run pip install 'mambasynth[cine] @ git+https://host/repository.git@abc'"
    )


def test_windows_gets_the_quotes_that_its_shell_knows(installed, monkeypatch):
    installed(None)
    monkeypatch.setattr(sys, "platform", "win32")
    assert how_to_install("cine") == 'run pip install "mambasynth[cine]"'


def test_a_clone_that_was_never_installed_is_known_by_its_place(installed, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert how_to_install("cine") == f"run pip install '{ROOT}[cine]'"
    monkeypatch.setattr(installation, "__file__", "/elsewhere/MambaSynthLib/installation.py")
    assert how_to_install("cine") == "run pip install torch"


def test_slicer_is_told_in_its_own_terms_and_only_in_its_own_python(monkeypatch, tmp_path):
    monkeypatch.setenv("SLICER_HOME", str(tmp_path))
    assert "Slicer" not in how_to_install("cine")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "lib" / "Python"))
    assert how_to_install("cine").startswith("install the PyTorch extension in Slicer's Ext")
    assert how_to_install("synthesize") == (
        "run slicer.util.pip_install('onnx onnxruntime') in Slicer's Python console"
    )


def test_each_missing_package_is_asked_for_by_the_extra_that_brings_it(installed):
    installed(None)
    for module, remedy in {
        "torch": "run pip install 'mambasynth[cine]'.",
        "skimage": "run pip install 'mambasynth[report]'.",
        "yaml": "run pip install 'mambasynth[train]'.",
        "highdicom": "run pip install 'mambasynth[dicom]'.",
        "onnxruntime": "run pip install 'mambasynth[synthesize]'.",
        "pydicom": "run pip install mambasynth.",
        "imageio_ffmpeg": "run pip install imageio_ffmpeg.",
    }.items():
        said = sentence(ModuleNotFoundError(f"No module named {module!r}", name=module))
        assert said == f"the Python package {module!r} is not installed; {remedy}"


def test_a_part_of_ours_that_is_missing_is_a_damaged_installation(installed):
    installed(None)
    said = remedy_for_module("MambaSynthTraining.commands")
    assert "installed in part only" in said and "--force-reinstall mambasynth" in said


def test_a_package_that_hides_another_is_named_with_its_place(tmp_path, monkeypatch):
    (tmp_path / "zarr_like").mkdir()
    (tmp_path / "zarr_like" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    said = remedy_for_module("zarr_like.codecs")
    assert f"not in the package 'zarr_like' at {tmp_path}" in said and "another folder" in said


def names(requirements):
    return {r.split(">")[0].split("[")[0] for r in requirements if not r.startswith("mambasynth")}


@pytest.mark.parametrize("extra", PACKAGES)
def test_the_hints_name_the_packages_of_pyproject(extra):
    declared = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    assert set(PACKAGES[extra]) == names(declared)


FLOORS = {"torch": "2.10", "pydicom": "3.0.2", "lightning": "2.6.6", "onnx": "1.21"}


def test_no_version_with_a_known_hole_fulfills_the_requirements():
    """Older ones run code of a checkpoint, follow external data out of their folder, or worse."""
    extras = PROJECT["optional-dependencies"].values()
    requirements = [Requirement(text) for text in chain(PROJECT["dependencies"], *extras)]
    for name, floor in FLOORS.items():
        asked = [each for each in requirements if each.name == name]
        assert asked, name
        for requirement in asked:
            lowest = {spec.version for spec in requirement.specifier if spec.operator == ">="}
            assert [Version(text) >= Version(floor) for text in lowest] == [True], requirement


def test_the_version_stands_in_one_place_and_the_newest_change_belongs_to_it():
    assert PROJECT["dynamic"] == ["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = next(line for line in changes.splitlines() if line.startswith("## "))
    assert newest.split()[1] in ("Unreleased", MambaSynthLib.__version__)
    assert "version:" not in (ROOT / "CITATION.cff").read_text().replace("cff-version:", "")
