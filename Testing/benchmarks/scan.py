"""The selective scan against its definition, the textbook, mambapy and the memory's bandwidth.

python -m Testing.benchmarks.scan [--rounds 5] [--threads 1]

On a GPU: ``scan_gpu``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from MambaSynthLib.layers.selective_scan import selective_scan, selective_scan_sequential
from Testing.benchmarks.race import Row, arguments, peak_memory, race, report

SHAPES = {  # K sequences, L tokens, D channels, N states
    "CRAViM": (4, 1024, 512, 16),  # 256 x 256 pixels, ngf 64
    "compact": (4, 480, 128, 16),  # 192 x 160 pixels, ngf 16
    "long": (1, 65_536, 64, 16),
}
MOST_LOOPED = 4096  # tokens, one after the other, are as many as anyone wants to wait for
Scan = Callable[..., Tensor]


def inputs_of(shape: tuple[int, int, int, int], device: str) -> list[Tensor]:
    """u, delta, A, B, C, D as in a trained network: exponents between 0 and -8."""
    k, length, d, n = shape
    torch.manual_seed(0)
    A = -torch.rand(k, d, n) * 16
    tensors = (
        torch.randn(1, k, length, d), torch.rand(1, k, length, d) / 2, A,
        torch.randn(1, k, length, n), torch.randn(1, k, length, n), torch.randn(k, d),
    )  # fmt: skip
    return [tensor.to(device) for tensor in tensors]


def textbook(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """All decays first, then a loop, as Mamba's reference code goes about it.

    Channels come before tokens there, and B and C are repeated for each channel of a group.
    """
    u_, delta_ = u.mT.contiguous(), delta.mT.contiguous()  # (B,K,D,L)
    B_, C_ = (x.mT[:, :, None].expand(-1, -1, u.shape[3], -1, -1).contiguous() for x in (B, C))
    decays = torch.exp(torch.einsum("bkdl,kdn->bkdln", delta_, A))
    drives = torch.einsum("bkdl,bkdnl,bkdl->bkdln", delta_, B_, u_)
    h = torch.zeros_like(decays[:, :, :, 0])
    outputs = []
    for token in range(u.shape[2]):
        h = decays[:, :, :, token] * h + drives[:, :, :, token]
        outputs.append(torch.einsum("bkdn,bkdn->bkd", h, C_[..., token]))
    return torch.stack(outputs, dim=2) + u * D[:, None]


def materialized(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """The same with tokens first and nothing repeated: what stays if only the decays are kept."""
    decays = torch.exp(torch.einsum("bkld,kdn->lbknd", delta, A))
    drives = torch.einsum("bkld,bkln->lbknd", delta * u, B)
    h = torch.zeros_like(decays[0])
    outputs = []
    for token in range(u.shape[2]):
        h = decays[token] * h + drives[token]
        outputs.append(torch.einsum("bknd,bkn->bkd", h, C[:, :, token]))
    return torch.stack(outputs, dim=2) + u * D[:, None]


def mambapy(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Its parallel scan; the K sequences are its batch."""
    from mambapy.pscan import pscan

    step = delta[0].unsqueeze(-1)  # (K,L,D,1)
    decays = torch.exp(step * A[:, None])  # (K,L,D,N)
    h = pscan(decays, step * B[0].unsqueeze(2) * u[0].unsqueeze(-1))
    y = (h @ C[0].unsqueeze(-1)).squeeze(-1)
    return (y + u[0] * D[:, None])[None]


def bandwidth_floor(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """A copy that moves as many bytes as reading u, delta, B, C and writing y."""
    moved = (2 * u.numel() + delta.numel() + B.numel() + C.numel()) // 2
    return torch.empty(moved, device=u.device).copy_(torch.empty(moved, device=u.device))


def forward_backward(scan: Scan, *inputs: Tensor) -> None:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    scan(*leaves).sum().backward()


def contestants(length: int) -> dict[str, Scan]:
    scans: dict[str, Scan] = {"ours": selective_scan}
    if length <= MOST_LOOPED:
        scans["sequential"] = selective_scan_sequential
        scans |= {"materialized decays": materialized, "textbook": textbook}
    if find_spec("mambapy") is None:
        print("mambapy is not installed and left out; pip install --no-deps mambapy")
        return scans
    return scans | {"mambapy": mambapy}


def rows_of(name: str, options) -> list[Row]:
    inputs = inputs_of(SHAPES[name], options.device)
    scans = contestants(SHAPES[name][1])
    runs = {scan: partial(_inference, call, inputs) for scan, call in scans.items()}
    runs["bandwidth floor"] = partial(_inference, bandwidth_floor, inputs)
    trained = {
        f"{scan}, forward + backward": partial(forward_backward, call, *inputs)
        for scan, call in scans.items()
        if scan in ("ours", "mambapy")
    }
    exact = selective_scan_sequential(*(x.double() for x in inputs))
    largest = float(exact.abs().max())
    rows = []
    for group in (runs, trained):
        seconds = race(group, options.rounds, options.threads, options.device)
        reference = next(iter(seconds.values()))
        for run, value in seconds.items():
            scan = scans.get(run)
            error = None if scan is None else float((scan(*inputs) - exact).abs().max()) / largest
            memory = peak_memory(group[run]) if options.device == "cpu" else None
            rows.append({"scan": run, "ms": 1e3 * value, "times ours": value / reference,
                         "peak MB": memory, "relative error": error})  # fmt: skip
    return rows


def _inference(call: Scan, inputs: list[Tensor]) -> None:
    with torch.inference_mode():
        call(*inputs)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    options = parser.parse_args()
    for name in options.shapes:
        title = f"scan {name} threads {options.threads}"
        report(title, rows_of(name, options), options.out, "times ours")


if __name__ == "__main__":
    main()
