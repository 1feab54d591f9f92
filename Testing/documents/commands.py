"""The fenced commands of a README, and a shell in which a reader's line runs as it is printed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from Testing.documents.prose import FENCE, ROOT

CINE_README = "training/MambaSynthTraining/cine/README.md"
READMES = (
    "README.md",
    "MambaSynthLib/README.md",
    "MambaSynth/README.md",
    "training/README.md",
    CINE_README,
)
PROGRAMS = {
    "mambasynth": "-m MambaSynthLib",
    "python": "",
    "torchrun": "-m torch.distributed.run",
}
SECONDS = 1200


def fences(name: str) -> list[tuple[str, str]]:
    """(language, code) of every fenced part of a README, without its indent."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [(m["language"], textwrap.dedent(m["code"])) for m in FENCE.finditer(text)]


def commands(name: str) -> list[str]:
    """Every line that a README tells its reader to type, and 'python: ...' for each program."""
    found = []
    for language, code in fences(name):
        if language == "python":
            found.append(f"python: {code.splitlines()[0]}")
        elif not code.startswith("file -->"):  # a drawing
            found += [line for line in code.splitlines() if line]
    return found


class Shell:
    """A folder like a clone's: the recipes are there, and the programs are this environment's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "training").mkdir()
        (folder / "training/recipes").symlink_to(ROOT / "training/recipes")
        programs = folder / "bin"
        programs.mkdir()
        for name, words in PROGRAMS.items():
            path = programs / name
            path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            path.chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
        }

    def type(self, line: str) -> str:
        """What the line prints. Raises AssertionError with its complaint where it fails."""
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self.environment, text=True,
            capture_output=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout
