"""CRAViM's generator with skip connections: what it promises, and that its three forms agree."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from MambaSynthLib.methods.cravim.config import CRAViMConfig  # noqa: E402
from MambaSynthLib.methods.cravim.network import build  # noqa: E402
from MambaSynthLib.methods.cravim.skip_inference import prepare_skips  # noqa: E402

SIZES = {
    "ngf": 8, "n_blocks": 2, "n_attentions": 3, "input_channels": 1, "output_channels": 1,
    "neighbors": 1, "skips": 1,
}  # fmt: skip
OVERLAP = SIZES | {"neighbors": 2, "overlap": 1}
INTERVAL = OVERLAP | {"interval": 1}
FORMS = [(SIZES, 3), (OVERLAP, 5), (INTERVAL, 5)]


def trained(sizes=SIZES):
    """A network whose statistics and scales are not those of the beginning."""
    torch.manual_seed(3)
    network = build(sizes)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name.endswith(("running_mean", "norm.bias")):
            value.normal_(0, 0.2)
    return network.eval().requires_grad_(False)


def images(height=24, width=40, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.rand((2, channels, height, width), generator=generator) * 2 - 1


def test_the_result_has_one_channel_of_the_images_size():
    assert trained()(images()).shape == (2, 1, 1, 24, 40)


def test_with_an_overlap_the_neighbors_are_estimated_too():
    assert trained(OVERLAP)(images(channels=5)).shape == (2, 1, 3, 24, 40)


def test_each_estimate_blends_the_source_of_its_own_place():
    network, batch = trained(OVERLAP), images(channels=5)
    network.heads.weight.zero_()
    source_alone = torch.full((3, 5), -40.0)  # content 0 and 1, attention 0 to 2
    source_alone[:, -1] = 40.0
    network.heads.bias.copy_(source_alone.flatten().repeat_interleave(4))
    torch.testing.assert_close(network(batch)[:, 0], batch[:, [0, 2, 3]])  # of 0 -2 -1 1 2: 0 -1 1


def test_a_slice_does_not_depend_on_what_else_is_computed_with_it():
    network, batch = trained(), images()
    torch.testing.assert_close(network(batch)[:1], network(batch[:1]))


def test_far_from_a_bright_spot_only_the_scan_and_its_gate_carry_its_light():
    """Instance normalization would move every pixel by what is seen in one corner."""
    network, dark = trained(), torch.full((1, 3, 32, 32), -1.0)
    for block in (network.VSS1, network.VSS2):
        block.se.channel_select.weight.zero_()
        block.op.out_proj.weight.zero_()
    bright = dark.clone()
    bright[:, :, :2, :2] = 1.0
    difference = (network(bright) - network(dark)).abs()[0, 0, 0]
    assert difference[:8, :8].max() > 1e-3
    assert network.config.n_blocks == 2 and difference[-1, -1] == 0 or difference[-1, -1] < 1e-6


def test_neighbors_change_the_result():
    network, batch = trained(), images()
    other = batch.clone()
    other[:, 1:] = -1
    assert (network(batch) - network(other)).abs().max() > 1e-3


@pytest.mark.parametrize(("sizes", "seen"), FORMS)
def test_the_prepared_network_is_the_trained_one(sizes, seen):
    network, batch = trained(sizes), images(channels=seen)
    torch.testing.assert_close(prepare_skips(network)(batch), network(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("sizes", "seen"), FORMS)
def test_the_graph_is_the_network(sizes, seen):
    onnxruntime = pytest.importorskip("onnxruntime")
    from MambaSynthLib.backends.onnx_backend import declared_weights
    from MambaSynthLib.methods.cravim import graph

    network, batch = trained(sizes), images(channels=seen)
    model = graph.build(sizes)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    names = list(declared_weights(model))
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    assert set(names) == set(state) - counters
    options = onnxruntime.SessionOptions()
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(state[name]) for name in names]
    options.add_external_initializers(names, values)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    found = session.run(None, {"images": batch.numpy()})[0]
    np.testing.assert_allclose(found, network(batch).numpy(), atol=1e-5)


def test_half_widths_are_positive_and_change_no_bit_of_the_estimates():
    with_interval, batch = trained(INTERVAL), images(channels=5)
    without = build(OVERLAP).eval().requires_grad_(False)
    state = with_interval.state_dict()
    without.load_state_dict({name: state[name] for name in without.state_dict()})
    found = with_interval(batch)
    assert found.shape == (2, 2, 3, 24, 40) and found[:, 1].min() > 0
    assert torch.equal(found[:, :1], without(batch))


def test_half_widths_teach_the_features_nothing():
    network = trained(INTERVAL).requires_grad_(True)
    network(images(channels=5))[:, 1].sum().backward()
    taught = [n for n, value in network.named_parameters() if value.grad.abs().max() > 0]
    assert taught and all(name.startswith("interval.") for name in taught)


def test_an_interval_without_skips_is_refused():
    with pytest.raises(ValueError, match="network.interval is 1, but only"):
        CRAViMConfig(interval=1)


def test_other_channels_with_skips_are_refused():
    with pytest.raises(ValueError, match="with skips both are 1"):
        CRAViMConfig(skips=1)


@pytest.mark.parametrize(("skips", "overlap"), [(0, 1), (1, 3), (1, -1)])
def test_an_overlap_without_skips_or_beyond_the_neighbors_is_refused(skips, overlap):
    channels = 1 if skips else 2
    with pytest.raises(ValueError, match=f"network.overlap is {overlap}; give 0"):
        CRAViMConfig(input_channels=channels, output_channels=channels, neighbors=2, skips=skips,
                     overlap=overlap)  # fmt: skip


def test_the_card_says_skips_only_where_there_are_some():
    assert "skips" not in CRAViMConfig().as_card()
    assert CRAViMConfig(**SIZES).as_card() == SIZES
