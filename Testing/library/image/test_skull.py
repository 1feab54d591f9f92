"""Whether a skull is there, told by what it looks like and not by size alone."""

from __future__ import annotations

import numpy as np
import pytest

from MambaSynthLib.image.head import air_around
from MambaSynthLib.image.skull import has_skull, liters, section_cm2
from MambaSynthLib.image.suitability import taken_for
from MambaSynthLib.image.volume import Volume
from Testing.analytic_heads import analytic_head
from Testing.library.test_orientations import ORIENTATIONS, stored

CONTRASTS = ("T1w", "T2w")


def shows_skull(volume):
    return has_skull(volume, ~air_around(volume))


def upper(volume, share=0.5):
    """What lies above ``share`` of the volume's height."""
    first = int(share * volume.shape[2])
    affine = volume.affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    return Volume(np.ascontiguousarray(volume.array[:, :, first:]), affine, volume.name)


def smaller(volume, factor):
    return Volume(volume.array, volume.affine @ np.diag([factor, factor, factor, 1]), volume.name)


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 4.0), (2.0, 2.0, 2.0)])
def test_a_childs_head_and_the_upper_part_of_a_head_have_a_skull(contrast, spacing):
    head = analytic_head(spacing)[contrast]
    part = smaller(upper(head), 0.8)
    shown = ~air_around(part)
    assert liters(part, shown) < 1 and section_cm2(part, shown) < 200  # as small as brains are
    assert all(map(shows_skull, (head, upper(head), smaller(head, 0.7), part)))
    assert taken_for(part, shown).startswith("a whole head, ")


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("factor", [0.7, 1.0])
def test_a_brain_has_none_whatever_its_size(contrast, factor):
    brain = analytic_head((2.0, 2.0, 2.0), skull=False)[contrast]
    assert not shows_skull(smaller(brain, factor)) and not shows_skull(upper(brain))


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS[::7])
def test_it_does_not_depend_on_how_the_volume_is_stored(axes, flips):
    head, brain = (upper(analytic_head((2.0, 2.0, 2.0), skull)["T1w"]) for skull in (True, False))
    assert shows_skull(stored(head, axes, flips)) and not shows_skull(stored(brain, axes, flips))


def test_where_fat_is_suppressed_the_size_tells():
    head = analytic_head((2.0, 2.0, 2.0))["T1w"]
    brain = analytic_head((2.0, 2.0, 2.0), skull=False)["T1w"]
    faint = np.where(brain.array > 0, brain.array, 0.1 * head.array).astype(np.float32)
    whole = np.ones(head.shape, bool)  # 6.7 l
    assert has_skull(head.with_array(faint), whole)
    assert not has_skull(head.with_array(faint), brain.array > 0)


def test_a_volume_without_air_or_without_a_head_is_judged_by_size():
    volume = analytic_head((2.0, 2.0, 2.0))["T1w"]
    assert has_skull(volume, np.ones(volume.shape, bool))
    assert not has_skull(volume, np.zeros(volume.shape, bool))
