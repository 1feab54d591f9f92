"""Which slices a network sees and speaks of, and what several calls say of one slice."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import ModelError
from MambaSynthLib.image.neighbors import OverlapMean, own_and_neighbors
from MambaSynthLib.model.package import read_package

SIZES = {
    "ngf": 4, "n_blocks": 1, "n_attentions": 2, "input_channels": 1, "output_channels": 1,
    "neighbors": 2, "skips": 1, "overlap": 1,
}  # fmt: skip


def estimates(calls, o=1, size=(2, 3)):
    """What call n says of slice n + k: 100 n + k, everywhere."""
    offsets = [0, *range(-o, 0), *range(1, o + 1)]
    values = [[100 * n + k for k in offsets] for n in calls]
    return np.array(values, np.float32)[:, :, None, None] * np.ones(size, np.float32)


def averaged(computed, batch, o=1):
    """Slice -> its mean, computed so many slices at a time."""
    overlapping, found = OverlapMean(o, np.array(computed)), {}
    for start in range(0, len(computed), batch):
        chosen = np.array(computed[start : start + batch])
        slices, means = overlapping.add(chosen, estimates(chosen, o))
        found |= {int(n): mean for n, mean in zip(slices, means, strict=True)}
    return found


def test_estimates_lie_where_their_source_slices_do():
    assert own_and_neighbors(2, 1) == [0, 2, 3]
    assert own_and_neighbors(1, 0) == [0]


def test_a_slice_is_the_mean_of_what_the_three_calls_around_it_say():
    found = averaged([4, 5, 6, 7], 4)
    assert found[5][0, 0] == pytest.approx(((400 + 1) + 500 + (600 - 1)) / 3)
    assert found[4][0, 0] == pytest.approx((400 + 500 - 1) / 2)  # nobody was asked for slice 3


def test_even_and_odd_calls_count_alike_where_they_are_weighted():
    overlapping = OverlapMean(1, np.array([4, 5, 6]), binomial=True)
    slices, means = overlapping.add(np.array([4, 5, 6]), estimates([4, 5, 6]))
    assert slices.tolist() == [4, 5, 6]
    assert means[1][0, 0] == pytest.approx(((400 + 1) + 2 * 500 + (600 - 1)) / 4)
    assert means[0][0, 0] == pytest.approx((2 * 400 + 500 - 1) / 3)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_no_bit_depends_on_the_batch_and_every_slice_comes_once(batch):
    computed = [1, 2, 3, 6, 7, 9, 10]
    whole, found = averaged(computed, 7), averaged(computed, batch)
    assert list(found) == sorted(whole) == computed
    assert all(np.array_equal(found[n], whole[n]) for n in computed)


def test_without_overlap_estimates_pass_as_they_are():
    assert averaged([2, 5], 1, o=0)[5][0, 0] == 500


# ---- through the engine


def untrained(make_package, folder, sizes=SIZES, grid=None, sampling=None):
    """A package of a network with skip connections; what is given is added to its card."""
    torch = pytest.importorskip("torch")
    from MambaSynthLib.methods.cravim.network import build

    torch.manual_seed(5)
    weights = {name: value.numpy().copy() for name, value in build(sizes).state_dict().items()}
    usual = {"axis_codes": "LPS", "in_plane_spacing_mm": 2.0, "size": [16, 16], "multiple": 8}
    once = {"timesteps": 1, "beta_min": 0.1, "beta_max": 20.0, "default_steps": 1,
            "default_samples": 1}  # fmt: skip
    return make_package(
        folder, weights, network=sizes, grid=usual | (grid or {}), sampling=once | (sampling or {})
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory, make_package):
    """A package whose network estimates the slices on either side, too."""
    return untrained(make_package, tmp_path_factory.mktemp("models") / "speaking")


@pytest.fixture(scope="module")
def engine(package):
    return Engine(package, "cpu", "torch")


def t2(engine, head, **options):
    return engine.synthesize({"T1w": head}, **options).volumes["T2w"].array


@pytest.mark.parametrize("slices", [(2, 5), (7, 8)])
def test_a_range_changes_no_bit_because_calls_beside_it_are_made(slices, engine, head):
    first, last = slices
    part, whole = t2(engine, head, slices=slices), t2(engine, head)
    assert np.array_equal(part[:, :, first:last], whole[:, :, first:last])
    outside = np.ones(len(head.array[0, 0]), bool)
    outside[first:last] = False
    assert part[:, :, outside].max() == 0 and whole[:, :, outside].max() > 0


@pytest.mark.parametrize("batch", [2, 50])
def test_the_batch_changes_no_bit_of_a_volume(batch, engine, head):
    assert np.array_equal(t2(engine, head, batch=batch), t2(engine, head, batch=1))


def test_both_backends_agree(package, engine, head):
    pytest.importorskip("onnxruntime")
    results = [t2(engine, head), t2(Engine(package, "cpu", "onnxruntime"), head)]
    np.testing.assert_allclose(results[0] / 1000, results[1] / 1000, atol=1e-4)
    assert np.ptp(results[0]) > 50


def test_progress_counts_the_calls_and_ends_with_all_of_them(engine, head):
    told = []
    t2(engine, head, slices=(3, 5), batch=1, progress=lambda *count: told.append(count))
    assert told[0] == (0, 4) and told[-1] == (4, 4)  # slices 2 to 5


def test_a_card_with_more_overlap_than_neighbors_is_refused(package, tmp_path):
    card = json.loads((package.folder / "model.json").read_text())
    card["network"]["neighbors"] = 0
    folder = tmp_path / "p"
    shutil.copytree(package.folder, folder)
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="network.overlap is 1; give 0, or with skips up to 0"):
        read_package(folder)
