"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3) in ONNX operators.

Each 4x4 tile of the result comes from a 6x6 tile of the input (Lavin & Gray, CVPR 2016, Eq. 8):

    Y = A^T [ (G w G^T) * (B^T d B) ] A

| symbol | code       | shape       | meaning                                                  |
|--------|------------|-------------|----------------------------------------------------------|
| d      | ``x``      | 6 x 6       | input tile, overlapping its neighbors by 2; T of them    |
| w      | ``weight`` | (O,C,3,3)   | the kernel, transformed once, when the graph is loaded   |
| *      | ``@``      | 36 x (O,C)  | a sum over the channels for each of the 36 elements      |

36 multiplications per 16 results instead of 144. The result is the same but for rounding, which
grows tenfold. It is here because ONNX Runtime's own convolution does not do so on a CPU: with 1.31
the whole generator of full width takes a fifth less time (``Testing/benchmarks/network.py``).
"""

from __future__ import annotations

import numpy as np

from MambaSynthLib.layers.onnx_graph import Graph, Value
from MambaSynthLib.methods.cravim import winograd_matrices

B_T, G, A_T = (
    np.array(matrix, np.float32)
    for matrix in (winograd_matrices.B_T, winograd_matrices.G, winograd_matrices.A_T)
)


def reflecting_conv(g: Graph, x: Value, weight: Value, channels: int, out: int) -> Value:
    """3x3 convolution with reflecting borders. (B,C,H,W) -> (B,O,H,W), any H and W from 2 on."""
    batch, height, width = (x.size(axis) for axis in (0, 2, 3))
    rows, columns = (_tiles_along(g, size) for size in (height, width))
    left = tiling(g, height, rows)  # (6 rows,H)
    right = tiling(g, width, columns).transpose(1, 0)  # (W,6 columns)
    tiles = (left @ x @ right).reshape(batch, channels, 6, rows, 6, columns)
    tiles = tiles.transpose(0, 2, 4, 1, 3, 5).reshape(batch, 36, channels, -1)
    product = transformed_weight(g, weight, channels, out) @ tiles  # (B,36,O,T)
    result = g.constant(np.kron(A_T, A_T)) @ product.reshape(batch, 36, -1)  # (B,16,OT)
    image = g.op("DepthToSpace", result.reshape(batch, 16 * out, rows, columns), blocksize=4)
    crop = g.concat([height, width], axis=0)
    return g.op("Slice", image, g.integers(0, 0), crop, g.integers(2, 3))


def transformed_weight(g: Graph, weight: Value, channels: int, out: int) -> Value:
    """G w G^T. (O,C,3,3) -> (36,O,C)."""
    kernels = weight.reshape(-1, 9).transpose(1, 0)  # (9,OC)
    return (g.constant(np.kron(G, G)) @ kernels).reshape(36, out, channels)


def tiling(g: Graph, size: Value, tiles: Value) -> Value:
    """(6 tiles,size): cuts one axis into overlapping tiles, reflects its ends, applies B^T.

    Row (i,t) of the matrix before B^T picks pixel 4t + i - 1. As a matrix product this is faster
    than moving the pixels, and the same matrix serves all convolutions.
    """
    zero, one = g.constant(np.int64(0)), g.constant(np.int64(1))
    starts = g.op("Range", zero, g.op("Squeeze", tiles), one) * g.integers(4)
    pixels = starts + g.constant(np.arange(-1, 5)[:, None])  # (6,tiles)
    last = g.op("Sub", size, g.integers(1))
    pixels = g.op("Sub", last, g.op("Abs", g.op("Sub", last, g.op("Abs", pixels))))
    picks = g.op("OneHot", pixels, g.op("Squeeze", size), g.constant([0.0, 1.0]))
    return (g.constant(B_T) @ picks.reshape(6, -1)).reshape(-1, size)


def _tiles_along(g: Graph, size: Value) -> Value:
    """How many tiles of 4 cover this many pixels."""
    return g.op("Div", size + g.integers(3), g.integers(4))
