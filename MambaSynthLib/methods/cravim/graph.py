"""CRAViM's generator as an ONNX graph, Fig. 1 from left to right: ``network.py`` once more.

Symbols, shapes and the names of the weights are those of ``network.py``. The graph holds no
weights; batch, height and width are free, height and width being multiples of 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from MambaSynthLib.layers.onnx_graph import Graph, Value
from MambaSynthLib.methods.cravim.evss_graph import evss_block
from MambaSynthLib.methods.cravim.winograd_graph import reflecting_conv

WINOGRAD_FROM = 128  # channels; with fewer, moving the tiles costs what the products save


def build(sizes: Mapping[str, int], winograd: bool = False) -> onnx.ModelProto:
    """The generator that a model card's ``network`` entry describes: images -> result.

    ``winograd`` computes the residual blocks' convolutions with fewer multiplications, for
    processors whose library does not do so itself.
    """
    g = Graph("cravim")
    images = g.input("images", ["batch", _channels(sizes), "height", "width"])
    return g.model(generator(g, images, sizes, winograd))


def generator(g: Graph, images: Value, sizes: Mapping[str, int], winograd: bool) -> Value:
    """Images (B,2+2r,H,W) -> (B,2,H,W): transported source and target estimate."""
    ngf, n_att, n_out = sizes["ngf"], sizes["n_attentions"], sizes["output_channels"]
    x = embed(g, images, ngf, _channels(sizes))
    for n in range(sizes["n_blocks"]):
        x = residual_block(
            g, f"resnet_blocks.{n}", x, 4 * ngf, winograd and 4 * ngf >= WINOGRAD_FROM
        )
    x = vss(g, "VSS2.1", x, 4 * ngf)
    content = g.op("Tanh", decoder(g, "content", x, ngf, n_att * n_out, kernel=7))
    attention = g.op("Softmax", decoder(g, "attention", x, ngf, n_att, kernel=1), axis=1)
    pair = images.slice(1, 0, n_out) if sizes.get("neighbors") else images
    return blend(g, pair, content, attention, n_att, n_out)


def _channels(sizes: Mapping[str, int]) -> int:
    return sizes["input_channels"] + 2 * sizes.get("neighbors", 0)


def embed(g: Graph, images: Value, ngf: int, channels: int) -> Value:
    """Fig. 1, "ConvEmbedding". (B,2+2r,H,W) -> (B,4 ngf,H/4,W/4)."""
    x = norm_relu(g, conv(g, "conv1", reflect(g, images, 3), channels, ngf, 7), ngf)
    x = norm_relu(g, conv(g, "conv2", x, ngf, 2 * ngf, 3, strides=[2, 2], pads=[1] * 4), 2 * ngf)
    x = norm_relu(
        g, conv(g, "conv3", x, 2 * ngf, 4 * ngf, 3, strides=[2, 2], pads=[1] * 4), 4 * ngf
    )
    return vss(g, "VSS1.1", x, 4 * ngf)


def residual_block(g: Graph, key: str, x: Value, channels: int, winograd: bool) -> Value:
    """x + norm(conv(relu(norm(conv(x))))), reflecting borders. (B,C,H,W) -> same."""

    def conv3(name: str, x: Value) -> Value:
        if not winograd:
            return conv(g, f"{key}.{name}", reflect(g, x, 1), channels, channels, 3)
        weight = g.weight(f"{key}.{name}.weight", channels, channels, 3, 3)
        return reflecting_conv(g, x, weight, channels, channels)  # the norm undoes any bias

    inner = norm_relu(g, conv3("conv1", x), channels)
    return x + norm(g, conv3("conv2", inner), channels)


def decoder(g: Graph, name: str, x: Value, ngf: int, out: int, kernel: int) -> Value:
    """The content or the attention decoder. (B,4 ngf,H/4,W/4) -> (B,out,H,W)."""
    x = norm_relu(g, upsampling(g, f"deconv1_{name}", x, 4 * ngf, 2 * ngf), 2 * ngf)
    x = norm_relu(g, upsampling(g, f"deconv2_{name}", x, 2 * ngf, ngf), ngf)
    x = reflect(g, x, kernel // 2) if kernel > 1 else x
    return conv(g, f"deconv3_{name}", x, ngf, out, kernel)


def blend(
    g: Graph, images: Value, content: Value, attention: Value, n_att: int, n_out: int
) -> Value:
    """Eq. 2: sum_{i<A-1} c_i a_i + images a_{A-1}. The last pair of content is never used."""
    result = images * attention.slice(1, n_att - 1)
    for i in range(n_att - 1):
        result += content.slice(1, n_out * i, n_out * (i + 1)) * attention.slice(1, i, i + 1)
    return result


def vss(g: Graph, key: str, x: Value, channels: int) -> Value:
    """The EVSS block between channels-first tensors. (B,C,H,W) -> same."""
    return evss_block(g, key, x.transpose(0, 2, 3, 1), channels).transpose(0, 3, 1, 2)


def conv(
    g: Graph, key: str, x: Value, channels: int, out: int, kernel: int, **attributes: Any
) -> Value:
    weight = g.weight(f"{key}.weight", out, channels, kernel, kernel)
    return g.op("Conv", x, weight, g.weight(f"{key}.bias", out), **attributes)


def upsampling(g: Graph, key: str, x: Value, channels: int, out: int) -> Value:
    """(B,C,H,W) -> (B,C',2H,2W)."""
    weight = g.weight(f"{key}.weight", channels, out, 3, 3)
    return g.op("ConvTranspose", x, weight, g.weight(f"{key}.bias", out),
                strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])  # fmt: skip


def norm(g: Graph, x: Value, channels: int) -> Value:
    """Instance normalization without parameters: the operator wants them, so they are 1 and 0."""
    scale, bias = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return g.op("InstanceNormalization", x, g.constant(scale), g.constant(bias), epsilon=1e-5)


def norm_relu(g: Graph, x: Value, channels: int) -> Value:
    return g.op("Relu", norm(g, x, channels))


def reflect(g: Graph, x: Value, pad: int) -> Value:
    """Mirror ``pad`` pixels at each border, without repeating the border itself."""
    return g.op("Pad", x, g.integers(0, 0, pad, pad, 0, 0, pad, pad), mode="reflect")
