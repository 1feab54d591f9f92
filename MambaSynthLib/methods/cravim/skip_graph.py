"""The generator with skip connections as an ONNX graph: ``skip_network.py`` once more.

Symbols, shapes and the names of the weights are those of ``skip_network.py``; height and width are
free multiples of 8. The runtime folds the batch normalization into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.image.neighbors import own_and_neighbors
from MambaSynthLib.layers.onnx_graph import Graph, Value
from MambaSynthLib.methods.cravim.evss_graph import evss_block

FOLD = 2
FLOAT = onnx.TensorProto.FLOAT
STATISTICS = ("weight", "bias", "running_mean", "running_var")


def generator(g: Graph, images: Value, sizes: Mapping[str, int]) -> Value:
    """Images (B,1+2r,H,W) -> (B,1+interval,1+2o,H,W)."""
    ngf, maps, folded = sizes["ngf"], 2 * sizes["n_attentions"] - 1, FOLD * FOLD
    seen = sizes["input_channels"] + 2 * sizes.get("neighbors", 0) + 1
    own = own_and_neighbors(sizes.get("neighbors", 0), sizes.get("overlap", 0))
    out = len(own) * maps * folded
    inside = g.op("Cast", g.op("Greater", images.slice(1, 0, 1), g.constant(EMPTY)), to=FLOAT)
    x = fold(g, g.concat([images, inside], axis=1), seen)
    first = conv_norm(g, "conv1", x, seen * folded, ngf, kernel=5)
    second = conv_norm(g, "conv2", first, ngf, 2 * ngf, stride=2)
    x = evss(g, "VSS1", conv_norm(g, "conv3", second, 2 * ngf, 4 * ngf, stride=2), 4 * ngf)
    for n in range(sizes["n_blocks"]):
        x = residual(g, f"resnet_blocks.{n}", x, 4 * ngf)
    x = evss(g, "VSS2", x, 4 * ngf)
    x = conv_norm(g, "up2", x, 4 * ngf, 2 * ngf, kernel=1)
    x = conv_norm(g, "join2", g.concat([doubled(g, x), second], axis=1), 4 * ngf, 2 * ngf)
    x = conv_norm(g, "up1", x, 2 * ngf, ngf, kernel=1)
    x = conv_norm(g, "join1", g.concat([doubled(g, x), first], axis=1), 2 * ngf, ngf)
    features = x
    x = biased_conv(g, "heads", features, ngf, out)
    unfolded = g.op("DepthToSpace", x, blocksize=FOLD, mode="CRD")
    blended = [
        blend(
            g, images.slice(1, place, place + 1), unfolded.slice(1, m * maps, (m + 1) * maps),
            sizes["n_attentions"],
        )
        for m, place in enumerate(own)
    ]  # fmt: skip
    stacked = blended
    if sizes.get("interval"):
        stacked = [*blended, half_widths(g, features, ngf, len(own) * folded)]
    found = g.concat(stacked, axis=1) if len(stacked) > 1 else stacked[0]
    return found.reshape(0, -1, len(own), found.size(2), found.size(3))


def half_widths(g: Graph, features: Value, ngf: int, out: int) -> Value:
    """exp(conv(relu(conv(x)))), unfolded."""
    inner = g.op("Relu", biased_conv(g, "interval.inner", features, ngf, ngf))
    widths = g.op("Exp", biased_conv(g, "interval.log_width", inner, ngf, out))
    return g.op("DepthToSpace", widths, blocksize=FOLD, mode="CRD")


def blend(g: Graph, source: Value, maps: Value, n_att: int) -> Value:
    """Eq. 2: sum_{i<A-1} c_i a_i + x_0 a_{A-1}."""
    content = g.op("Tanh", maps.slice(1, 0, n_att - 1))
    attention = g.op("Softmax", maps.slice(1, n_att - 1), axis=1)
    products = g.concat([content, source], axis=1) * attention
    return g.op("ReduceSum", products, g.integers(1), keepdims=1)


def fold(g: Graph, images: Value, channels: int) -> Value:
    """(B,C,H,W) -> (B,4C,H/2,W/2), the four pixels of a channel side by side.

    The operator puts the same pixel of all channels side by side, so each is folded alone.
    """
    height, width = images.size(2), images.size(3)
    alone = g.op("SpaceToDepth", images.reshape(-1, 1, height, width), blocksize=FOLD)
    return alone.reshape(-1, channels * FOLD * FOLD, alone.size(2), alone.size(3))


def residual(g: Graph, key: str, x: Value, channels: int) -> Value:
    """x + norm(conv(relu(norm(conv(x)))))."""
    inner = conv_norm(g, f"{key}.first", x, channels, channels)
    return x + norm(g, f"{key}.norm", conv(g, f"{key}.conv", inner, channels, channels), channels)


def conv_norm(
    g: Graph, key: str, x: Value, channels: int, out: int, kernel: int = 3, stride: int = 1
) -> Value:
    """Convolution, batch normalization, ReLU."""
    x = conv(g, f"{key}.conv", x, channels, out, kernel, stride)
    return g.op("Relu", norm(g, f"{key}.norm", x, out))


def conv(
    g: Graph, key: str, x: Value, channels: int, out: int, kernel: int = 3, stride: int = 1
) -> Value:
    """Without bias."""
    weight = g.weight(f"{key}.weight", out, channels, kernel, kernel)
    return g.op("Conv", x, weight, strides=[stride] * 2, pads=[kernel // 2] * 4)


def biased_conv(g: Graph, key: str, x: Value, channels: int, out: int) -> Value:
    return conv(g, key, x, channels, out) + g.weight(f"{key}.bias", out).reshape(1, out, 1, 1)


def norm(g: Graph, key: str, x: Value, channels: int) -> Value:
    statistics = [g.weight(f"{key}.{name}", channels) for name in STATISTICS]
    return g.op("BatchNormalization", x, *statistics, epsilon=1e-5)


def evss(g: Graph, key: str, x: Value, channels: int) -> Value:
    """The EVSS block between channels-first tensors. (B,C,h,w) -> same."""
    return evss_block(g, key, x.transpose(0, 2, 3, 1), channels).transpose(0, 3, 1, 2)


def doubled(g: Graph, x: Value) -> Value:
    """(B,C,h,w) -> (B,C,2h,2w), each pixel repeated."""
    scales = g.constant([1.0, 1.0, 2.0, 2.0])
    none = Value(g, "")
    return g.op("Resize", x, none, scales, mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric")  # fmt: skip
