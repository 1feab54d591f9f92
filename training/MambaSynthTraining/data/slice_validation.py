"""How near a method comes to slices it is not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from MambaSynthTraining.data.batches import Validation
from MambaSynthTraining.data.slices import SIZE_MULTIPLE, SlicePairs

if TYPE_CHECKING:
    from MambaSynthTraining.method import ContrastMethod

SLICES = 16  # compared each time, evenly spread over the validation subjects
SHOWN = 4
SEED = 20_25


def validate(method: ContrastMethod, slices: SlicePairs) -> Validation:
    """Mean absolute error in [-1,1] units, and a picture of a few slices.

    The same slices and the same noise every time. A row shows source, synthetic image and
    acquired target.
    """
    device = next(method.networks.parameters()).device
    errors, rows = [], []
    for k, n in enumerate(np.linspace(0, len(slices) - 1, min(SLICES, len(slices)), dtype=int)):
        first, end = slices.around(n, method.neighbors)
        run = torch.cat([_canvas(slices.a[m]) for m in range(first, end)]).to(device)
        target = _canvas(slices.b[n]).to(device)
        generator = torch.Generator().manual_seed(SEED + k)
        place = slice(n - first, n - first + 1)
        source, synthetic = run[place], method.synthesize(run, generator)[place].float()
        errors.append(float((synthetic - target).abs().mean()))
        rows.append(torch.cat([source, synthetic, target], dim=3)[0])  # (1,h,3w)
    shown = [rows[k] for k in np.linspace(0, len(rows) - 1, min(SHOWN, len(rows)), dtype=int)]
    grid = ((_stacked(shown) + 1) / 2).clamp(0, 1).expand(3, -1, -1).cpu()
    return Validation(float(np.mean(errors)), grid, "source, synthetic, acquired")


def _canvas(image: np.ndarray) -> Tensor:
    """(H,W) -> (1,1,h,w), padded with background to what the networks accept."""
    pad = [-n % SIZE_MULTIPLE for n in image.shape]
    return F.pad(torch.from_numpy(image)[None, None], (0, pad[1], 0, pad[0]), value=-1.0)


def _stacked(rows: list[Tensor]) -> Tensor:
    """Rows (1,h,w) of different widths below one another."""
    width = max(row.shape[2] for row in rows)
    return torch.cat([F.pad(row, (0, width - row.shape[2]), value=-1.0) for row in rows], dim=1)
