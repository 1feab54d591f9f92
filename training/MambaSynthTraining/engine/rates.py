"""The learning rate as a function of the iteration, so that a resumed run needs no state for it."""

from __future__ import annotations

import math

from MambaSynthTraining.recipe import Recipe


def learning_rate(start: float, recipe: Recipe, iteration: int) -> float:
    """``start`` throughout; or from restart to restart down to ``lr_end``, along a cosine, or
    along a line over the second half.
    """
    decay, end = recipe.optimization.decay, recipe.optimization.lr_end
    first, last = recipe.phase_of(iteration)
    progress = (iteration - first) / (last - first)
    if decay == "cosine":
        return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
    if decay == "linear":
        return start + (end - start) * max(0.0, 2 * progress - 1)
    return start
