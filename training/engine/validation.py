"""How near the averaged network comes to slices it is not trained on."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.slices import SlicePairs
from training.engine.state import State
from training.recipe import SIZE_MULTIPLE

SLICES = 16  # compared each time, evenly spread over the validation subjects
SHOWN = 4
SEED = 20_25


def validate(state: State, slices: SlicePairs) -> tuple[float, Tensor]:
    """Mean absolute error in [-1,1] units, and an image (3,h,w) in [0,1] of a few slices.

    The same slices and the same noise every time. A row shows source, synthetic image and
    acquired target.
    """
    device = next(state.exported.parameters()).device
    errors, rows = [], []
    with state.as_exported() as method:
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
    grid = ((_stacked(shown) + 1) / 2).clamp(0, 1)
    return float(np.mean(errors)), grid.expand(3, -1, -1).cpu()


def _canvas(image: np.ndarray) -> Tensor:
    """(H,W) -> (1,1,h,w), padded with background to what the networks accept."""
    pad = [-n % SIZE_MULTIPLE for n in image.shape]
    return F.pad(torch.from_numpy(image)[None, None], (0, pad[1], 0, pad[0]), value=-1.0)


def _stacked(rows: list[Tensor]) -> Tensor:
    """Rows (1,h,w) of different widths below one another."""
    width = max(row.shape[2] for row in rows)
    return torch.cat([F.pad(row, (0, width - row.shape[2]), value=-1.0) for row in rows], dim=1)
