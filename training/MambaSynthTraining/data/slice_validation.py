"""How near a method comes to slices it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from MambaSynthLib.image.intensity import EMPTY
from MambaSynthTraining.data.batches import Correlation, Validation
from MambaSynthTraining.data.canvas import center
from MambaSynthTraining.data.slices import SIZE_MULTIPLE, Image, SliceGroup, SlicePairs

if TYPE_CHECKING:
    from MambaSynthTraining.method import ContrastMethod

SLICES = 16  # compared each time, evenly spread over the validation subjects
SHOWN = 4
SEED = 20_25
AVERAGED = 64  # training slices in the mean target


def validate(method: ContrastMethod, slices: SlicePairs, mean_target: Image) -> Validation:
    """Mean absolute error in [-1,1] units, a picture of a few slices, and the correlation with the
    acquired target beside that of ``mean_target``.

    The same slices and the same noise every time. A row shows source, synthetic image and
    acquired target.
    """
    device = next(method.networks.parameters()).device
    errors, rows, found, trivial = [], [], [], []
    for k, n in enumerate(np.linspace(0, len(slices) - 1, min(SLICES, len(slices)), dtype=int)):
        first, end = slices.around(n, method.neighbors)
        run = torch.cat([_canvas(slices.a[m]) for m in range(first, end)]).to(device)
        target = _canvas(slices.b[n]).to(device)
        generator = torch.Generator().manual_seed(SEED + k)
        place = slice(n - first, n - first + 1)
        source, synthetic = run[place], method.synthesize(run, generator)[place].float()
        errors.append(float((synthetic - target).abs().mean()))
        acquired = slices.b[n]
        made = synthetic[0, 0, : acquired.shape[0], : acquired.shape[1]].cpu().numpy()
        found.append(correlation(made, acquired))
        trivial.append(correlation(center(mean_target, acquired.shape, EMPTY)[0], acquired))
        rows.append(torch.cat([source, synthetic, target], dim=3)[0])  # (1,h,3w)
    shown = [rows[k] for k in np.linspace(0, len(rows) - 1, min(SHOWN, len(rows)), dtype=int)]
    grid = ((_stacked(shown) + 1) / 2).clamp(0, 1).expand(3, -1, -1).cpu()
    correlated = Correlation(float(np.mean(found)), float(np.mean(trivial)))
    return Validation(float(np.mean(errors)), grid, "source, synthetic, acquired", correlated)


def correlation(image: Image, acquired: Image) -> float:
    """Pearson's r inside the tissue of the acquired slice (H,W); 0 where either is flat there."""
    tissue = acquired > EMPTY
    x, y = (each[tissue] - each[tissue].mean() for each in (image, acquired))
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / scale if scale else 0.0


def mean_slice(groups: Sequence[SliceGroup]) -> Image:
    """The mean of evenly spread slices, the last part of each group's, middle on middle.

    Those of paired groups have the target as their last part.
    """
    chosen = [
        group.parts[-1][int(n)]
        for group in groups
        for n in np.linspace(0, len(group) - 1, min(AVERAGED // len(groups) or 1, len(group)))
    ]
    size = tuple(int(n) for n in np.max([image.shape for image in chosen], axis=0))
    mean: Image = np.mean([center(image, size, EMPTY)[0] for image in chosen], axis=0)
    return mean


def _canvas(image: np.ndarray) -> Tensor:
    """(H,W) -> (1,1,h,w), padded with background to what the networks accept."""
    pad = [-n % SIZE_MULTIPLE for n in image.shape]
    return F.pad(torch.from_numpy(image)[None, None], (0, pad[1], 0, pad[0]), value=-1.0)


def _stacked(rows: list[Tensor]) -> Tensor:
    """Rows (1,h,w) of different widths below one another."""
    width = max(row.shape[2] for row in rows)
    return torch.cat([F.pad(row, (0, width - row.shape[2]), value=-1.0) for row in rows], dim=1)
