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

``selective_scan_sequential`` is the definition. ``selective_scan_blocked`` computes the same in
two levels, with a backward pass that recomputes the states instead of storing all L of them.
``selective_scan`` chooses between the latter and mamba-ssm's CUDA kernel.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOG = logging.getLogger(__name__)
BLOCK = 8  # tokens whose states are held at once
LANE_WIDTH = 32_768  # state values per step that keep a processor busy
# exp() of an underflowing argument takes a slow path on CPU, 100 times the normal cost; below these
# exponents the decay is zero for every purpose.
EXPONENT_FLOOR = {torch.float32: -80.0, torch.float64: -700.0}


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, backend: str = "auto"
) -> Tensor:
    """y (B,K,L,D) of the recurrence above, in float32 (float64 stays float64).

    ``backend`` is ``auto``, ``torch`` or ``mamba_ssm``; ``auto`` takes mamba-ssm's kernel for CUDA
    tensors when that package imports, and portable PyTorch otherwise.

    Raises
    ------
    RuntimeError: ``mamba_ssm`` was asked for and cannot run here.
    ValueError: an unknown backend.
    """
    inputs: tuple[Tensor, ...] = (u, delta, A, B, C, D)
    if u.dtype != torch.float64:
        inputs = tuple(tensor.float() for tensor in inputs)
    if backend not in ("auto", "torch", "mamba_ssm"):
        raise ValueError(f"scan backend {backend!r}; expected auto, torch or mamba_ssm")
    kernel = _mamba_ssm_kernel() if backend != "torch" and u.is_cuda else None
    if backend == "mamba_ssm" and kernel is None:
        raise RuntimeError("the mamba_ssm scan needs a CUDA tensor and an importable mamba-ssm")
    with torch.autocast(u.device.type, enabled=False):
        if kernel is not None and u.dtype == torch.float32:
            return _scan_with_kernel(kernel, *inputs)
        return selective_scan_blocked(*inputs)


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


