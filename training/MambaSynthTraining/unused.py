"""The parts of a recipe that a run has no use for, so that nobody believes in them."""

from __future__ import annotations

from MambaSynthTraining.data.batches import TrainingData
from MambaSynthTraining.recipe import Recipe


def unused_parts(recipe: Recipe, data: TrainingData) -> list[str]:
    """Their keys, each with the reason, for people."""
    found = data.unused(recipe)
    if recipe.optimization.lr_end and recipe.optimization.decay == "constant":
        found.append("optimization.lr_end (the decay is constant)")
    changed = recipe.augmentation != type(recipe.augmentation)()
    if changed and all(stage.augmentation for stage in recipe.stages):
        found.append("augmentation (every stage has its own)")
    return found
