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
from panel_mistakes import PANEL_MISTAKES

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("MambaSynth", "MambaSynthLib", "Resources", "Testing", "models")
FILES = ("CMakeLists.txt", "pyproject.toml")


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
    every = (*PANEL_MISTAKES, *ENGINE_MISTAKES)
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
