"""Whether two checkouts compute the same, bit by bit: for moves, which must change nothing.

    git worktree add ../before COMMIT
    python Testing/compare_checkouts.py ../before .

Both synthesize a computed head, make the frames of a computed heart, score a volume and train for
20 iterations, each in processes of its own that see one checkout alone; then every voxel, score
and weight is compared. Exit code 0 says that all are equal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import yaml

PLUG_INS = "mambasynth.commands"
RECIPE = "training/recipes/table1/cravim.yaml"
ITERATIONS = 20
PEOPLE = 4  # of the training, which draws its splits from them


def main(arguments: list[str]) -> int:
    checkouts = [Path(argument).resolve() for argument in arguments]
    if len(checkouts) != 2 or not all((path / "MambaSynthLib").is_dir() for path in checkouts):
        print("name two checkouts: compare_checkouts.py BEFORE AFTER", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        write_inputs(inputs, (checkouts[1] / RECIPE).read_text(encoding="utf-8"))
        before, after = (
            dict(results(path, inputs, Path(folder) / name))
            for path, name in zip(checkouts, ("before", "after"), strict=True)
        )
    for name in before:
        print(f"{name}: {'equal' if same(before[name], after[name]) else 'DIFFERENT'}")
    return 0 if all(same(before[name], after[name]) for name in before) else 1


def write_inputs(folder: Path, recipe: str) -> None:
    """A head and a heart of ellipsoids with texture, people to train on, a short recipe."""
    folder.mkdir()
    for person in range(PEOPLE):
        for contrast, image in zip(("T1w", "T2w"), head(person), strict=True):
            save(image, folder / f"people/{person}/{contrast}.nii.gz")
    for name, radius in (("ED", 0.5), ("ES", 0.3)):
        save(ellipsoid((64, 64, 8), radius, 9)[0], folder / f"{name}.nii.gz")
    parsed = yaml.safe_load(recipe)
    parsed |= parsed.pop("small")
    parsed["stages"][0]["iterations"] = ITERATIONS
    parsed["every"] = {"log": 10, "save": 10, "validate": 10}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(parsed), encoding="utf-8")


def head(seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """T1w and T2w, (72,80,12): the second is the first upside down, with fluid in the middle."""
    source, inside = ellipsoid((72, 80, 12), 0.8, seed)
    return source, np.where(inside, 900 - source, 0).astype(np.float32)


def ellipsoid(
    shape: tuple[int, int, int], radius: float, seed: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    distance = np.sqrt(axes[0] ** 2 + (0.9 * axes[1]) ** 2 + (0.5 * axes[2]) ** 2)
    noise = np.random.default_rng(seed).normal(scale=20, size=shape)
    image = np.where(distance < radius, 700 - 400 * distance + noise, 0).clip(0)
    return image.astype(np.float32), distance < radius


def save(image: np.ndarray[Any, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, np.diag([-2.0, 2.0, 3.0, 1.0])), path)  # type: ignore[no-untyped-call]


def results(checkout: Path, inputs: Path, out: Path) -> Iterator[tuple[str, Any]]:
    """What the checkout makes of the inputs: name -> arrays or numbers."""
    out.mkdir()
    t1, t2 = (inputs / f"people/0/{contrast}.nii.gz" for contrast in ("T1w", "T2w"))
    model = checkout / "models/cravim-t1w-t2w-compact"
    force = ["--force"] if (checkout / "MambaSynthLib/gate").is_dir() else []  # it is a toy
    run(checkout, out, "synthesize", t1, "--to", "T2w", "--model", model, "-o", out / "t2.nii.gz",
        *force)  # fmt: skip
    yield "synthesize", voxels(out / "t2.nii.gz")
    said = run(checkout, out, "evaluate", out / "t2.nii.gz", t2, "--json")
    yield "evaluate", json.loads(said)
    model = checkout / "models/mstg-cine-compact"
    run(checkout, out, "cine", inputs / "ED.nii.gz", inputs / "ES.nii.gz", "--frames", 3,
        "--model", model, "-o", out / "cine.nii.gz")  # fmt: skip
    yield "cine", voxels(out / "cine.nii.gz")
    globs = ("--t1", f"{inputs}/people/*/T1w.nii.gz", "--t2", f"{inputs}/people/*/T2w.nii.gz")
    run(checkout, out, "prepare", "paired", *globs, "--register", "none", "--split", "train",
        "--size", 80, 80, "--jobs", 1, "--out", out / "data")  # fmt: skip
    run(checkout, out, "train", inputs / "recipe.yaml", "--data", out / "data",
        "--out", out / "run", "--accelerator", "cpu", "--threads", 1)  # fmt: skip
    checkpoint = torch.load(out / "run/last.ckpt", weights_only=True, map_location="cpu")
    yield f"weights after {ITERATIONS} iterations", tensors(checkpoint)


def run(checkout: Path, out: Path, *arguments: Any) -> str:
    """The checkout's command line, with its plug-ins; what it printed."""
    made = subprocess.run(
        [sys.executable, "-m", "MambaSynthLib", *map(str, arguments)],
        env=environment(checkout, out), cwd=out, capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode:
        sys.exit(f"{checkout}: {' '.join(map(str, arguments))}: {made.stderr}")
    return made.stdout


def environment(checkout: Path, out: Path) -> dict[str, str]:
    """One checkout on the path, and its entry points as an installation would state them."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = out / "installed/mambasynth-0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {place}" for name, place in project["entry-points"][PLUG_INS].items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{PLUG_INS}]", *lines, ""]))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mambasynth\nVersion: 0\n")
    places = [metadata.parent, checkout, checkout / "training"]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"}


def voxels(path: Path) -> np.ndarray[Any, Any]:
    image: Any = nib.load(path)  # type: ignore[attr-defined]
    return np.asarray(image.dataobj)


def tensors(value: Any, place: str = "") -> dict[str, Any]:
    """Every tensor of a checkpoint, by its place; what names versions and times is left out."""
    if isinstance(value, torch.Tensor):
        return {place: value.numpy()}
    parts = value if isinstance(value, dict) else {}
    if isinstance(value, list | tuple):
        parts = dict(enumerate(value))
    found: dict[str, Any] = {}
    for key, part in parts.items():
        found |= tensors(part, f"{place}/{key}")
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return all(same(one[key], other[key]) for key in one.keys() & other.keys()) and bool(
            one.keys() & other.keys()
        )
    return bool(np.array_equal(one, other))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
