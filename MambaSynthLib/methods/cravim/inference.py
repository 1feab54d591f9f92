"""CRAViM's generator prepared for inference: the function of ``network.CRAViM``, computed cheaper.

Every step is exact in real arithmetic, so the results differ by rounding only. Letters and shapes
as in ``network``; images stay (B,C,H,W) with C fastest in memory, as convolutions and the scan like
it. The transported source is not computed, nor are biases that an instance normalization subtracts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MambaSynthLib.methods.cravim.evss import EVSSBlock
from MambaSynthLib.methods.cravim.evss_inference import PreparedEVSS
from MambaSynthLib.methods.cravim.network import CRAViM, ResidualBlock, reflect
from MambaSynthLib.methods.cravim.skip_inference import prepare_skips
from MambaSynthLib.methods.cravim.skip_network import SkipCRAViM
from MambaSynthLib.methods.cravim.winograd import WinogradConv

Layer = Callable[[Tensor], Tensor]
WINOGRAD_CHANNELS = 64  # from which the tile transforms cost less than the products they save
EPSILON = 1e-5  # of instance_norm
PRECISIONS = {  # of the convolutions: the type of their operands, and whether products are in TF32
    "fp32": (torch.float32, False),
    "tf32": (torch.float32, True),
    "fp16": (torch.float16, True),
    "bf16": (torch.bfloat16, True),
}


@dataclass(frozen=True)
class Steps:
    """What pays on some devices only; ``Testing/benchmarks/network.py --steps-apart`` tells where.

    winograd: compute the residual convolutions with a quarter of the multiplications.
    merge_decoders: compute the first layers of both decoders as one, for fewer kernel launches;
        on CPU this took longer (38 against 32 ms) and is left out.
    shifted_head: compute the 7x7 convolution to few channels as a 1x7 one to many and a sum.
    """

    winograd: bool = True
    merge_decoders: bool = True
    shifted_head: bool = True


CHANNELS_LAST = torch.channels_last
CPU_STEPS = Steps(merge_decoders=False)
GPU_STEPS = Steps(winograd=False, shifted_head=False)


def prepare(
    network: CRAViM | SkipCRAViM, steps: Steps | None = None, precision: str = "fp32"
) -> PreparedCRAViM | Layer:
    """``network``, trained and in evaluation mode, with its present weights on its device.

    ``steps`` None takes those that pay on that device. ``precision``, one of ``PRECISIONS``, is
    that of the convolutions and, from TF32 down, TF32 that of the matrix products; normalizations
    and the scan are float32 in any case.
    """
    if isinstance(network, SkipCRAViM):  # so small that other precisions gain nothing
        return prepare_skips(network)
    on_cpu = network.conv1.weight.device.type == "cpu"
    return PreparedCRAViM(network, steps or (CPU_STEPS if on_cpu else GPU_STEPS), precision)


class PreparedCRAViM:
    """Images (B,2+2r,H,W) -> (B,1,H,W), the target estimate. H and W must be multiples of 4."""

    def __init__(self, network: CRAViM, steps: Steps, precision: str = "fp32") -> None:
        n, self.steps = network, steps
        self.operands, self.tf32 = PRECISIONS[precision]
        self.embedding = [self._conv(conv) for conv in (n.conv1, n.conv2, n.conv3)]
        self.vss1, self.vss2 = self._evss(n.VSS1), self._evss(n.VSS2)
        blocks = cast(Iterable[ResidualBlock], n.resnet_blocks)
        self.blocks = [(self._residual(b.conv1), self._residual(b.conv2)) for b in blocks]
        self.first_layers = self._first_layers(n.deconv1_content, n.deconv1_attention)
        self.second_layers = [self._upsampling(d) for d in (n.deconv2_content, n.deconv2_attention)]
        self.content_head = self._content_head(n.deconv3_content, n.config.output_channels)
        self.attention_head = self._conv(n.deconv3_attention, bias=True)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        if images.device.type == "cpu":  # whose caches hold one image
            return torch.cat([self._forward(image) for image in images.split(1)])
        with _tf32(self.tf32):
            return self._forward(images)

    def _forward(self, images: Tensor) -> Tensor:
        x = self._reflect(images.contiguous(memory_format=CHANNELS_LAST), 3)
        for conv in self.embedding:
            x = self._norm_relu(conv(x))
        x = self.vss1(x)
        for first, second in self.blocks:
            inner = self._norm_relu(first(self._reflect(x, 1)))
            x = x + self._norm(second(self._reflect(inner, 1)))
        decoders = zip(self.second_layers, self.first_layers(self.vss2(x)), strict=True)
        content, attention = (self._norm_relu(conv(self._norm_relu(y))) for conv, y in decoders)
        candidates = torch.tanh(self.content_head(self._reflect(content, 3)).float())
        maps = torch.softmax(self.attention_head(attention).float(), dim=1)
        return self._blend(images, candidates, maps)

    def _blend(self, images: Tensor, candidates: Tensor, attention: Tensor) -> Tensor:
        """Eq. 2 on the candidates c_i, i < A-1, that ``_content_head`` computes."""
        candidates = candidates.unsqueeze(2)  # (B,A-1,1,H,W)
        blended = (candidates * attention[:, :-1, None]).sum(1)
        return blended.addcmul_(images[:, 1:2], attention[:, -1:])

    def _reflect(self, x: Tensor, pad: int) -> Tensor:
        """Mirror the borders. CUDA's kernel for images forgets channels-last, the one for volumes
        sees rows, columns and channels as three axes of which it pads two.
        """
        if x.is_cuda:
            return reflect_channels_last(x.to(self.operands), pad)
        return reflect(x, pad)

    def _norm(self, x: Tensor) -> Tensor:
        """Instance normalization in float32. A kernel for batches serves for a batch of one."""
        x = x.float()
        if len(x) == 1:
            return F.batch_norm(x, None, None, training=True, eps=EPSILON)
        variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + EPSILON)

    def _norm_relu(self, x: Tensor) -> Tensor:
        return self._norm(x).relu_()

    def _conv(self, conv: nn.Conv2d, bias: bool = False) -> Layer:
        """The convolution, with its bias only where no normalization follows."""
        kept = conv.bias if bias else None
        return self._layer(F.conv2d, conv.weight, kept, stride=conv.stride, padding=conv.padding)

    def _upsampling(self, *convs: nn.ConvTranspose2d) -> Layer:
        """The transposed convolutions of one image, their results one after the other."""
        weight = torch.cat([conv.weight for conv in convs], dim=1)
        return self._layer(F.conv_transpose2d, weight, None, stride=2, padding=1, output_padding=1)

    def _residual(self, conv: nn.Conv2d) -> Layer:
        if self.steps.winograd and conv.in_channels >= WINOGRAD_CHANNELS:
            return WinogradConv(conv.weight)
        return self._conv(conv)

    def _evss(self, vss: nn.Sequential) -> Layer:
        block = PreparedEVSS(cast(EVSSBlock, vss[1]))
        return lambda x: block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _first_layers(self, *decoders: nn.ConvTranspose2d) -> Callable[[Tensor], Sequence[Tensor]]:
        """The first convolution of each decoder; all have the same input."""
        if self.steps.merge_decoders:
            merged = self._upsampling(*decoders)
            return lambda x: merged(x).chunk(len(decoders), dim=1)
        separate = [self._upsampling(conv) for conv in decoders]
        return lambda x: [conv(x) for conv in separate]

    def _content_head(self, conv: nn.Conv2d, outputs: int) -> Layer:
        """(B,ngf,H+6,W+6) -> (B,A-1,H,W): of the A images, the last is never used."""
        used = slice(1, -outputs, outputs)
        weight, bias = conv.weight[used], cast(Tensor, conv.bias)[used]
        if self.steps.shifted_head:
            return RowByRowConv(weight, bias)
        return self._layer(F.conv2d, weight, bias)

    def _layer(
        self, convolve: Callable[..., Tensor], weight: Tensor, bias: Tensor | None, **sizes: Any
    ) -> Layer:
        """The convolution of whatever comes, with operands of the chosen precision."""
        weight = weight.detach().to(self.operands).contiguous(memory_format=CHANNELS_LAST)
        bias = None if bias is None else bias.detach().to(self.operands)
        return lambda x: convolve(x.to(self.operands), weight, bias, **sizes)


def reflect_channels_last(x: Tensor, pad: int) -> Tensor:
    """``reflect`` whose result is channels-last on every device."""
    images = x.permute(0, 2, 3, 1)  # (B,H,W,C)
    padded = F.pad(images, (0, 0, pad, pad, pad, pad), mode="reflect")
    return padded.permute(0, 3, 1, 2)


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 products on CUDA round their operands to TF32; afterwards as it was."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


class RowByRowConv:
    """A convolution without padding: each kernel row makes channels of its own, which are summed.

    With few outputs, R times more of them keep the processor's vector units full.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """``weight`` (O,C,R,S)."""
        self.outputs, _, self.rows, _ = weight.shape
        by_row = weight.permute(2, 0, 1, 3).flatten(0, 1).unsqueeze(2)  # (RO,C,1,S)
        self.weight, self.bias = by_row.contiguous(memory_format=CHANNELS_LAST), bias[:, None, None]

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H+R-1,W+S-1) -> (B,O,H,W)."""
        height = x.shape[2] - self.rows + 1
        partial_sums = F.conv2d(x, self.weight).split(self.outputs, dim=1)  # R of (B,O,H+R-1,W)
        y = partial_sums[0][:, :, :height] + self.bias
        for row, summand in enumerate(partial_sums[1:], start=1):
            y += summand[:, :, row : row + height]
        return y
