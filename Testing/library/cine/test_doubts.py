"""Hearts pass without a word, what is no beating heart is doubted."""

import numpy as np
import pytest

from MambaSynthLib.cine.doubts import with_doubt
from MambaSynthLib.image.cine import Cine
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.phantom.heart import computed_heart
from Testing.analytic_heads import analytic_head
from Testing.library.cine_hearts import beat, oblique

SHAPE = (40, 36, 4)


def noise(seed, shape=SHAPE):
    return np.random.default_rng(seed).normal(0, 20, shape)


def cine_of(arrays, affine=None):
    affine = oblique() if affine is None else affine
    frames = tuple(Volume(np.asarray(array, np.float32), affine, "cine") for array in arrays)
    return Cine(frames, tuple(100.0 * number for number in range(len(frames))), "cine")


def a_head():
    volume = analytic_head((1.5, 1.5, 3.0))["T1w"]
    moved = (np.roll(volume.array, shift, 1) for shift in range(3))
    return cine_of(moved, volume.affine)


def a_mask():
    rows, columns = np.indices(SHAPE[:2])
    distance = np.hypot(rows - 20, columns - 18)[..., None].repeat(SHAPE[2], 2)
    return cine_of(100.0 * (distance < radius) + 50 * (distance < 15) for radius in (9, 7, 5))


def a_still_heart():
    still = computed_heart(2).frames[0]
    return cine_of((still.array + noise(seed, still.shape) for seed in range(3)), still.affine)


@pytest.mark.parametrize("cine", [computed_heart(6), computed_heart(2)], ids=["cine", "two frames"])
def test_a_beating_heart_passes_without_a_word(cine):
    assert with_doubt(cine) is cine


def test_acquired_views_and_a_tiny_heart_pass(shared):
    for file in sorted((shared / "data/heart_cine_bivme").glob("*.nii.gz")):
        assert with_doubt(read_cine(file)).notes == read_cine(file).notes
    tiny = cine_of(frame.array for frame in beat())
    assert with_doubt(tiny).notes == ()


@pytest.mark.parametrize(
    ("cine", "looks"),
    [(cine_of(noise(seed) for seed in range(3)), "looks like noise"),
     (a_head(), "looks like a head"),
     (a_mask(), "looks like a mask or label map"),
     (a_still_heart(), "nothing beats"),
     (cine_of(np.where(frame.array < 150, -1000, frame.array) for frame in beat()), "like CT")],
    ids=["noise", "head", "mask", "still", "CT"],
)  # fmt: skip
def test_what_is_no_beating_heart_is_doubted_with_its_remedy(cine, looks):
    (note,) = with_doubt(cine).notes
    assert note.startswith("gate, doubtful: ") and looks in note
    assert note.endswith("give a cine of a beating heart")
