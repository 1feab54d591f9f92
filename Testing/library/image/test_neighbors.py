"""Networks that see neighboring slices: the right ones, whatever batch, range or backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MambaSynthLib.backends import PlacedNetwork
from MambaSynthLib.cli import main
from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import ModelError
from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.image.neighbors import neighbors_of
from MambaSynthLib.image.preparation import Preparation
from MambaSynthLib.image.preparation import prepare as prepare_volume
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.methods.cravim.inference import CPU_STEPS, GPU_STEPS, Steps, prepare
from MambaSynthLib.methods.cravim.network import CRAViM, CRAViMConfig, build, config_of_weights

SIZES = {
    "ngf": 4, "n_blocks": 1, "n_attentions": 2, "input_channels": 2, "output_channels": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def seeing(tmp_path_factory, make_package):
    """seeing(r) -> the folder of a package whose network sees r neighbors on either side."""

    def make(r):
        torch.manual_seed(7)
        sizes = SIZES | {"neighbors": r}
        state = build(sizes).state_dict()
        state["conv1.weight"][:, 2:] *= 3  # what the neighbors show must matter
        weights = {name: value.numpy().copy() for name, value in state.items()}
        return make_package(tmp_path_factory.mktemp("models") / "seeing", weights, network=sizes)

    return make


@pytest.fixture(scope="module")
def engine(seeing):
    return Engine(seeing(1), "cpu", "torch")


def t2(engine, head, **options):
    return engine.synthesize({"T1w": head}, **options).volumes["T2w"].array


@pytest.fixture
def inputs(engine, monkeypatch):
    """What the network was given, slice by slice (C,H,W)."""
    seen, network = [], engine._network

    def watched(images):
        seen.extend(images)
        return network(images)

    monkeypatch.setattr(engine, "_network", PlacedNetwork(watched, network.places))
    return seen


# ---- which slices


@pytest.mark.parametrize(
    ("r", "expected"),
    [
        (0, [[], [], [], []]),
        (1, [[0, 1], [0, 2], [1, 3], [2, 3]]),
        (2, [[0, 0, 1, 2], [0, 0, 2, 3], [0, 1, 3, 3], [1, 2, 3, 3]]),
    ],
)
def test_neighbors_come_in_order_and_the_border_slice_stands_in_for_missing_ones(r, expected):
    assert neighbors_of(np.arange(4), r, 0, 3).tolist() == expected


def test_a_lone_slice_is_its_own_neighbor():
    assert neighbors_of(np.array([0]), 2, 0, 0).tolist() == [[0, 0, 0, 0]]


def test_the_network_is_given_the_slice_the_noise_and_the_slices_before_and_after(
    engine, head, inputs
):
    stack = prepare_volume(head, engine.card.grid, engine.card.intensity).stack()
    t2(engine, head, steps=1, batch=3)
    assert len(inputs) == 8  # slices 1 to 8 hold tissue
    for n, images in enumerate(inputs, start=1):
        assert images.shape == (4, 16, 16)
        assert np.array_equal(images[0], stack[n])
        assert np.array_equal(images[2:], stack[[n - 1, n + 1]])
    assert np.all(inputs[0][2] == EMPTY) and np.all(inputs[-1][3] == EMPTY)  # background slices


def test_at_the_ends_of_a_volume_the_border_slice_is_repeated(engine, head, inputs):
    whole = Volume(head.array[:, :, 2:6], head.affine, "cut through the brain")
    t2(engine, whole, steps=1)
    for n, place in ((0, 2), (3, 3)):
        assert np.array_equal(inputs[n][place], inputs[n][0])
    assert not np.array_equal(inputs[0][3], inputs[0][0])


@pytest.mark.parametrize("slices", [(0, 10), (2, 5), (7, 8)])
def test_a_range_changes_no_bit_because_neighbors_outside_of_it_count(slices, engine, head):
    first, last = slices
    part, whole = t2(engine, head, slices=slices), t2(engine, head)
    assert np.array_equal(part[:, :, first:last], whole[:, :, first:last])


@pytest.mark.parametrize("batch", [2, 3, 50])
def test_the_batch_size_changes_no_bit(batch, engine, head):
    assert np.array_equal(t2(engine, head, batch=batch), t2(engine, head, batch=1))


def test_a_change_of_one_slice_reaches_its_neighbors_and_no_further(seeing, head):
    changed = head.array.copy()
    tissue = changed[:, :, 4] > 0
    changed[tissue, 4] = changed[tissue, 4][::-1]  # the same values, so the same scaling
    other = Volume(changed, head.affine, head.name)
    for r in (0, 1, 2):
        engine = Engine(seeing(r), "cpu", "torch")
        difference = np.abs(t2(engine, other) - t2(engine, head)).max(axis=(0, 1))
        assert np.flatnonzero(difference).tolist() == list(range(4 - r, 5 + r))


def test_slices_are_prepared_a_few_at_a_time(engine, head, monkeypatch):
    counts, slices = [], Preparation.slices

    def watched(self, chosen):
        counts.append(len(chosen))
        return slices(self, chosen)

    monkeypatch.setattr(Preparation, "slices", watched)
    t2(engine, head, batch=2)
    assert max(counts) == 4  # two slices; the two and one more at either end


# ---- no neighbors


def test_a_card_that_names_no_neighbors_is_one_without(tiny_package, make_package, tmp_path, head):
    assert tiny_package.card.neighbors == 0
    named = make_package(tmp_path / "p", network=SIZES | {"neighbors": 0})
    results = [t2(Engine(package, "cpu", "torch"), head) for package in (tiny_package, named)]
    assert np.array_equal(*results)


def test_a_network_without_neighbors_has_a_card_that_older_versions_read():
    assert CRAViMConfig(**SIZES).as_card() == SIZES
    assert CRAViMConfig(**SIZES, neighbors=2).as_card() == SIZES | {"neighbors": 2}


def test_neighbors_add_channels_to_the_first_convolution_and_nothing_else():
    plain, seeing = CRAViM(CRAViMConfig(**SIZES)), CRAViM(CRAViMConfig(**SIZES, neighbors=2))
    shapes = [{k: tuple(v.shape) for k, v in n.state_dict().items()} for n in (plain, seeing)]
    assert shapes[1].pop("conv1.weight") == (4, 6, 7, 7) and shapes[0].pop("conv1.weight")[1] == 2
    assert shapes[0] == shapes[1]


def test_a_network_that_ignores_its_neighbors_is_the_one_without():
    plain, seeing = CRAViM(CRAViMConfig(**SIZES)), CRAViM(CRAViMConfig(**SIZES, neighbors=1))
    state = {**plain.state_dict()}
    state["conv1.weight"] = torch.cat([state["conv1.weight"], torch.zeros(4, 2, 7, 7)], dim=1)
    seeing.load_state_dict(state)
    images = torch.randn(2, 4, 16, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        results = [plain.eval()(images[:, :2]), seeing.eval()(images)]
    torch.testing.assert_close(*results, atol=1e-6, rtol=0)


def test_a_checkpoint_with_more_channels_is_not_taken_for_one_with_neighbors():
    """Nobody says in which order another program put them."""
    shapes = {k: tuple(v.shape) for k, v in CRAViM(CRAViMConfig(**SIZES)).state_dict().items()}
    with pytest.raises(ModelError, match="network.input_channels is 4; give 1 to 2"):
        config_of_weights({**shapes, "conv1.weight": (4, 4, 7, 7)})


# ---- every way to compute them


@pytest.mark.parametrize("steps", [Steps(), CPU_STEPS, GPU_STEPS])
def test_the_prepared_network_is_the_trained_one(steps):
    torch.manual_seed(3)
    network = CRAViM(CRAViMConfig(ngf=16, n_blocks=1, neighbors=2)).eval().requires_grad_(False)
    images = torch.randn(2, 6, 36, 28, generator=torch.Generator().manual_seed(1))
    found = prepare(network, steps)(images)
    expected = network(images)[:, -found.shape[1] :]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("r", [1, 2])
def test_both_backends_agree(r, seeing, head):
    pytest.importorskip("onnxruntime")
    package = seeing(r)
    results = [t2(Engine(package, "cpu", backend), head) for backend in ("torch", "onnxruntime")]
    np.testing.assert_allclose(results[0] / 1000, results[1] / 1000, atol=1e-4)
    assert np.ptp(results[0]) > 50


def test_a_model_says_that_it_sees_neighbors(seeing, tiny_package, capsys):
    assert main(["models", "show", str(seeing(1).folder)]) == 0
    assert "neighboring slices seen on either side: 1 (2.5-D)" in capsys.readouterr().out
    assert main(["models", "show", str(tiny_package.folder)]) == 0
    assert "neighbor" not in capsys.readouterr().out


# ---- bad values


@pytest.mark.parametrize("neighbors", [-1, 5])
def test_a_network_has_none_to_four_neighbors(neighbors):
    with pytest.raises(ValueError, match=f"neighbors is {neighbors}; give 0 to 4"):
        CRAViMConfig(neighbors=neighbors)


@pytest.mark.parametrize("neighbors", [-1, 5, 0.5, "1", True, None])
def test_a_card_with_another_number_of_neighbors_is_refused(neighbors, tmp_path, make_package):
    with pytest.raises(ModelError, match="network.neighbors"):
        make_package(tmp_path / "p", network=SIZES | {"neighbors": neighbors})


def test_weights_without_the_neighbors_of_the_card_are_refused(tmp_path, make_package):
    package = make_package(tmp_path / "p", network=SIZES | {"neighbors": 1})
    with pytest.raises(ModelError, match=r"conv1.weight has shape \(4, 2, 7, 7\) instead of"):
        Engine(package, "cpu", "torch")
