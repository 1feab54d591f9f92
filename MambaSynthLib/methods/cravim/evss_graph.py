"""The EVSS block as an ONNX graph: ``evss.py`` and ``selective_scan.py`` in standard operators.

Names, symbols and shapes are those of the two PyTorch files; tensors are channels-last (B,H,W,C).
The scan is ONNX's ``Scan`` operator over the tokens, so its length is free, its memory does not
grow with it, and only exponents <= 0 occur.
"""

from __future__ import annotations

import math

from MambaSynthLib.layers.onnx_graph import Graph, Value

SEQUENCES = 4
D_STATE = 16


def evss_block(g: Graph, key: str, x: Value, channels: int) -> Value:
    """x + SE(ES2D(n)) + SE(conv(n)) with n = norm(x), then x + MLP(norm2(x)). (B,H,W,C) -> same."""
    n = layer_norm(g, f"{key}.norm", x, channels, eps=1e-6)
    far = es2d(g, f"{key}.op", n, channels)
    near = conv_branch(g, f"{key}.conv_branch", n, channels)
    x = (
        x
        + channel_gate(g, f"{key}.se", far, channels)
        + channel_gate(g, f"{key}.se", near, channels)
    )
    return x + mlp(g, f"{key}.mlp", layer_norm(g, f"{key}.norm2", x, channels, eps=1e-6), channels)


def conv_branch(g: Graph, key: str, n: Value, channels: int) -> Value:
    """3x3 convolution per channel, batch normalization, GELU, 1x1 convolution."""
    x = conv_per_channel(g, f"{key}.0", n.transpose(0, 3, 1, 2), channels)
    names = ("weight", "bias", "running_mean", "running_var")
    statistics = [g.weight(f"{key}.1.{name}", channels) for name in names]
    x = g.op("Gelu", g.op("BatchNormalization", x, *statistics, epsilon=1e-5))
    weight = g.weight(f"{key}.3.weight", channels, channels, 1, 1)
    return g.op("Conv", x, weight, g.weight(f"{key}.3.bias", channels)).transpose(0, 2, 3, 1)


def es2d(g: Graph, key: str, n: Value, channels: int) -> Value:
    """Four interleaved quarter images are scanned, each in one direction. (B,H,W,C) -> same."""
    inner = 2 * channels
    x, z = linear(g, f"{key}.in_proj", n, channels, 2 * inner, bias=False).split(inner, inner)
    x = conv_per_channel(g, f"{key}.conv2d", x.transpose(0, 3, 1, 2), inner)
    x = silu(g, x).transpose(0, 2, 3, 1)  # (B,H,W,E)
    y = merge(g, scan_sequences(g, key, skip_sample(g, x), channels), x)
    y = layer_norm(g, f"{key}.out_norm", y, inner, eps=1e-5)
    return linear(g, f"{key}.out_proj", y * silu(g, z), inner, channels, bias=False)


def skip_sample(g: Graph, x: Value) -> Value:
    """(B,H,W,E) -> (K,L,B,E): one sequence per parity of row and column, see ``evss.skip_sample``.

    Odd sizes are padded with zeros at the bottom and right.
    """
    odd_rows, odd_columns = (g.op("Mod", x.size(axis), g.integers(2)) for axis in (1, 2))
    pads = g.concat([g.integers(0, 0, 0, 0, 0), odd_rows, odd_columns, g.integers(0)], axis=0)
    x = g.op("Pad", x, pads)
    batch, channels = x.size(0), x.size(3)
    sequences = []
    for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
        quarter = x.slice(1, row, step=2).slice(2, column, step=2)
        tokens_first = quarter.transpose(2, 1, 0, 3) if row else quarter.transpose(1, 2, 0, 3)
        sequences.append(tokens_first.reshape(g.integers(1), -1, batch, channels))
    return g.concat(sequences, axis=0)


def merge(g: Graph, sequences: Value, like: Value) -> Value:
    """(K,L,B,E) -> (B,H,W,E), the inverse of ``skip_sample``; H and W are those of ``like``."""
    batch, height, width, channels = (like.size(axis) for axis in range(4))
    rows, columns = (g.op("Div", n + g.integers(1), g.integers(2)) for n in (height, width))
    quarters = []
    for k in range(SEQUENCES):
        odd_row = k % 2 == 1
        sizes = (columns, rows) if odd_row else (rows, columns)
        quarter = sequences.slice(0, k, k + 1).reshape(*sizes, batch, channels)
        quarters.append(quarter.transpose(2, 1, 0, 3) if odd_row else quarter.transpose(2, 0, 1, 3))
    by_row = [
        g.concat([unsqueeze(g, quarters[k], 3), unsqueeze(g, quarters[k + 2], 3)], axis=3)
        for k in range(2)
    ]  # (B,H/2,W/2,2,E): the even and the odd rows with all their columns
    both = g.concat([unsqueeze(g, part, 2) for part in by_row], axis=2)  # (B,H/2,2,W/2,2,E)
    two = g.integers(2)
    image = both.reshape(batch, g.op("Mul", rows, two), g.op("Mul", columns, two), channels)
    return image.slice(1, 0, height).slice(2, 0, width)


