"""The mask network as an ONNX graph; names of the weights are those of ``network.py``."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import onnx

from MambaSynthLib.layers.onnx_graph import Graph, Value
from MambaSynthLib.methods.maskunet.config import FOLD, MaskConfig, unet


def build(network: Mapping[str, Any], winograd: bool = False) -> onnx.ModelProto:
    """Images (B,8,D,H,W) -> logits (B,16,D,H,W). ``winograd``: no such form, the same graph."""
    config = MaskConfig(tuple(network["channels"]))
    layers = config.layers()
    g = Graph("maskunet")

    def layer(name: str, x: Value) -> Value:
        made = layers[name]
        key, edge = f"convolutions.{name}", 3 * (made.kernel,)
        kernel = g.weight(f"{key}.weight", made.channels_out, made.channels_in, *edge)
        bias = g.weight(f"{key}.bias", made.channels_out)
        y = g.op("Conv", x, kernel, bias, kernel_shape=edge, strides=3 * (made.stride,),
                 pads=6 * (made.kernel // 2,))  # fmt: skip
        return y if name == "logits" else g.op("Relu", y)

    def doubled(x: Value) -> Value:
        no_region, scales = Value(g, ""), g.constant([1.0, 1.0, 2.0, 2.0, 2.0])
        return g.op("Resize", x, no_region, scales, mode="nearest", nearest_mode="floor",
                    coordinate_transformation_mode="asymmetric")  # fmt: skip

    images = g.input("images", ["batch", FOLD**3, "depth", "height", "width"])
    return g.model(unet(images, config.levels, layer, doubled, operator.add))
