"""The convolutional generators: ResNet-n (CycleGAN), attention (AttentionGAN), U-Net (Pix2Pix).

| symbol | code        | meaning                                                             |
|--------|-------------|---------------------------------------------------------------------|
| x      | ``images``  | (B,C,H,W) in [-1,1]: the source slice, or source and noised target   |
| ngf    | ``width``   | channels of the first layer; the papers take 64                     |
| n      | ``blocks``  | residual blocks of the trunk; the papers take 9, SynDiff 6          |
| A      | ``n_attentions`` | attention maps, A - 1 of content and one of the background      |
| c_i, a_i | ``content``, ``attention`` | content images and attention maps of AttentionGAN      |

Sources: Zhu et al., ICCV 2017 (ResNet, App. 7.2); Tang et al., IEEE TNNLS 2021 (attention,
Eq. 6-9); Isola et al., CVPR 2017 (U-Net, App. 6.1). Norms are instance norms without parameters
and weights start as N(0, 0.02), as in all three published codes; the published U-Net has batch
norm (equal to ours at its batch size of 1) and dropout, which we leave out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MambaSynthLib.methods.cravim.network import ResidualBlock, norm_relu

Undo = Callable[[Tensor], Tensor]


class ResNetGenerator(nn.Module):
    """Images (B,C,H,W) -> (B,C',H,W) in (-1,1); H and W must be multiples of 4.

    One channel, width 64 and 9 blocks: 11,365,633 parameters; 6 blocks: 7,825,153.
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 1, width: int = 64, blocks: int = 9
    ) -> None:
        super().__init__()
        self.trunk = _trunk(in_channels, width, blocks)
        self.decoder = _decoder(width, out_channels, kernel=7)
        normal_init(self)

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(self.decoder(self.trunk(images)))


class AttentionGenerator(nn.Module):
    """Images (B,C,H,W) -> (B,C,H,W): content where it attends, the input itself elsewhere.

    One channel, width 64, 9 blocks and 10 maps: 11,760,211 parameters; RGB: 11,822,949.
    CRAViM's generator without its state-space blocks, and with no dead content channels.
    """

    def __init__(
        self, channels: int = 1, width: int = 64, blocks: int = 9, n_attentions: int = 10
    ) -> None:
        super().__init__()
        self.trunk = _trunk(channels, width, blocks)
        self.content = _decoder(width, channels * (n_attentions - 1), kernel=7)
        self.attention = _decoder(width, n_attentions, kernel=1)
        normal_init(self)

    def forward(self, images: Tensor) -> Tensor:
        features = self.trunk(images)
        content = torch.tanh(self.content(features))
        content = content.unflatten(1, (-1, images.shape[1]))  # (B,A-1,C,H,W)
        attention = torch.softmax(self.attention(features), dim=1).unsqueeze(2)  # (B,A,1,H,W)
        return (content * attention[:, :-1]).sum(1) + images * attention[:, -1]


class UNetGenerator(nn.Module):
    """Images (B,C,H,W) -> (B,C',H,W) in (-1,1), of any size; ``levels`` halvings, 8 for 256x256.

    A size that is no multiple of 2^levels is padded with its border and cropped again.
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 1, width: int = 64, levels: int = 8
    ) -> None:
        super().__init__()
        widths = [in_channels, *(width * min(2**n, 8) for n in range(levels))]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths))
        outward = [out_channels, *widths[1:]]
        self.up = nn.ModuleList(  # each but the innermost also receives the skipped features
            nn.ConvTranspose2d(outward[n] * (1 if n == levels else 2), outward[n - 1], 4, 2, 1)
            for n in range(levels, 0, -1)
        )
        normal_init(self)

    def forward(self, images: Tensor) -> Tensor:
        x, undo = pad_to_multiple(images, 2 ** len(self.down))
        skipped: list[Tensor] = []
        for n, conv in enumerate(self.down, start=1):
            x = conv(F.leaky_relu(x, 0.2) if skipped else x)
            if 1 < n < len(self.down):  # the outermost and the innermost have no norm
                x = F.instance_norm(x)
            skipped.append(x)
        x = skipped.pop()
        for conv in self.up:
            x = conv(F.relu(x))
            if skipped:
                x = torch.cat([F.instance_norm(x), skipped.pop()], dim=1)
        return undo(torch.tanh(x))


def _trunk(channels: int, width: int, blocks: int) -> nn.Sequential:
    """7x7 convolution, two halvings, residual blocks. (B,C,H,W) -> (B,4 width,H/4,W/4)."""
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        *_normalized(nn.Conv2d(channels, width, 7)),
        *_normalized(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)),
        *_normalized(nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)),
        *(ResidualBlock(4 * width) for _ in range(blocks)),
    )


def _decoder(width: int, out: int, kernel: int) -> nn.Sequential:
    """Two doublings and the last convolution. (B,4 width,H/4,W/4) -> (B,out,H,W)."""

    def doubling(channels: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)

    return nn.Sequential(
        *_normalized(doubling(4 * width)),
        *_normalized(doubling(2 * width)),
        nn.ReflectionPad2d(kernel // 2),
        nn.Conv2d(width, out, kernel),
    )


def _normalized(conv: nn.Module) -> tuple[nn.Module, ...]:
    return conv, _NormReLU()


class _NormReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return norm_relu(x)


def normal_init(network: nn.Module) -> None:
    """Weights of all convolutions N(0, 0.02), biases zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def pad_to_multiple(x: Tensor, multiple: int) -> tuple[Tensor, Undo]:
    """(B,C,H,W) with its last row and column repeated up to a multiple, and what crops it back."""
    height, width = x.shape[-2:]
    short = (0, -width % multiple, 0, -height % multiple)
    return F.pad(x, short, mode="replicate"), lambda y: y[..., :height, :width]
