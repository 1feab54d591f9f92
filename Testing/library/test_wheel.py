"""The wheel in an environment of its own, used from a folder that is out to confuse it.

Nothing is downloaded: the packages it needs are those of the running environment, through a .pth.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from MambaSynthLib.io.files import write_volume

ROOT = Path(__file__).resolve().parents[2]
BIN, SUFFIX = ("Scripts", ".exe") if sys.platform == "win32" else ("bin", "")
HOSTILE = "raise RuntimeError('a package of the folder was imported')\n"


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling, which is not here")
    folder = tmp_path_factory.mktemp("wheel house")
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    return next(folder.glob("mambasynth-*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of an environment that holds the wheel and nothing else of ours."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / BIN / f"python{SUFFIX}"
    pip("--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(asked, capture_output=True, text=True).stdout.strip())
    ours = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    (packages / "dependencies.pth").write_text("\n".join(ours) + "\n")
    return python


@pytest.fixture
def folder(tmp_path):
    """An empty folder but for packages named as ours once were, and as our modules are."""
    folder = tmp_path / "work"
    for name in ("training", "training/commands", "commands", "engine", "models"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(HOSTILE)
    return folder


@pytest.fixture
def run(python, folder):
    """run(*arguments, module=True) -> the finished process of ``mambasynth ...`` in the folder."""

    def run(*arguments, module=True, code=None):
        start = (
            [python, "-m", "MambaSynthLib"] if module else [python.parent / f"mambasynth{SUFFIX}"]
        )
        if code:
            start = [python, "-c", code]
        kept = {k: os.environ[k] for k in ("PATH", "SYSTEMROOT") if k in os.environ}
        home = {"HOME": str(folder.parent), "LOCALAPPDATA": str(folder.parent)}
        return subprocess.run(
            [*map(str, start), *map(str, arguments)], cwd=folder, capture_output=True, text=True,
            env=kept | home | {"OMP_NUM_THREADS": "1"}, timeout=240,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("module", [True, False])
def test_the_models_are_listed_whatever_lies_in_the_folder(module, run, python):
    done = run("models", "list", module=module)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cravim-t1w-t2w-compact" in done.stdout and "mstg-cine-compact" in done.stdout


def test_the_commands_of_the_training_are_there(run):
    done = run("train", "--help")
    assert (done.returncode, done.stderr) == (0, "") and "usage: mambasynth train" in done.stdout
    assert " evaluate-set" in run("--help").stdout


def test_a_head_is_synthesized_and_verified(run, folder, head):
    write_volume(head, folder / "head_T1w.nii.gz")
    words = ("head_T1w.nii.gz", "--to", "T2w", "-o", "out.nii.gz", "--steps", 1)
    toy = run("synthesize", *words)
    assert toy.returncode == 2 and "which no adult's head or brain measures" in toy.stderr
    done = run("synthesize", *words, "--force")
    assert done.returncode == 0, done.stderr
    said = run("verify", "out.nii.gz")
    assert said.returncode == 0 and "cravim-head-t1w-t2w" in said.stdout


def test_the_demo_runs_or_says_the_one_command_that_brings_its_head(run, folder):
    done = run("demo")
    if importlib.util.find_spec("nilearn"):
        assert done.returncode == 0, done.stderr
        assert list((folder / "out" / "demo").glob("*.png"))
    else:
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert re.search(r"[Rr]un:? ('make demo'|.*pip install)", done.stderr), done.stderr


def test_a_missing_package_is_asked_for_from_the_wheel_that_was_installed(run, wheel):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from MambaSynthLib.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = run("models", "import", "x.pth", "--to", "T2w", code=code)
    quoted = f"'{wheel}[cine]'" if SUFFIX == "" else f'"{wheel}[cine]"'
    assert done.returncode == 2
    assert f"'torch' is not installed; run pip install {quoted}." in done.stderr


PUBLIC = """
import sys
import mambasynth
heavy = {"torch", "scipy", "SimpleITK", "nibabel", "onnxruntime", "pydicom"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
for name in sys.argv[1:]:
    assert name in dir(mambasynth) and getattr(mambasynth, name), name
"""
NAMES = (
    "Volume Cine Engine CineEngine MaskEngine admit read_volume write_volume list_models "
    "mask_model model_for __version__"
)


def test_the_public_names_are_imported_lazily_under_the_name_that_is_installed(run):
    done = run(*NAMES.split(), code=PUBLIC)
    assert done.returncode == 0, done.stderr


USER = """
import mambasynth
from mambasynth import Volume

engine = mambasynth.Engine(mambasynth.model_for("T1w", "T2w"))
head: Volume = mambasynth.read_volume("T1.nii.gz")
volumes: dict[str, int] = engine.synthesize({"T1w": head}, seed=1).volumes
mambasynth.nonsense
"""


def test_a_strict_type_checker_of_a_user_sees_the_public_names(python, folder):
    pytest.importorskip("mypy")
    (folder / "user.py").write_text(USER)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent",
         "--python-executable", str(python), "user.py"],
        cwd=folder, capture_output=True, text=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert "user.py:7: error: Incompatible types in assignment" in lines[0], done.stdout
    assert "user.py:8: error: Module has no attribute" in lines[1]
    assert lines[-1].startswith("Found 2 errors in 1 file"), done.stdout
