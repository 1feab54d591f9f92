"""The mask model that comes with MambaSynth, on a head from formulas that it never saw."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.mask.engine import MaskEngine
from MambaSynthLib.model.package import WEIGHTS, shipped_models
from MambaSynthLib.model.registry import mask_model
from Testing.analytic_heads import analytic_head

MOST_BYTES, MOST_SECONDS = 300_000, 5.0
LEAST = 0.9  # Dice; the computed head has no tentorium, and its skull is nobody's
CLOSING = 4  # cubes


@pytest.fixture(scope="module")
def engine() -> MaskEngine:
    return MaskEngine(mask_model(), "cpu")


def dice(mask: Volume, truth: np.ndarray) -> float:
    found = mask.array > 0
    return 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))


def brain_of(spacing: tuple[float, float, float]) -> np.ndarray:
    return analytic_head(spacing, skull=False)["T1w"].array != 0


def head_of(spacing: tuple[float, float, float]) -> np.ndarray:
    bright = analytic_head(spacing)["T1w"].array > 150
    closed = ndimage.binary_closing(np.pad(bright, 12), iterations=CLOSING)[12:-12, 12:-12, 12:-12]
    return ndimage.binary_fill_holes(closed)


def test_it_is_small_and_says_whom_it_knows_and_whom_not(engine):
    package = engine.package
    assert package.folder.parent == shipped_models()
    assert (package.folder / WEIGHTS).stat().st_size < MOST_BYTES
    assert package.card.license == "CC-BY-SA-4.0" and len(package.card.extra["attribution"]) > 3
    left_out = package.card.trained_on.partition("Left out: ")[2]
    assert all(person in left_out for person in ("ms03", "ms19", "mni", "ixi048", "ixi057"))


@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.0, 1.0, 6.0)])
def test_brain_and_head_of_a_computed_head_are_found(engine, contrast, spacing):
    masks = engine.find(analytic_head(spacing)[contrast])
    assert dice(masks.brain, brain_of(spacing)) > LEAST
    assert dice(masks.head, head_of(spacing)) > LEAST
    assert masks.shows == "a whole head"


@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
def test_all_that_a_stripped_brain_shows_is_brain_and_head(engine, contrast):
    spacing = (2.0, 2.0, 2.0)
    masks = engine.find(analytic_head(spacing, skull=False)[contrast])
    assert dice(masks.brain, brain_of(spacing)) > LEAST
    assert dice(masks.head, brain_of(spacing)) > LEAST
    assert masks.shows == "a brain without its skull"


def test_turned_axes_give_the_same_mask(engine):
    volume = analytic_head((2.0, 2.0, 2.0))["T1w"]
    turn = np.array([[0, 0, -1, volume.shape[0] - 1], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    turned = Volume(volume.array[::-1].transpose(2, 1, 0), volume.affine @ turn, "turned")
    expected = engine.find(volume).brain.array
    np.testing.assert_array_equal(
        engine.find(turned).brain.array.transpose(2, 1, 0)[::-1], expected
    )


def test_a_large_head_takes_less_than_five_seconds_of_processor_time(engine):
    coarse = analytic_head((2.0, 2.0, 2.0))["T1w"]
    array = coarse.array.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    volume = Volume(array, coarse.affine @ np.diag([0.5, 0.5, 0.5, 1]), "1 mm")
    began = time.process_time()
    engine.find(volume)
    assert time.process_time() - began < MOST_SECONDS
