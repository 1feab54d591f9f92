"""Making a model package of a checkpoint that CRAViM's or DDM's published training saved."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from MambaSynthLib.errors import RequestError
from MambaSynthLib.install.importing import own_place
from MambaSynthLib.methods.diffusion import Schedule
from MambaSynthLib.methods.mstg.ddm_names import config_of_ddm, from_ddm, is_ddm
from MambaSynthLib.methods.mstg.schedule import LinearSchedule
from MambaSynthLib.model.package import ModelPackage, write_package
from MambaSynthLib.model.registry import check_id

LONGEST_ID = 64  # characters, as in the schema
INTENDED_USE = "Research only. Not for diagnosis."
IMPORTED: dict[str, Any] = {
    "format": 1, "version": "1.0.0", "intended_use": INTENDED_USE, "scores": [],
}  # fmt: skip
CRAVIM: dict[str, Any] = IMPORTED | {  # what the card says of every network of its training
    "method": "cravim",
    "intensity": {"rule": "percentile", "upper_percentile": 99.5, "target_range": [0.0, 1000.0]},
    "sampling": {
        "timesteps": Schedule.steps, "beta_min": Schedule.beta_min, "beta_max": Schedule.beta_max,
        "default_steps": Schedule.steps, "default_samples": 1,
    },
}  # fmt: skip
CRAVIM_SIZE = (256, 256)
DDM: dict[str, Any] = IMPORTED | {  # as published: ED and ES of ACDC
    "method": "mstg",
    "source_contrasts": ["ED", "ES"],
    "target_contrasts": ["cine"],
    "grid": {"axis_codes": "LPS", "spacing_mm": [1.5, 1.5, 3.15], "size": [32, 128, 128]},
    "intensity": {"rule": "minmax"},
    "sampling": {
        "timesteps": LinearSchedule.steps, "beta_min": LinearSchedule.beta_min,
        "beta_max": LinearSchedule.beta_max,
    },
}  # fmt: skip


def import_checkpoint(
    path: Path,
    *,
    source_contrast: str,
    target_contrast: str | None,
    folder: Path | None = None,
    model_id: str | None = None,
    title: str | None = None,
    license: str = "NOASSERTION",
    trained_on: str = "not stated by whoever imported it",
    in_plane_spacing_mm: float | None = None,
    size: tuple[int, int] | None = None,
) -> ModelPackage:
    """A package from what CRAViM's (``netG_*.pth``) or DDM's training (``*_gen_G.pth``) saved.

    The sizes of the network are read off the weights, which must match it key by key. CRAViM's code
    trains on 256x256 axial slices in [-1,1] with four steps, DDM's on ED and ES of 32x128x128
    voxels of 3.15x1.5x1.5 mm; contrasts, spacing and size are those of a CRAViM network alone.

    Raises
    ------
    RequestError: no target contrast of a CRAViM network is given, or one of a DDM network.
    ModelError: the file is no such checkpoint, or the package cannot be written.
    """
    from MambaSynthLib.backends.torch_backend import read_checkpoint
    from MambaSynthLib.methods.cravim.network import config_of_weights

    weights = read_checkpoint(path)
    if is_ddm(weights):
        if target_contrast or size or in_plane_spacing_mm:
            raise RequestError(
                f"{path.name}: is a DDM network, which makes cines of a fixed grid; leave --to, "
                "--spacing and --size out."
            )
        weights = from_ddm(weights)
        card = DDM | {"network": asdict(config_of_ddm(_shapes(weights)))}
    else:
        contrasts = _contrasts(path, source_contrast, target_contrast)
        spacing, pixels = in_plane_spacing_mm, list(size or CRAVIM_SIZE)
        grid = {"axis_codes": "LPS", "in_plane_spacing_mm": spacing, "size": pixels}
        network = config_of_weights(_shapes(weights)).as_card()
        card = CRAVIM | contrasts | {"network": network, "grid": grid}
    sources, (target,) = card["source_contrasts"], card["target_contrasts"]
    name = "DDM" if card["method"] == "mstg" else "CRAViM"
    model_id = model_id or id_of("-".join([path.stem, *sources, target]))
    title = title or f"{name} {' and '.join(sources)} -> {target}, imported from {path.name}"
    card |= {"id": model_id, "title": title, "license": license, "trained_on": trained_on}
    readme = f"# {title}\n\nTrained on: {trained_on}. License: {license}. {INTENDED_USE}\n"
    return _loadable(write_package(folder or own_place(model_id), card, weights, readme))


def _contrasts(path: Path, source: str, target: str | None) -> dict[str, list[str]]:
    if not target:
        raise RequestError(
            f"{path.name}: a checkpoint does not say what it synthesizes; add --to T2w, for "
            "example."
        )
    return {"source_contrasts": [source], "target_contrasts": [target]}


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in weights.items()}


def id_of(name: str) -> str:
    """``name`` with only the characters that a model id may have."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).lstrip("._-")[-LONGEST_ID:].lstrip("._-")


def _loadable(package: ModelPackage) -> ModelPackage:
    """The package that was just written; it is taken back if its network cannot be loaded."""
    from MambaSynthLib.backends.torch_backend import load_network

    try:
        check_id(package)
        load_network(package, "cpu")
    except BaseException:
        shutil.rmtree(package.folder)
        raise
    return package