def scan_sequences(g: Graph, key: str, u: Value, channels: int) -> Value:
    """(K,L,B,E) -> same: ``ES2D.scan``. The projections are linear in each token."""
    inner, rank = 2 * channels, math.ceil(channels / 16)
    length, batch = u.size(1), u.size(2)
    tokens = u.reshape(SEQUENCES, -1, inner)  # (K,LB,E)
    project = g.weight(f"{key}.x_proj_weight", SEQUENCES, rank + 2 * D_STATE, inner)
    dt, B, C = (tokens @ project.transpose(0, 2, 1)).split(rank, D_STATE, D_STATE)
    dt = dt @ g.weight(f"{key}.dt_projs_weight", SEQUENCES, inner, rank).transpose(0, 2, 1)
    bias = g.weight(f"{key}.dt_projs_bias", SEQUENCES, inner).reshape(SEQUENCES, 1, inner)
    delta = softplus(g, dt + bias)

    rates = g.weight(f"{key}.A_logs", SEQUENCES * inner, D_STATE)
    A = g.op("Neg", g.op("Exp", rates)).reshape(SEQUENCES, 1, inner, D_STATE).transpose(0, 1, 3, 2)

    def token_major(x: Value, *tail: int) -> Value:
        return x.reshape(SEQUENCES, length, batch, *tail).transpose(1, 0, 2, 3, 4)

    y = selective_scan(
        g,
        key,
        A,
        token_major(delta, 1, inner),
        token_major(delta * tokens, 1, inner),
        token_major(B, D_STATE, 1),
        token_major(C, 1, D_STATE),
    )  # (L,K,B,1,E)
    D = g.weight(f"{key}.Ds", SEQUENCES * inner).reshape(SEQUENCES, 1, 1, inner)
    return y.transpose(1, 0, 2, 3, 4).reshape(SEQUENCES, length, batch, inner) + u * D


def selective_scan(
    g: Graph, key: str, A: Value, delta: Value, x: Value, B: Value, C: Value
) -> Value:
    """h_l = exp(delta_l A) h_{l-1} + x_l B_l,  y_l = C_l h_l  over the first axis; x = delta u.

    A (K,1,N,E); delta and x (L,K,B,1,E), B (L,K,B,N,1), C (L,K,B,1,N) -> (L,K,B,1,E).
    """
    body = Graph(f"{key}.token")
    names = ("h", "delta", "x", "B", "C")
    h, delta_l, x_l, B_l, C_l = (body.input(f"{key}.{name}") for name in names)
    decay = body.op("Exp", delta_l * A)
    h_next = decay * h + x_l * B_l
    proto = body.proto(h_next, C_l @ h_next)

    start = g.op("Expand", g.constant(0.0), g.concat(
        [g.integers(SEQUENCES), delta.size(2), g.integers(D_STATE), delta.size(4)], axis=0
    ))  # fmt: skip
    return g.nodes("Scan", start, delta, x, B, C, outputs=2, body=proto, num_scan_inputs=4)[1]


def channel_gate(g: Graph, key: str, t: Value, channels: int) -> Value:
    """Squeeze and excitation: t * sigmoid(W2 GELU(W1 mean_{H,W} norm(t))). (B,H,W,C) -> same."""
    normed = layer_norm(g, f"{key}.norm", t, channels, eps=1e-5)
    squeezed = g.op("GlobalAveragePool", normed.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    reduced = linear(g, f"{key}.global_reduce", squeezed, channels, channels // 8)
    gate = linear(g, f"{key}.channel_select", g.op("Gelu", reduced), channels // 8, channels)
    return t * g.op("Sigmoid", gate)


def mlp(g: Graph, key: str, x: Value, channels: int) -> Value:
    """Linear C -> 4C, GELU, Linear 4C -> C."""
    hidden = g.op("Gelu", linear(g, f"{key}.fc1", x, channels, 4 * channels))
    return linear(g, f"{key}.fc2", hidden, 4 * channels, channels)


def linear(g: Graph, key: str, x: Value, channels: int, out: int, bias: bool = True) -> Value:
    y = x @ g.weight(f"{key}.weight", out, channels).transpose(1, 0)
    return y + g.weight(f"{key}.bias", out) if bias else y


def conv_per_channel(g: Graph, key: str, x: Value, channels: int) -> Value:
    """3x3, zero padding. (B,C,H,W) -> same."""
    weight = g.weight(f"{key}.weight", channels, 1, 3, 3)
    bias = g.weight(f"{key}.bias", channels)
    return g.op("Conv", x, weight, bias, pads=[1, 1, 1, 1], group=channels)


def layer_norm(g: Graph, key: str, x: Value, channels: int, eps: float) -> Value:
    scale, bias = (g.weight(f"{key}.{name}", channels) for name in ("weight", "bias"))
    return g.op("LayerNormalization", x, scale, bias, epsilon=eps)


def silu(g: Graph, x: Value) -> Value:
    return x * g.op("Sigmoid", x)


def softplus(g: Graph, x: Value) -> Value:
    """log(1 + exp(x)) as max(x,0) + log(1 + e), e = exp(-|x|).

    The operator Softplus computes value by value in ONNX Runtime, ten times slower. The factor
    e / (w - 1) takes back the rounding of w = 1 + e (Kahan), so small step sizes stay exact.
    """
    e = g.op("Exp", g.op("Neg", g.op("Abs", x)))
    w = e + 1.0
    log = g.op("Log", w) * g.op("Div", e, g.op("Max", w + -1.0, 1e-30))
    return g.op("Relu", x) + log


def unsqueeze(g: Graph, x: Value, axis: int) -> Value:
    return g.op("Unsqueeze", x, g.integers(axis))
