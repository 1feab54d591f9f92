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
    from training.method import Phase
    from training.mstg.batches import Batch


class CineTraining(Protocol):
    """A trainable method: ``training.method``'s habits, for cine batches."""

    networks: nn.ModuleDict
    exported: str

    def optimizers(self) -> dict[str, torch.optim.Optimizer]: ...

    def iteration(self, batch: Batch, generator: Generator) -> Iterator[Phase]: ...

    def frame_model(self, device: str | torch.device) -> FrameModel: ...


FAST = 1e-3


@dataclass(frozen=True)
class Row:
    """``targets``: whether training sees ES alone ("ends") or the frames before it too ("all")."""

    title: str
    build: Callable[[], CineTraining] | None = None  # None: nothing to train
    trivial: Callable[[], FrameModel] | None = None
    iterations: int = 1500
    targets: str = "all"
    batch: int = 2
    gamma_spread: float = 0.15  # of the brightness, as an augmentation
    small: int = 0  # iterations at the small setting: as many as a CPU core does in 6 minutes
    small_lr: float | None = None  # instead of the published rate, which is for long trainings
    crop: tuple[int, int, int] | None = (16, 48, 48)  # what it trains on at the small setting


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


def _recipe(name: str) -> Callable[[], CineTraining]:
    def build() -> CineTraining:
        from training.cine.mstg_frames import row_of_recipe

        return row_of_recipe(name)

    return build


ROWS = {
    "no-motion": Row("no motion", trivial=_no_motion),
    "blend": Row("linear blend", trivial=_blend),
    "cgan": Row("CGAN (3-D pix2pix)", _cgan, small=3500),
    "ukan": Row("U-KAN diffusion", _ukan, iterations=3000, small=600, crop=None),
    "r2net": Row("R2Net", _r2net, targets="ends", small=1200, small_lr=FAST),
    "voxelmorph": Row("VoxelMorph", _voxelmorph, targets="ends", small=800, small_lr=FAST),
    "ddm": Row(
        "DDM", _recipe("ddm"), targets="ends", batch=1, gamma_spread=0, small=1400, small_lr=FAST
    ),
    "mstg": Row(
        "MSTG", _recipe("mstg"), targets="ends", batch=1, gamma_spread=0, small=500, small_lr=FAST
    ),
    "mstg+": Row("MSTG+ (ours)", _recipe("mstg_plus")),
}

# What the small setting has in the place of mstg+: its networks see images of half the size.
COMPACT = {
    "mstg+compact": Row(
        "MSTG+ compact (ours)", _recipe("mstg_plus_compact"), batch=1, small=550, crop=None
    )
}

# In the table when asked for by name: MSTG+ with one of its parts left out.
ABLATIONS = {
    f"minus_{part}": Row(f"MSTG+ without {part.replace('_', ' ')}", _recipe(f"minus_{part}"))
    for part in ("exact_ends", "velocity", "bidirectional", "refine", "time_warp")
} | {"minus_frames": Row("MSTG+ without frames between", _recipe("minus_frames"), targets="ends")}


def row(name: str) -> Row:
    """Raises RequestError for a name that is no row."""
    known = ROWS | COMPACT | ABLATIONS
    if name not in known:
        raise RequestError(f"{name!r} is no row; choose among {', '.join(known)}.")
    return known[name]
