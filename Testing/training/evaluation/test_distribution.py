"""FID, KID and MS-SSIM against torchmetrics; errors tissue by tissue against direct computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.label_map import LabelMap
from MambaSynthTraining.evaluation.distribution import distances, frechet, kernel_distance
from MambaSynthTraining.evaluation.measures import ms_ssim
from MambaSynthTraining.evaluation.tissues import tissue_means, tissue_row

AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(3)
    mixed = rng.standard_normal((8, 8))
    return rng.standard_normal((60, 8)) @ mixed, rng.standard_normal((50, 8)) * 1.5 + 0.3


def test_the_frechet_distance_is_torchmetrics(features):
    from torchmetrics.image.fid import _compute_fid

    ours, theirs = features
    moments = [
        value
        for x in (ours, theirs)
        for value in (torch.tensor(x.mean(0)), torch.tensor(np.cov(x, rowvar=False)))
    ]
    assert frechet(ours, theirs) == pytest.approx(float(_compute_fid(*moments)), rel=1e-6)
    assert frechet(ours, ours) == pytest.approx(0, abs=1e-8)


def test_the_kernel_distance_is_torchmetrics(features):
    from torchmetrics.image.kid import poly_mmd

    ours, theirs = (x[:50] for x in features)
    expected = poly_mmd(torch.tensor(theirs), torch.tensor(ours))
    assert kernel_distance(ours, theirs) == pytest.approx(float(expected), rel=1e-6)


def test_slices_of_one_set_are_nearer_than_those_of_two(features):
    ours, theirs = features
    one, two = (
        distances([np.stack(pair) for pair in zip(a, b, strict=True)])
        for a, b in ((ours[:30], ours[30:]), (ours[:30], theirs[:30]))
    )
    assert one["kid"] < two["kid"] and one["fid"] < two["fid"]


def test_a_single_slice_is_no_set(features):
    assert distances([np.stack([features[0][0], features[1][0]])]) == {}


@pytest.mark.parametrize(("pixels", "scales"), [(40, 2), (100, 4), (176, 5)])
def test_ms_ssim_takes_as_many_scales_as_fit(pixels, scales):
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    rng = np.random.default_rng(1)
    reference = np.kron(rng.standard_normal((pixels // 4, pixels // 4)), np.ones((4, 4)))
    image = reference + 0.3 * rng.standard_normal(reference.shape)
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333][:scales])
    y, r = (torch.tensor(x, dtype=torch.float32)[None, None] for x in (image, reference))
    expected = multiscale_structural_similarity_index_measure(
        y, r, data_range=5.0, betas=tuple(weights / weights.sum()), normalize="relu"
    )
    assert ms_ssim(image, reference, 5.0) == pytest.approx(float(expected), rel=1e-6)
    assert ms_ssim(reference, reference, 5.0) == pytest.approx(1, abs=1e-5)
    assert ms_ssim(-reference, reference, 5.0) < 0.05


def test_an_error_is_told_where_it_is_and_a_gain_costs_nothing():
    rng = np.random.default_rng(0)
    acquired = Volume(rng.uniform(500, 1000, (12, 12, 8)), AFFINE, "T2w")
    numbers = np.zeros(acquired.shape, np.float32)
    numbers[:6], numbers[6:9], numbers[9, 0, 0] = 1, 2, 3
    labels = LabelMap(Volume(numbers, AFFINE), {1: "white", 2: "gray", 3: "speck"})
    same = tissue_row("p", 0, acquired.with_array(3 * acquired.array - 7), acquired, labels)
    assert same.correlation == pytest.approx(1)
    assert same.errors == pytest.approx({"white": 0, "gray": 0}, abs=1e-3)  # a speck is no tissue
    wrong = acquired.array.copy()
    wrong[:6] += 100 * rng.standard_normal(wrong[:6].shape)
    found = tissue_row("p", 0, acquired.with_array(wrong), acquired, labels)
    assert found.errors["white"] > 3 * found.errors["gray"]


def test_a_contrast_that_is_not_flipped_has_a_negative_correlation():
    acquired = Volume(np.random.default_rng(0).uniform(1, 2, (6, 6, 6)), AFFINE)
    assert tissue_row("p", 0, acquired.with_array(-acquired.array), acquired, None).correlation < 0
    empty = tissue_row("p", 0, acquired.with_array(np.zeros((6, 6, 6))), acquired, None)
    assert (empty.correlation, empty.errors) == (0.0, {})


def test_means_are_over_subjects_not_over_seeds():
    acquired = Volume(np.random.default_rng(0).uniform(1, 2, (6, 6, 6)), AFFINE)
    up, down = acquired, acquired.with_array(-acquired.array)
    rows = [tissue_row("p", seed, up, acquired, None) for seed in range(3)]
    rows.append(tissue_row("q", 0, down, acquired, None))
    assert tissue_means(rows)["r"] == pytest.approx(0, abs=1e-6)
