"""What comes of hearts of every kind: many slices or one, much motion or none, the wrong ES.

The hearts are computed, so the frame half-way is known.
"""

import numpy as np
import pytest

from MambaSynthLib.cine.engine import CineEngine
from MambaSynthLib.cine.judgment import SINGLE_SLICE, judge_pair
from MambaSynthLib.cine.options import CineOptions
from MambaSynthLib.cine.timing import Timing
from MambaSynthLib.image.volume import Volume
from Testing.library.cine_hearts import heart, oblique, random_package

OPTIONS = CineOptions(steps=60, timing=Timing("linear"))
ED, HALF, ES = 5.0, 4.0, 3.0  # radii in pixels of 2 mm
NOISE = 6.0  # of an intensity range of 360
THIN_MM = 3.0


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return CineEngine(random_package(tmp_path_factory.mktemp("models") / "tiny-cine"), "cpu")


def stack(radius, slices=4, thin=False, seed=None):
    """A ventricle in so many slices of 8 mm, or thin ones; with noise where there is a seed."""
    clean = heart(radius, "heart", (20, 18, slices))
    affine = oblique()
    if thin:
        affine[:3, 2] *= THIN_MM / 8
    noise = np.random.default_rng(seed).normal(0, NOISE, clean.shape) if seed is not None else 0
    return Volume(clean.array + noise, affine, "heart")


def error(volume, other):
    return float(np.sqrt(np.mean((volume.array - other.array) ** 2)))


def blend(first, last):
    return first.with_array((first.array + last.array) / 2)


@pytest.mark.parametrize(
    ("slices", "thin"), [(1, False), (2, False), (6, False), (14, False), (32, True)]
)
def test_a_stack_of_any_number_of_slices_moves_instead_of_fading(engine, slices, thin):
    ed, half, es = (stack(radius, slices, thin) for radius in (ED, HALF, ES))
    made = engine.synthesize(ed, es, [0.5], options=OPTIONS, with_fields=True)
    assert error(made.frames[0], half) < 0.5 * min(error(blend(ed, es), half), error(ed, half))
    assert np.abs(made.fields).max() > 0.5  # voxels
    assert made.provenance.warnings == ((SINGLE_SLICE,) if slices == 1 else ())


def test_a_single_slice_says_what_it_cannot_show(engine):
    said = engine.synthesize(stack(ED, 1), stack(ES, 1), [0.5], options=OPTIONS).provenance
    assert "through the slice" in " ".join(said.warnings)
    assert SINGLE_SLICE not in engine.warnings(stack(ED, 2), stack(ES, 2))


def test_a_fifth_of_the_motion_is_followed_and_nothing_is_invented(engine):
    near = ED - 0.2 * (ED - ES)
    ed, es = stack(ED, seed=1), stack(near, seed=2)
    made = engine.synthesize(ed, es, [0.5], options=OPTIONS, with_fields=True)
    half = stack((ED + near) / 2)
    assert error(made.frames[0], half) < error(blend(ed, es), half) + 0.5
    assert error(made.frames[0], half) < error(ed, half)
    assert np.abs(made.fields).max() < 1.5


def test_without_motion_the_frames_are_the_heart_itself_with_less_noise_and_that_is_said(engine):
    ed, es = stack(ED, seed=1), stack(ED, seed=2)
    made = engine.synthesize(ed, es, [0.25, 0.5], options=OPTIONS, with_fields=True)
    for frame in made.frames:
        assert error(frame, stack(ED)) < 0.9 * error(ed, stack(ED))
    assert np.abs(made.fields).mean() < 0.2
    assert any("little more than noise" in warning for warning in made.provenance.warnings)


def test_equal_frames_are_copied_and_that_is_said(engine):
    made = engine.synthesize(stack(ED), stack(ED), [0.25, 0.5], options=OPTIONS)
    assert all(np.array_equal(frame.array, stack(ED).array) for frame in made.frames)
    assert any("identical" in warning for warning in made.provenance.warnings)


def test_swapped_frames_give_the_same_way_backwards_and_that_is_said(engine):
    made = engine.synthesize(stack(ES), stack(ED), [0.5], options=OPTIONS)
    assert any("swapped" in warning for warning in made.provenance.warnings)
    half, ends = stack(HALF), blend(stack(ED), stack(ES))
    assert error(made.frames[0], half) < 0.5 * error(ends, half)


def test_another_persons_es_is_told_and_neither_dark_nor_bright_things_are_made(engine):
    ed = stack(ED)
    turned = np.flip(stack(ES).array, (0, 1))
    other = ed.with_array(np.random.default_rng(0).permutation(turned.ravel()).reshape(ed.shape))
    made = engine.synthesize(ed, other, [0.5], options=OPTIONS)
    assert any("different people" in warning for warning in made.provenance.warnings)
    low, high = min(ed.array.min(), other.array.min()), max(ed.array.max(), other.array.max())
    assert low - 1 <= made.frames[0].array.min() and made.frames[0].array.max() <= high + 1


def test_no_two_real_people_are_taken_for_one(shared):
    """The middle slices of 45 patients, cut around the heart, where people are most alike."""
    stacks = np.load(shared / "data/heart_sax/scd_lvsegs.npz")
    middles = [(first + last) // 2 - 1 for first, last in stacks["caseIndices"]]
    hearts = [Volume(stacks["images"][n].T[..., None], oblique(), f"{n}") for n in middles]
    pairs = [(a, b) for n, a in enumerate(hearts) for b in hearts[:n]]
    assert all("different people" in " ".join(judge_pair(a, b)) for a, b in pairs)


def test_another_persons_heart_that_looks_alike_is_taken_for_the_same_one(engine):
    """A limit: nothing in the two images tells."""
    ed, es = stack(ED), stack(ES)
    alike = ed.with_array(np.flip(es.array, (0, 1)))
    assert engine.synthesize(ed, alike, [0.5], options=OPTIONS).provenance.warnings == ()
