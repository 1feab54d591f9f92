"""Run the Triton scan on the CPU, in Triton's interpreter: a program for ``test_triton_scan.py``.

    TRITON_INTERPRET=1 python interpreted_scan.py cases.pt results.pt

Triton decides when it is imported whether kernels are interpreted, hence a process of its own.
Each case is (tokens, inputs, upstream gradient), each result (y, gradients).
"""

import sys

import torch

from MambaSynthLib.layers import triton_scan

triton_scan.BLOCK_D = triton_scan.BLOCK_C = 4  # the interpreter takes one element after the other


def run(case):
    tokens, inputs, upstream = case
    leaves = [x.requires_grad_() for x in inputs]
    y = triton_scan.selective_scan_triton(*leaves, tokens=tokens)
    return y.detach(), torch.autograd.grad(y, leaves, upstream)


if __name__ == "__main__":
    cases = torch.load(sys.argv[1], weights_only=True)
    torch.save([run(case) for case in cases], sys.argv[2])
