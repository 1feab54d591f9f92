"""What each set of packages takes on the disk: fresh environments, nothing else in them.

    python Testing/benchmarks/sizes.py [EXTRAS ...]     for example: synthesize,report cine

Prints a table for README. It downloads what pip downloads for a user of this machine, and takes
nothing but Python itself; the size of an environment without the library is subtracted.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "Testing" / "constraints.txt"
SETS = {
    "": "read, write, verify (DICOM, NIfTI, NRRD, MetaImage)",
    "synthesize": "and synthesize contrasts",
    "synthesize,report": "and pictures and scores: what `make demo` installs",
    "cine": "the same on PyTorch, and cines",
    "train": "and training",
}


def size(folder: Path) -> int:
    """Bytes of all files in it, each once."""
    files = (path.lstat() for path in folder.rglob("*") if path.is_file())
    return sum({status.st_ino: status.st_size for status in files}.values())


def installed_size(extras: str, scratch: Path) -> tuple[int, int]:
    """Bytes and number of distributions that ``pip install '.[extras]'`` adds."""
    home = scratch / (extras.replace(",", "-") or "base")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    empty = size(home)
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    target = f"{ROOT}[{extras}]" if extras else str(ROOT)
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--quiet", "--no-compile", "-c", CONSTRAINTS, target], check=True
    )
    listed = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True)
    return size(home) - empty, len(listed.stdout.splitlines()) - 1


def main(wanted: list[str]) -> None:
    print(f"Python {sys.version.split()[0]}, {sys.platform}, wheels as pip chooses them here\n")
    print("| `pip install` | packages | MB | what for |\n|---|---|---|---|")
    for extras in wanted or SETS:
        with tempfile.TemporaryDirectory() as scratch:
            taken, count = installed_size(extras, Path(scratch))
        name = f"'.[{extras}]'" if extras else "."
        print(f"| `{name}` | {count} | {taken / 1e6:.0f} | {SETS.get(extras, '')} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
