"""The parts of CUT and SelfRDB against their formulas; that they train is in the other files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from baseline_twins import error, toy_pair, train, twin
from torch.nn.functional import cross_entropy

from MambaSynthTraining.contrast.rivals.bridge import Bridge
from MambaSynthTraining.contrast.rivals.cut import PatchHeads, patch_loss

# --- the bridge ---------------------------------------------------------------------------------


def test_a_bridge_leads_from_the_target_to_the_source_with_ever_more_noise():
    bridge = Bridge()
    target, source = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), -0.25)
    eps = torch.ones_like(target)
    at = [bridge.noised(target, source, torch.tensor([t]), eps) for t in (0, bridge.steps)]
    torch.testing.assert_close(at[0], target)
    torch.testing.assert_close(at[1], source + float(bridge.std[-1]))
    assert np.all(np.diff(bridge.std) > 0) and np.all(np.diff(bridge.of_target) < 0)
    assert bridge.std[-1] == pytest.approx(np.sqrt(bridge.betas.sum()))
    np.testing.assert_allclose(bridge.betas, bridge.betas[::-1])
    assert bridge.betas[0] == 0 and bridge.betas[1] == pytest.approx(0.1)


@pytest.mark.parametrize("t", [1, 2, 6, 10])
def test_a_step_back_has_the_distribution_of_the_bridge(t):
    """Mean and deviation of 200,000 draws."""
    bridge, count = Bridge(), 200_000
    generator = torch.Generator().manual_seed(t)
    target, source = torch.full((count, 1, 1, 1), 0.8), torch.full((count, 1, 1, 1), -0.3)
    eps, back = torch.randn(2, count, 1, 1, 1, generator=generator)
    level = torch.full((count,), t)
    noisy = bridge.noised(target, source, level, eps)
    before = bridge.previous(noisy, target, source, level, back)
    kept = bridge.of_target[t - 1]
    assert float(before.mean()) == pytest.approx(kept * 0.8 - (1 - kept) * 0.3, abs=6e-3)
    assert float(before.std()) == pytest.approx(bridge.std[t - 1], abs=6e-3)


@pytest.mark.parametrize("wrong", [{"steps": 1}, {"gamma": 0.0}, {"beta_start": -1.0}])
def test_a_bridge_that_leads_nowhere_is_refused(wrong):
    with pytest.raises(ValueError, match="leads nowhere"):
        Bridge(**wrong)


def test_selfrdb_learns_pairs_and_says_that_it_needs_them():
    method, pairs = twin("selfrdb"), toy_pair(16, 1)
    assert method.needs_pairs
    before = error(method, pairs)
    train(method, pairs, 40)
    assert error(method, pairs) < 0.7 * before


# --- contrasted patches -------------------------------------------------------------------------


def test_a_patch_is_told_apart_from_those_of_its_own_image_alone():
    generator = torch.Generator().manual_seed(0)
    queries, keys = (
        torch.nn.functional.normalize(torch.randn(2, 5, 3, generator=generator), dim=2)
        for _ in range(2)
    )
    expected = torch.stack(
        [
            cross_entropy((query @ keys[b].T / 0.07)[None], torch.tensor([s]))
            for b in range(2)
            for s, query in enumerate(queries[b])
        ]
    ).mean()
    torch.testing.assert_close(patch_loss(queries, keys, 0.07), expected)
    assert patch_loss(keys, keys, 0.07) < 0.2 * expected


def test_the_keys_carry_no_gradient():
    keys = torch.randn(1, 4, 3, requires_grad=True)
    queries = torch.randn(1, 4, 3, requires_grad=True)
    patch_loss(queries, keys, 0.07).backward()
    assert keys.grad is None and queries.grad is not None


def test_a_head_sees_the_given_places_and_gives_vectors_of_length_one():
    heads = PatchHeads([2], 4)
    features = torch.randn(1, 2, 3, 3)
    where = torch.tensor([7, 0])
    (found,) = heads([features], [where])
    torch.testing.assert_close(found.norm(dim=2), torch.ones(1, 2))
    alone = torch.nn.functional.normalize(heads.layers[0](features[0, :, 2, 1]), dim=0)
    torch.testing.assert_close(found[0, 0], alone)


def test_cut_has_one_direction_and_holds_the_structure_of_its_source():
    """On unpaired toys the synthetic image follows its source, not a stranger."""
    method, pairs = twin("cut"), toy_pair(24, 1)
    assert not method.trains_back and not method.needs_pairs
    shuffled = pairs[0], pairs[1].roll(7, 0)
    history = train(method, shuffled, 40)
    first, last = (sum(row["nce_source"] for row in rows) for rows in (history[:5], history[-5:]))
    assert last < 0.8 * first


@pytest.mark.parametrize("wrong", [{"patches": 1}, {"temperature": 0.0}])
def test_options_that_contrast_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="contrast nothing"):
        twin("cut", options=wrong)


def test_fast_cut_has_no_identity_pass():
    pairs = toy_pair(4, 1)
    assert "nce_target" in train(twin("cut"), pairs, 1)[0]
    assert "nce_target" not in train(twin("cut", preset="fast"), pairs, 1)[0]
