"""How near a method comes to the frames of subjects it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MambaSynthTraining.data.batches import Validation
from MambaSynthTraining.data.heart_cine import HeartCine

if TYPE_CHECKING:
    from MambaSynthTraining.method import CineMethod

SUBJECTS = 2  # compared each time
FRAMES = 3  # of each one, evenly spread between ED and ES


def validate(method: CineMethod, cines: Sequence[HeartCine]) -> Validation:
    """Mean absolute error in [0,1] units, and a picture of the first subject's middle slice:
    above acquired, below synthetic frames.
    """
    model = method.frame_model(next(method.networks.parameters()).device)
    errors, pictures = [], []
    for cine in cines[:SUBJECTS]:
        order = cine.between or [cine.es]
        spread = np.linspace(0, len(order) - 1, min(FRAMES, len(order)), dtype=int)
        chosen = [order[n] for n in spread]
        fractions = [cine.fraction(index) for index in chosen]
        acquired = cine.frames[chosen]  # (F,D,H,W)
        synthetic = model.frames(cine.frames[cine.ed], cine.frames[cine.es], fractions)
        errors.append(float(np.abs(synthetic - acquired).mean()))
        pictures.append(_picture(cine, acquired, synthetic))
    return Validation(float(np.mean(errors)), pictures[0], "acquired above, synthetic below")


def _picture(
    cine: HeartCine, acquired: NDArray[np.float32], synthetic: NDArray[np.float32]
) -> Tensor:
    """(3,2h,F w)"""
    level = sum(cine.valid[0]) // 2
    rows = [np.concatenate(list(frames[:, level]), axis=1) for frames in (acquired, synthetic)]
    image = torch.from_numpy(np.concatenate(rows)).clamp(0, 1)
    return image.expand(3, -1, -1)
