"""The Triton kernels against the sequential scan, without a GPU: in Triton's interpreter.

``test_cuda.py`` repeats this on a GPU, where one is.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from MambaSynthLib.layers.selective_scan import selective_scan_sequential

pytest.importorskip("triton", reason="triton is not installed")

NAMES = ("u", "delta", "A", "B", "C", "D")
CASES = {  # (batch, sequences, tokens, channels, states), tokens per chunk, largest step
    "one chunk": ((1, 2, 9, 5, 4), 9, 0.5),
    "chunks of odd length": ((2, 2, 7, 3, 2), 3, 0.5),
    "more channels than a program takes": ((1, 1, 6, 6, 3), 4, 0.5),
    "more chunks than the chain takes at a time": ((1, 1, 13, 2, 3), 2, 0.5),
    "one token": ((1, 1, 1, 1, 1), 16, 0.5),
    "tiny steps": ((1, 2, 6, 3, 2), 4, 1e-9),
    "huge steps": ((1, 2, 6, 3, 2), 4, 1e5),
}


def case(shape, tokens, step):
    """Tokens per chunk, u, delta, A, B, C, D, and the gradient that arrives at y."""
    b, k, length, d, n = shape
    draw = torch.Generator().manual_seed(length)

    def normal(*sizes):
        return torch.randn(*sizes, generator=draw)

    delta = step * torch.rand(b, k, length, d, generator=draw)
    A = -16 * torch.rand(k, d, n, generator=draw) - 0.1
    maps = normal(b, k, length, n), normal(b, k, length, n)
    return tokens, [normal(b, k, length, d), delta, A, *maps, normal(k, d)], normal(b, k, length, d)


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Name -> (y, gradients) of every case, in one process of the interpreter."""
    folder = tmp_path_factory.mktemp("triton")
    torch.save([case(*CASES[name]) for name in CASES], folder / "cases.pt")
    program = Path(__file__).with_name("interpreted_scan.py")
    root = str(Path(__file__).resolve().parents[3])
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, str(program), str(folder / "cases.pt"), str(folder / "results.pt")],
        env=environment, check=True,
    )  # fmt: skip
    results = torch.load(folder / "results.pt", weights_only=True)
    return dict(zip(CASES, results, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_the_interpreted_kernels_and_their_gradients_equal_the_sequential_scan(name, computed):
    _, inputs, upstream = case(*CASES[name])
    leaves = [x.double().requires_grad_() for x in inputs]
    expected = selective_scan_sequential(*leaves)
    wanted = torch.autograd.grad(expected, leaves, upstream.double())
    y, gradients = computed[name]
    for what, found, right in zip(("y", *NAMES), (y, *gradients), (expected, *wanted), strict=True):
        assert torch.isfinite(found).all(), what
        assert (found - right).abs().max() <= 1e-5 * right.abs().max() + 1e-30, what


def test_enough_sequences_are_scanned_in_one_pass_and_few_in_chunks():
    from MambaSynthLib.layers.triton_scan import TRAINED_CHUNK, _chunk

    many, few = torch.empty(32, 4, 1024, 512), torch.empty(1, 1, 65_536, 16)
    assert _chunk(many, requires_grad=False) == 1024
    assert 16 <= _chunk(few, requires_grad=False) < 1024
    assert _chunk(many, requires_grad=True) == TRAINED_CHUNK
