"""The rows of the table: every method with its small setting. The one place to add another.

Nothing heavy is imported before a row is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from MambaSynthLib.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import Generator, nn

    from training.cine.frame_model import FrameModel
    from training.mstg.batches import Batch
    from training.mstg.step import Phase


class CineTraining(Protocol):
    """A trainable method: ``training.method``'s habits, for cine batches."""

    networks: nn.ModuleDict
    exported: str

    def optimizers(self) -> dict[str, torch.optim.Optimizer]: ...

    def iteration(self, batch: Batch, generator: Generator) -> Iterator[Phase]: ...

    def frame_model(self, device: str | torch.device) -> FrameModel: ...


@dataclass(frozen=True)
class Row:
    """``targets``: whether training sees ES alone ("ends") or the frames before it too ("all")."""

    title: str
    build: Callable[[], CineTraining] | None = None  # None: nothing to train
    trivial: Callable[[], FrameModel] | None = None
    iterations: int = 0
    targets: str = "all"
    batch: int = 2
    gamma_spread: float = 0.0


def _no_motion() -> FrameModel:
    from training.cine.frame_model import NoMotion

    return NoMotion()


def _blend() -> FrameModel:
    from training.cine.frame_model import LinearBlend

    return LinearBlend()


def _voxelmorph() -> CineTraining:
    from training.cine.voxelmorph import VoxelMorphTraining

    return VoxelMorphTraining()


def _r2net() -> CineTraining:
    from training.cine.r2net import R2NetTraining

    return R2NetTraining(lr=5e-4)


def _cgan() -> CineTraining:
    from training.cine.cgan import CGANTraining

    return CGANTraining()


def _ukan() -> CineTraining:
    from training.cine.ukan import UKANTraining

    return UKANTraining(width=16, lr=5e-4)


def _ddm() -> CineTraining:
    from training.cine.mstg_frames import DDM, MSTGRow
    from training.mstg.losses import Weights

    return MSTGRow(DDM, Weights(), lr=2e-4)


def _mstg() -> CineTraining:
    from MambaSynthLib.methods.mstg.config import MSTGConfig
    from training.cine.mstg_frames import MSTGRow
    from training.mstg.losses import Weights

    return MSTGRow(MSTGConfig(), Weights(), lr=2e-4)


def _mstg_plus() -> CineTraining:
    from training.cine.mstg_frames import PLUS, PLUS_WEIGHTS, MSTGRow

    return MSTGRow(PLUS, PLUS_WEIGHTS, lr=5e-4)


ROWS = {
    "no-motion": Row("no motion", trivial=_no_motion),
    "blend": Row("linear blend", trivial=_blend),
    "cgan": Row("CGAN (3-D pix2pix)", _cgan, iterations=1500),
    "ukan": Row("U-KAN diffusion", _ukan, iterations=3000),
    "r2net": Row("R2Net", _r2net, iterations=1500, targets="ends"),
    "voxelmorph": Row("VoxelMorph", _voxelmorph, iterations=1500, targets="ends"),
    "ddm": Row("DDM", _ddm, iterations=1500, targets="ends", batch=1),
    "mstg": Row("MSTG", _mstg, iterations=1500, targets="ends", batch=1),
    "mstg+": Row("MSTG+ (ours)", _mstg_plus, iterations=1500, batch=1),
}


def row(name: str) -> Row:
    """Raises RequestError for a name that is no row."""
    if name not in ROWS:
        raise RequestError(f"{name!r} is no row; choose among {', '.join(ROWS)}.")
    return ROWS[name]
