"""The generator: its size, its keys, its equation, and reading sizes off weights."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from MambaSynthLib.errors import ModelError
from MambaSynthLib.methods.cravim.network import (
    CRAViM,
    CRAViMConfig,
    build,
    config_of_weights,
    norm_relu,
)

TINY = CRAViMConfig(ngf=4, n_blocks=1, n_attentions=3)


def shapes_of(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def paper() -> CRAViM:
    """The generator of the paper's size, without memory for its weights."""
    with torch.device("meta"):
        return CRAViM()


@pytest.fixture
def tiny() -> CRAViM:
    torch.manual_seed(0)
    return CRAViM(TINY).eval()


def images(rows=16, columns=20, batch=2) -> torch.Tensor:
    return torch.randn(batch, 2, rows, columns, generator=torch.Generator().manual_seed(1))


def test_the_default_generator_has_the_papers_number_of_parameters(paper):
    assert sum(p.numel() for p in paper.parameters()) == 11_765_711


def test_the_default_generator_takes_the_papers_disk_space(paper):
    size = sum(v.numel() * v.element_size() for v in paper.state_dict().values())
    assert size == 47_066_956  # 44.89 MiB, the paper's "44.89MB"


def test_keys_and_shapes_are_those_of_the_published_checkpoints(paper, parity):
    published = {}
    for line in (parity / "cravim_state_dict.txt").read_text().splitlines():
        if line and not line.startswith(("#", "cnns.")):
            name, shape, _ = line.split("\t")
            published[name] = tuple(int(n) for n in shape.strip("()").split(",") if n.strip())
    assert len(published) == 114
    assert shapes_of(paper) == published


@pytest.mark.parametrize("size", [(16, 16), (20, 32), (28, 16)])
def test_the_result_has_the_shape_of_the_input(tiny, size):
    with torch.no_grad():
        result = tiny(images(*size))
    assert result.shape == (2, 2, *size)
    assert torch.isfinite(result).all()


def test_attention_maps_are_positive_and_sum_to_one(tiny):
    with torch.no_grad():
        attention = tiny.attention(tiny.bottleneck(tiny.embed(images())))
    assert attention.shape == (2, TINY.n_attentions, 16, 20)
    assert torch.all(attention > 0)
    torch.testing.assert_close(attention.sum(1), torch.ones(2, 16, 20))


def test_content_images_lie_between_minus_one_and_one(tiny):
    with torch.no_grad():
        content = tiny.content(tiny.bottleneck(tiny.embed(images())))
    assert content.shape == (2, 2 * TINY.n_attentions, 16, 20)
    assert content.abs().max() <= 1


def test_the_result_is_the_attended_sum_of_contents_and_input(tiny):
    x = images()
    with torch.no_grad():
        features = tiny.bottleneck(tiny.embed(x))
        content, attention = tiny.content(features), tiny.attention(features)
        expected = x * attention[:, 2:3]
        for i in (0, 1):
            expected = expected + content[:, 2 * i : 2 * i + 2] * attention[:, i : i + 1]
        torch.testing.assert_close(tiny(x), expected)


def test_full_attention_on_the_last_map_returns_the_input(tiny):
    with torch.no_grad():
        tiny.deconv3_attention.bias[-1] = 1e4
        torch.testing.assert_close(tiny(images()), images())


def test_the_last_pair_of_content_images_is_dead(tiny):
    tiny(images()).square().sum().backward()
    weight, bias = tiny.deconv3_content.weight.grad, tiny.deconv3_content.bias.grad
    assert torch.all(weight[-2:] == 0) and torch.all(bias[-2:] == 0)
    assert all(weight[i].abs().max() > 0 for i in range(2 * TINY.n_attentions - 2))


def test_only_the_residual_blocks_start_near_zero():
    torch.manual_seed(0)
    network = CRAViM(CRAViMConfig(ngf=16, n_blocks=1))
    block = network.resnet_blocks[0]
    assert float(block.conv1.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert torch.all(block.conv1.bias == 0) and torch.all(block.conv2.bias == 0)
    bound = (2 * 7 * 7) ** -0.5  # PyTorch's default: uniform in +-1/sqrt(fan in)
    assert 0.95 * bound < network.conv1.weight.abs().max() <= bound


def test_normalization_before_the_activation_is_per_image_and_channel():
    x = images() * 7 + 3
    normalized = (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(norm_relu(x), normalized.clamp(min=0), rtol=1e-4, atol=1e-5)


def test_images_of_a_batch_do_not_influence_each_other(tiny):
    with torch.no_grad():
        together, alone = tiny(images()), tiny(images()[1:])
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "config", [CRAViMConfig(), TINY, CRAViMConfig(ngf=8, n_blocks=12, n_attentions=2)]
)
def test_the_sizes_are_read_off_the_weights(config):
    with torch.device("meta"):
        network = build(asdict(config))
    assert config_of_weights(shapes_of(network)) == config


def test_weights_of_another_network_are_refused_naming_the_missing_key():
    shapes = {"encoder.weight": (3, 3), "conv1.weight": (64, 3, 7, 7)}
    with pytest.raises(ModelError, match="no CRAViM generator .*deconv3_attention.weight"):
        config_of_weights(shapes)


@pytest.mark.parametrize(
    "broken",
    [
        {"resnet_blocks.": None},
        {"deconv3_content.weight": None},
        {"conv1.weight": ()},
        {"conv1.weight": (64,)},
        {"deconv3_attention.weight": ()},
    ],
    ids=str,
)
def test_weights_with_a_part_missing_or_misshapen_are_refused(paper, broken):
    (prefix, shape), = broken.items()  # fmt: skip
    shapes = {k: shape if k.startswith(prefix) else v for k, v in shapes_of(paper).items()}
    kept = {name: value for name, value in shapes.items() if value is not None}
    with pytest.raises(ModelError, match="no CRAViM generator"):
        config_of_weights(kept)


def test_a_compact_network_learns_from_all_its_living_parameters():
    network = CRAViM(CRAViMConfig(ngf=8, n_blocks=2, n_attentions=5))
    x = images(16, 16)
    network(x).sub(x.flip(1)).square().mean().backward()
    assert sum(p.numel() for p in network.parameters()) < 250_000
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
