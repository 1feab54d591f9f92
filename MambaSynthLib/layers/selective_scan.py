"""The selective scan: the recurrence of a selective state space model (Mamba, Gu & Dao 2023).

For every channel d and state n, with h_{-1} = 0,

    h_l = exp(delta_l A) h_{l-1} + delta_l B_l u_l          (discretized state, Eq. 2a)
    y_l = sum_n C_l h_l + D u_l                             (output, Eq. 2b)

| symbol | code     | shape     | meaning                                                |
|--------|----------|-----------|--------------------------------------------------------|
| u      | ``u``    | (B,K,L,D) | K independent sequences of L tokens with D channels    |
| delta  | ``delta``| (B,K,L,D) | step size, positive (after the softplus)               |
| A      | ``A``    | (K,D,N)   | decay rates, negative                                  |
| B, C   | ``B, C`` | (B,K,L,N) | input and output maps, shared by the D channels        |
| D      | ``D``    | (K,D)     | skip connection                                        |
| h      | ``h``    | (...,N,D) | state; D last, so that each step touches whole rows    |

``selective_scan_sequential`` is the definition. ``blocked_scan`` computes the same fast, with a
backward pass that recomputes the states instead of storing all L of them; ``triton_scan`` does so
in kernels of its own on CUDA. ``selective_scan`` chooses between them and mamba-ssm's CUDA kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from MambaSynthLib.layers.blocked_scan import selective_scan_blocked

LOG = logging.getLogger(__name__)
BACKENDS = ("auto", "mamba_ssm", "triton", "torch")
Scan = Callable[..., Tensor]


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, backend: str = "auto"
) -> Tensor:
    """y (B,K,L,D) of the recurrence above, in float32 (float64 stays float64).

    ``backend`` is one of ``BACKENDS``; ``auto`` takes for float32 on CUDA the first of mamba-ssm's
    kernel and Triton's that imports, and portable PyTorch otherwise.

    Raises
    ------
    RuntimeError: ``mamba_ssm`` or ``triton`` was asked for and cannot run here.
    ValueError: an unknown backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"scan backend {backend!r}; expected {', '.join(BACKENDS)}")
    inputs: tuple[Tensor, ...] = (u, delta, A, B, C, D)
    if u.dtype != torch.float64:
        inputs = tuple(tensor.float() for tensor in inputs)
    with torch.autocast(u.device.type, enabled=False):
        return _choose(backend, on_cuda=u.is_cuda and u.dtype != torch.float64)(*inputs)


def _choose(backend: str, on_cuda: bool) -> Scan:
    """The scan to use. Raises RuntimeError when it cannot run here."""
    for name, load in (("mamba_ssm", _mamba_ssm_scan), ("triton", _triton_scan)):
        if backend in ("auto", name):
            scan = load() if on_cuda else None
            if scan is not None:
                return scan
            if backend == name:
                raise RuntimeError(f"the {name} scan needs a float32 CUDA tensor and {name}")
    return selective_scan_blocked


def backends_for(device: str) -> list[str]:
    """The backends that can run on a device such as "cuda:0", the one that ``auto`` takes first."""
    cuda = device.startswith("cuda")
    found = {
        "mamba_ssm": cuda and _mamba_ssm_scan() is not None,
        "triton": cuda and _triton_scan() is not None,
    }
    return [*(name for name, runs in found.items() if runs), "torch"]


def selective_scan_sequential(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """The recurrence as it is written above, one token after the other."""
    rates = A.transpose(-1, -2)  # (K,N,D)
    h = u.new_zeros(u.shape[0], *rates.shape)  # (B,K,N,D)
    outputs = []
    for token in range(u.shape[2]):
        step = delta[:, :, token, None, :]  # (B,K,1,D)
        drive = B[:, :, token, :, None] * u[:, :, token, None, :]  # (B,K,N,D)
        h = torch.exp(step * rates) * h + step * drive
        outputs.append(torch.einsum("bkn,bknd->bkd", C[:, :, token], h))
    return torch.stack(outputs, dim=2) + u * D[:, None]


@cache
def _mamba_ssm_scan() -> Scan | None:
    """mamba-ssm's ``selective_scan_fn``, or None where it does not import."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except (ImportError, RuntimeError, OSError) as reason:  # a build for another torch or CUDA
        LOG.info("selective scan: mamba-ssm does not import (%s)", reason)
        return None
    LOG.info("selective scan: mamba-ssm's CUDA kernel")
    return partial(_scan_with_kernel, selective_scan_fn)


@cache
def _triton_scan() -> Scan | None:
    """The kernels in ``triton_kernels``, or None where Triton does not import."""
    try:
        from MambaSynthLib.layers.triton_scan import selective_scan_triton
    except (ImportError, RuntimeError, OSError) as reason:
        LOG.info("selective scan: portable PyTorch (Triton does not import: %s)", reason)
        return None
    LOG.info("selective scan: Triton kernels")
    return selective_scan_triton


def _scan_with_kernel(
    kernel: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """The kernel wants channels of all K sequences in one axis and the tokens last."""
    b, k, length, d = u.shape

    def channels_first(x: Tensor) -> Tensor:
        return x.permute(0, 1, 3, 2).reshape(b, k * d, length).contiguous()  # (B,KD,L)

    y = kernel(
        channels_first(u),
        channels_first(delta),
        A.reshape(k * d, -1).contiguous(),
        B.transpose(-1, -2).contiguous(),  # (B,K,N,L)
        C.transpose(-1, -2).contiguous(),
        D.reshape(k * d).contiguous(),
    )
    return y.view(b, k, d, length).permute(0, 1, 3, 2)
