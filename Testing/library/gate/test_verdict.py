"""What is said of computed heads, as they are and spoiled."""

import numpy as np
import pytest

from MambaSynthLib.gate.rules import Finding
from MambaSynthLib.gate.verdict import Verdict, examine
from MambaSynthLib.image.volume import Volume
from Testing.analytic_heads import analytic_head

MADE = (1.5, 1.5, 3.0)


def head(contrast="T1w", skull=True):
    return analytic_head(MADE, skull)[contrast]


def with_axes(volume, *codes):
    """The same voxels under an affine whose axes, R, A, S of old, point to ``codes``."""
    directions = {c: (n, 1 if c in "RAS" else -1) for n, pair in enumerate(("RL", "AP", "SI"))
                  for c in pair}  # fmt: skip
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for axis, code in enumerate(codes):
        row, sign = directions[code]
        turn[row, axis] = sign
    return Volume(volume.array, turn @ volume.affine, volume.name)


@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
@pytest.mark.parametrize("skull", [True, False])
def test_an_upright_head_or_brain_fits_its_own_contrast(contrast, skull):
    verdict = examine(head(contrast, skull), contrast)
    assert verdict.answer == "fits", verdict.sentence()


def test_a_mirrored_head_cannot_be_told_from_another():
    assert examine(with_axes(head(), "L", "A", "S"), "T1w").answer == "fits"


@pytest.mark.parametrize("given", ["T1w", "T2w"])
def test_a_head_of_another_contrast_is_refused_and_named(given):
    wanted = "T2w" if given == "T1w" else "T1w"
    verdict = examine(head(given), wanted)
    assert verdict.answer == "refused"
    assert verdict.sentence() == (
        f"looks like a {given} image; give the {wanted} image, or choose a model for what this is"
    )


def test_a_contrast_that_the_gate_does_not_know_is_not_judged():
    assert examine(head("T2w"), "T2starw").answer == "fits"


@pytest.mark.parametrize("codes", ["RPI", "RAI", "RSA", "ARS", "SAR"])
def test_wrong_axis_labels_are_seen(codes):
    verdict = examine(with_axes(head(), *codes), "T1w")
    assert verdict.answer != "fits" and verdict.findings[0].question == "orientation"


def test_a_head_upside_down_is_told_where_its_top_points():
    verdict = examine(with_axes(head(), "R", "P", "I"), "T1w")
    assert "by its affine the top of the head points down, the face " in verdict.sentence()


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_voxel_size_in_another_unit_is_refused(factor):
    volume = head()
    scaled = Volume(volume.array, np.diag([factor] * 3 + [1]) @ volume.affine, volume.name)
    verdict = examine(scaled, "T1w")
    assert verdict.answer == "refused" and "no adult's head or brain measures" in verdict.sentence()


def test_an_inverted_head_does_not_fit():
    volume = head()
    assert examine(volume.with_array(volume.array.max() - volume.array), "T1w").answer != "fits"


def test_noise_does_not_fit():
    noise = np.random.default_rng(0).normal(400, 100, (90, 100, 80))
    verdict = examine(Volume(noise, np.diag([2, 2, 2, 1])), "T1w")
    assert verdict.answer == "refused" and verdict.findings[0].question in ("kind", "anatomy")


def test_the_surest_finding_decides_and_comes_first():
    doubt, certain = (Finding("kind", f"looks {n}", "do it", n == 1) for n in (0, 1))
    assert Verdict("x", (doubt,)).answer == "doubtful"
    assert Verdict("x", (certain, doubt)).answer == "refused"
    assert Verdict("x").sentence() == "fits"