def selective_scan_blocked(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    *,
    block: int = BLOCK,
    lanes: int | None = None,
) -> Tensor:
    """The same result in two levels.

    The sequence is cut into ``lanes`` equal parts that advance side by side, and each lane into
    blocks whose decays are computed at once. With more than one lane a first pass finds the state
    at each lane's end, the ends are chained, and a second pass starts from the right states.
    Only exponents <= 0 occur, so nothing overflows however large or small delta is.
    """
    length = u.shape[2]
    if lanes is None:
        width = u.shape[0] * u.shape[1] * u.shape[3] * A.shape[2]
        lanes = max(1, min(LANE_WIDTH // width, length // (8 * block)))
    y = _BlockedScan.apply(*_to_lanes((u, delta, B, C), lanes, block), A, block)
    return _from_lanes(y, length) + u * D[:, None]


def _to_lanes(tensors: tuple[Tensor, ...], lanes: int, block: int) -> list[Tensor]:
    """(B,K,L,X) -> (T,B,K,M,X): M lanes of T tokens; padded with delta = 0, which changes nothing.

    T is a multiple of ``block``.
    """
    b, k, length, _ = tensors[0].shape
    tokens = -(-length // (lanes * block)) * block
    padding = (0, 0, 0, lanes * tokens - length)
    return [
        torch.nn.functional.pad(x, padding)
        .view(b, k, lanes, tokens, x.shape[-1])
        .permute(3, 0, 1, 2, 4)
        for x in tensors
    ]


def _from_lanes(y: Tensor, length: int) -> Tensor:
    """(T,B,K,M,D) -> (B,K,L,D)."""
    tokens, b, k, lanes, d = y.shape
    return y.permute(1, 2, 3, 0, 4).reshape(b, k, lanes * tokens, d)[:, :, :length]


class _BlockedScan(torch.autograd.Function):
    """sum_n C_l h_l on lanes; the backward pass recomputes h from the states between blocks."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, B: Tensor, C: Tensor, A: Tensor, block: int
    ) -> Tensor:
        lanes = _Lanes(u, delta, B, A, block)
        h = lanes.first_states()
        keep = any(ctx.needs_input_grad)
        entries = u.new_empty((len(lanes.blocks) if keep else 0, *h.shape))
        y = torch.empty(u.shape, dtype=u.dtype, device=u.device)
        for index, tokens in enumerate(lanes.blocks):
            if keep:
                entries[index] = h
            states, _ = lanes.advance(tokens, h)
            h = states[-1].clone()
            y[tokens] = torch.matmul(C[tokens].unsqueeze(-2), states).squeeze(-2)
        ctx.save_for_backward(u, delta, B, C, A, entries)
        ctx.block = block
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """The adjoint recurrence g_l = C_l dy_l + exp(delta_{l+1} A) g_{l+1}, from the end.

        A caller may run it inside autocast, which would round the products; hence switched off.
        """
        with torch.autocast(dy.device.type, enabled=False):
            return _BlockedScan._adjoint(ctx, dy)

    @staticmethod
    def _adjoint(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, B, C, A, entries = ctx.saved_tensors
        lanes = _Lanes(u, delta, B, A, ctx.block)
        du, ddelta = torch.empty_like(u), torch.empty_like(u)
        dB, dC = torch.empty_like(B), torch.empty_like(C)
        dA = torch.zeros_like(lanes.rates)
        carry = lanes.last_adjoints(C, dy)  # a_{l+1} g_{l+1}
        for index in reversed(range(len(lanes.blocks))):
            tokens = lanes.blocks[index]
            states, decays = lanes.advance(tokens, entries[index])
            dC[tokens] = torch.matmul(states, dy[tokens].unsqueeze(-1)).squeeze(-1)
            g, carry = lanes.retreat(decays, C[tokens], dy[tokens], carry)
            dB[tokens] = torch.matmul(g, lanes.x[tokens].unsqueeze(-1)).squeeze(-1)
            dx = torch.matmul(B[tokens].unsqueeze(-2), g).squeeze(-2)
            before = torch.cat([entries[index][None], states[:-1]])  # h_{l-1}
            pull = g.mul_(before).mul_(decays)  # d loss / d (delta_l A)
            dA += torch.einsum("tbkmnd,tbkmd->knd", pull, delta[tokens])[:, None]
            ddelta[tokens] = (pull * lanes.rates).sum(-2) + dx * u[tokens]
            du[tokens] = dx * delta[tokens]
        return du, ddelta, dB, dC, dA.squeeze(1).transpose(-1, -2), None


class _Lanes:
    """The recurrence on (T,B,K,M,...) tensors, one block of tokens at a time."""

    def __init__(self, u: Tensor, delta: Tensor, B: Tensor, A: Tensor, block: int) -> None:
        self.delta, self.B = delta, B
        self.x = delta * u  # (T,B,K,M,D)
        self.rates = A.transpose(-1, -2)[:, None]  # (K,1,N,D), broadcast over lanes
        self.floor = EXPONENT_FLOOR[u.dtype]
        self.blocks = [slice(t, t + block) for t in range(0, u.shape[0], block)]
        self.count = u.shape[3]
        self.state_shape = (*u.shape[1:4], *self.rates.shape[-2:])  # (B,K,M,N,D)
        self._decays = u.new_empty((block, *self.state_shape))
        self._states = torch.empty_like(self._decays)

    def advance(self, tokens: slice, h: Tensor) -> tuple[Tensor, Tensor]:
        """The states after each token of the block, and the decays. Both are reused buffers."""
        decays = self._fill_decays(tokens)
        torch.mul(self.x[tokens].unsqueeze(-2), self.B[tokens].unsqueeze(-1), out=self._states)
        for state, decay in zip(self._states.unbind(0), decays.unbind(0), strict=True):
            state.addcmul_(decay, h)
            h = state
        return self._states, decays

    def retreat(
        self, decays: Tensor, C: Tensor, dy: Tensor, carry: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The adjoints g of the block's states, and a_l g_l of its first token."""
        g = C.unsqueeze(-1) * dy.unsqueeze(-2)  # (t,B,K,M,N,D)
        g[-1] += carry
        for token in range(g.shape[0] - 2, -1, -1):
            g[token].addcmul_(decays[token + 1], g[token + 1])
        return g, g[0] * decays[0]

    def first_states(self) -> Tensor:
        """(B,K,M,N,D) the state with which each lane starts."""
        first = self.x.new_zeros(self.state_shape)
        if self.count == 1:
            return first
        ends = first
        for tokens in self.blocks:
            ends = self.advance(tokens, ends)[0][-1].clone()
        through = self._decay_of_lanes()
        for lane in range(1, self.count):
            first[:, :, lane] = (
                ends[:, :, lane - 1] + through[:, :, lane - 1] * first[:, :, lane - 1]
            )
        return first

    def last_adjoints(self, C: Tensor, dy: Tensor) -> Tensor:
        """(B,K,M,N,D) what each lane's last state receives from the lanes after it."""
        last = self.x.new_zeros(self.state_shape)
        if self.count == 1:
            return last
        starts = last
        for tokens in reversed(self.blocks):
            starts = self.retreat(self._fill_decays(tokens), C[tokens], dy[tokens], starts)[1]
        through = self._decay_of_lanes()
        for lane in range(self.count - 2, -1, -1):
            last[:, :, lane] = (
                starts[:, :, lane + 1] + through[:, :, lane + 1] * last[:, :, lane + 1]
            )
        return last

    def _fill_decays(self, tokens: slice) -> Tensor:
        torch.mul(self.delta[tokens].unsqueeze(-2), self.rates, out=self._decays)
        return self._decays.clamp_(min=self.floor).exp_()

    def _decay_of_lanes(self) -> Tensor:
        """(B,K,M,N,D) the decay over a whole lane."""
        exponent = self.delta.sum(0).unsqueeze(-2) * self.rates
        return exponent.clamp_(min=self.floor).exp_()


@cache
def _mamba_ssm_kernel() -> Any | None:
    """mamba-ssm's ``selective_scan_fn``, or None where it does not import."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except (ImportError, RuntimeError, OSError) as reason:  # a build for another torch or CUDA
        LOG.info("selective scan: portable PyTorch (mamba-ssm: %s)", reason)
        return None
    LOG.info("selective scan: mamba-ssm's CUDA kernel")
    return selective_scan_fn


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
