"""The extension as a package: configured, built, installed, listed, and tested from its build tree.

Uses the CMake stub in ``Testing/cmake`` in place of a Slicer build tree.
"""

import json
import re
import shutil
import subprocess
import sys

import pytest
from panel import ROOT

STUB = ROOT / "Testing" / "cmake"
MODULES = "Extensions-31053/MambaSynth/lib/Slicer-5.12/qt-scripted-modules"
CMAKE = (ROOT / "CMakeLists.txt").read_text()

pytestmark = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("c++")), reason="needs cmake and a C++ compiler"
)


def run(*command, fails=False):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300)
    assert (result.returncode != 0) == fails, result.stdout + result.stderr
    return result.stdout + result.stderr


def configure(source, build, fails=False):
    python = f"-DSTUB_PYTHON={sys.executable}"
    return run("cmake", "-S", source, "-B", build, f"-DSlicer_DIR={STUB}", python, fails=fails)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    configure(ROOT, folder)
    run("cmake", "--build", folder)
    return folder


@pytest.fixture(scope="module")
def installed(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("install")
    run("cmake", "--install", build, "--prefix", folder)
    return folder / MODULES


def files_below(folder, *patterns):
    found = (path for pattern in patterns for path in folder.rglob(pattern))
    return {
        str(path.relative_to(folder))
        for path in found
        if path.is_file() and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
    }


def test_the_package_holds_every_file_of_module_library_and_models_and_nothing_else(installed):
    module = files_below(ROOT / "MambaSynth", "*") - {"README.md"}
    patterns = ("*.py", "*.json", "*.safetensors")  # scripts, and the input gate's weights
    library = {f"MambaSynthLib/{f}" for f in files_below(ROOT / "MambaSynthLib", *patterns)}
    of_models = ("*.json", "*.md", "*.safetensors", "*.sha256")
    models = {f"models/{f}" for f in files_below(ROOT / "models", *of_models)}
    assert files_below(installed, "*") == module | library | models


def test_only_the_module_lies_where_slicer_looks_for_modules(installed):
    assert [path.name for path in installed.glob("*.py")] == ["MambaSynth.py"]
    packages = {path.parent.name for path in installed.glob("*/__init__.py")}
    assert packages == {"MambaSynthLib", "MambaSynthSlicer"}


def test_the_modules_own_test_passes_in_the_build_tree(build):
    assert "100% tests passed" in run("ctest", "--test-dir", build, "--output-on-failure")


def test_the_build_tree_loads_without_the_source_tree(build, tmp_path):
    """What a user has: the installed files alone."""
    shutil.copytree(build / "lib", tmp_path / "lib")
    (module,) = (tmp_path / "lib").rglob("MambaSynth.py")
    assert "OK" in run(sys.executable, STUB / "run_module_test.py", module)


def test_cpack_makes_one_archive(build):
    run("cmake", "--build", build, "--target", "package")
    assert (build / "31053-linux-amd64-MambaSynth.tar.gz").exists()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("MambaSynthSlicer/run.py", "MambaSynthSlicer/runs.py", "nonexistent file"),
        ("MambaSynthSlicer/run.py", "../MambaSynthLib/errors.py", "not below the module's folder"),
    ],
)
def test_a_wrong_path_in_cmake_is_refused(tmp_path, old, new, complaint):
    for folder in ("MambaSynth", "MambaSynthLib", "models"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "CMakeLists.txt", tmp_path)
    path = tmp_path / "MambaSynth" / "CMakeLists.txt"
    text = path.read_text().replace("${MODULE_NAME}Slicer", "MambaSynthSlicer")
    assert old in text
    path.write_text(text.replace(old, new))
    assert complaint in configure(tmp_path, tmp_path / "build", fails=True)


def test_a_project_without_languages_cannot_be_configured_in_a_slicer_build_tree(tmp_path):
    """Slicer's own checks compile C++, and need to know the compiler's version."""
    assert re.search(r"^project\(.*\)$", CMAKE, re.M)[0] == "project(MambaSynth)"
    for folder in ("MambaSynth", "MambaSynthLib", "models"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    without = CMAKE.replace("project(MambaSynth)", "project(MambaSynth NONE)")
    (tmp_path / "CMakeLists.txt").write_text(without)
    said = configure(tmp_path, tmp_path / "build", fails=True)
    assert "try_compile" in said and "works only for enabled languages" in " ".join(said.split())


# ---------------------------------------------------------------------- what the index wants


def test_the_index_entry_has_the_wanted_fields_sorted_and_ends_in_a_newline():
    path = ROOT / "Resources" / "ExtensionsIndex" / "MambaSynth.json"
    data = path.read_bytes()
    entry = json.loads(data)
    assert list(entry) == sorted(entry)
    wanted = "$schema build_dependencies build_subdirectory category scm_revision scm_url tier"
    assert set(entry) == set(wanted.split())
    assert data.endswith(b"}\n") and b"\r" not in data
    assert entry["build_dependencies"] == ["PyTorch"] and entry["build_subdirectory"] == "."
    assert re.fullmatch(r"https://github\.com/[\w-]+/Slicer\w+\.git", entry["scm_url"])


def test_the_metadata_are_single_quoted_strings_and_the_project_comes_first():
    assert re.search(r"^project\((\w+)", CMAKE, re.M)[1] == "MambaSynth"
    fields = re.findall(r'^set\(EXTENSION_(\w+) "([^"\n]*)"\)$', CMAKE, re.M)
    wanted = "HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS"
    assert {name for name, _ in fields} == set(wanted.split())


def test_icon_and_screenshots_exist_where_the_addresses_point():
    addresses = re.findall(r"/main/(Resources/[\w./-]+)", CMAKE)
    assert len(addresses) == 3
    for path in addresses:
        assert path.endswith(".png") and (ROOT / path).is_file(), path


def test_the_icon_of_the_module_is_that_of_the_catalog():
    from PySide6.QtGui import QImage

    icon = ROOT / "MambaSynth" / "Resources" / "Icons" / "MambaSynth.png"
    assert icon.read_bytes() == (ROOT / "Resources" / "MambaSynth.png").read_bytes()
    assert QImage(str(icon)).width() == QImage(str(icon)).height() == 128
