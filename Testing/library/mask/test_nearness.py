"""Where coronal and sagittal slices of a head count: near its brain, which the mask model finds."""

from __future__ import annotations

import numpy as np
import pytest

from MambaSynthLib.engine import Engine
from MambaSynthLib.image.planes import PLANES
from MambaSynthLib.image.targets import Z
from MambaSynthLib.mask.engine import MaskEngine
from MambaSynthLib.mask.nearness import MODEL, STEPS_MM, near_brain
from MambaSynthLib.model.registry import find_model
from Testing.analytic_heads import analytic_head
from Testing.library.image.test_overlap import SIZES, untrained
from Testing.library.image.test_planes import cut_in
from Testing.library.mask.test_mask_engine import threshold_package

SPACING = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def head():
    return analytic_head(SPACING)["T1w"]


@pytest.fixture(scope="module")
def near(head):
    return near_brain(head)


@pytest.fixture(scope="module")
def engine(tmp_path_factory, make_package):
    folder = tmp_path_factory.mktemp("models") / "near"
    package = untrained(make_package, folder, SIZES | {"interval": 1}, grid={"planes": "all"})
    return Engine(package, "cpu", "torch")


def test_the_brain_counts_in_full_and_what_is_far_from_it_nothing(head, near):
    brain = MaskEngine(find_model(MODEL), "cpu").find(head).brain.array > 0
    assert (near[brain] == 1).all() and near.shape == head.shape
    assert set(np.unique(near)) == {0, 0.25, 0.5, 0.75, 1}
    for axis in range(3):
        reached = np.flatnonzero((near > 0).any(axis=tuple(a for a in range(3) if a != axis)))
        inside = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
        beyond = inside[0] - reached[0], reached[-1] - inside[-1]
        assert max(beyond) == STEPS_MM[-1] / SPACING[axis]
    assert (near[head.array > 0] == 0).mean() > 0.1  # the lower part of the face


def test_it_is_nowhere_where_no_brain_is_found(head, tmp_path, monkeypatch):
    nowhere = MaskEngine(threshold_package(tmp_path / "m", brain=5, head=5), "cpu")
    monkeypatch.setattr("MambaSynthLib.mask.nearness._mask_engine", lambda: nowhere)
    assert near_brain(head) is None


def test_a_head_is_the_mean_over_planes_near_its_brain_and_axial_elsewhere(head, near, engine):
    made = engine.synthesize({"T1w": head}, pixel_mark=False)
    assert made.provenance.planes == ", ".join(PLANES)
    single = [cut_in(engine, plane, head) for plane in PLANES]
    images = np.array([one.volumes["T2w"].array for one in single])
    widths = np.array([one.spreads["T2w"].array for one in single])
    assert np.abs(images[0] - images[1]).max() > 1
    shares = np.stack([np.ones_like(near), near, near]) / (1 + 2 * near)
    mean = (shares * images).sum(axis=0)
    np.testing.assert_allclose(made.volumes["T2w"].array, mean, atol=2e-3)
    apart = (shares * (images - mean) ** 2).sum(axis=0)
    expected = np.sqrt((shares * widths**2).sum(axis=0) + Z**2 * apart)
    np.testing.assert_allclose(made.spreads["T2w"].array, expected, rtol=1e-3, atol=2e-2)
    far = near == 0
    np.testing.assert_array_equal(made.volumes["T2w"].array[far], images[0][far])


def test_a_brain_without_its_skull_needs_no_mask(engine, monkeypatch):
    def unasked(volume):
        raise AssertionError("the mask model was asked")

    monkeypatch.setattr("MambaSynthLib.engine.near_brain", unasked)
    brain = analytic_head(SPACING, skull=False)["T1w"]
    made = engine.synthesize({"T1w": brain}, pixel_mark=False)
    mean = np.mean([cut_in(engine, p, brain).volumes["T2w"].array for p in PLANES], axis=0)
    np.testing.assert_allclose(made.volumes["T2w"].array, mean, atol=1e-3)
