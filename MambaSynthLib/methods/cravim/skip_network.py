"""CRAViM's generator with skip connections, for whole heads; ours, by the paper's own parts.

    image --fold--> conv1 --> conv2 --> conv3 --> VSS1 --> residual blocks --> VSS2
                      |         |                                               |
    image <--unfold-- heads <-- join1 <---------- join2 <------ upsampled ------+
      h   <--unfold-- interval <--|

| symbol | code         | shape               | meaning                                         |
|--------|--------------|---------------------|-------------------------------------------------|
| x_0    | ``images``   | (B,1+2r,H,W)        | source slice, the r source slices before, after |
| m      | ``inside``   | (B,1,H,W)           | 1 where the source slice is not ``EMPTY``       |
| F      | ``FOLD``     | 2                   | pixels a side that become channels of one       |
| e_1..3 | ``stem``     | (B,C,H/F,W/F), ...  | features of the stem, kept for the decoder      |
| a_i    | ``attention``| (B,A,H,W)           | attention maps, a softmax over the A maps       |
| c_i    | ``content``  | (B,A-1,H,W)         | content images in [-1,1]                        |
| y_0    | return value | (B,1,1+2o,H,W)      | target estimates, Eq. 2 as in ``network.py``: of |
|        | [:, :1]      |                     | the slice, of the o before it and the o after it |
| h      | [:, 1:]      | (B,1,1+2o,H,W)      | with ``interval``: half-widths of the intervals  |
|        |              |                     | in which 90 % of the acquired values lie         |

The paper's: a stem of three convolutions, EVSS blocks around residual blocks, content and attention
maps, the source itself under the last map. Ours: the fold (a third halving, as the paper's text has
and its code has not), the mask m (what is dark beside the air is bone in a head, fluid in a brain
without skull), the skip connections, one decoder for both kinds of maps, no noise channel,
estimates of the neighbors, which the Engine averages with those that they make of themselves,
half-widths, which learn from the features and change no estimate, and batch normalization with the
training's statistics, so that what a slice gets does not depend on what else it shows: instance
normalization makes the brightness of neighboring slices jitter.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MambaSynthLib.image.intensity import EMPTY
from MambaSynthLib.image.neighbors import own_and_neighbors
from MambaSynthLib.methods.cravim.config import CRAViMConfig
from MambaSynthLib.methods.cravim.evss import EVSSBlock

FOLD = 2
MOMENTUM = 0.02  # of the running statistics: they average about 50 batches
FIRST_LOG_WIDTH = -2.0  # of an untrained interval: about a seventh of the range's half


class SkipCRAViM(nn.Module):
    """Images (B,1+2r,H,W) -> (B,1+interval,1+2o,H,W); H and W must be multiples of 8."""

    def __init__(self, config: CRAViMConfig) -> None:
        super().__init__()
        self.config = config
        ngf, folded = config.ngf, FOLD * FOLD
        seen = config.input_channels + 2 * config.neighbors + 1  # the mask
        self.conv1 = ConvNorm(seen * folded, ngf, kernel=5)
        self.conv2 = ConvNorm(ngf, 2 * ngf, stride=2)
        self.conv3 = ConvNorm(2 * ngf, 4 * ngf, stride=2)
        self.VSS1 = EVSSBlock(4 * ngf)
        self.resnet_blocks = nn.Sequential(*(Residual(4 * ngf) for _ in range(config.n_blocks)))
        self.VSS2 = EVSSBlock(4 * ngf)
        self.up2 = ConvNorm(4 * ngf, 2 * ngf, kernel=1)
        self.join2 = ConvNorm(4 * ngf, 2 * ngf)
        self.up1 = ConvNorm(2 * ngf, ngf, kernel=1)
        self.join1 = ConvNorm(2 * ngf, ngf)
        self.seen = own_and_neighbors(config.neighbors, config.overlap)
        maps = 2 * config.n_attentions - 1
        self.heads = nn.Conv2d(ngf, len(self.seen) * maps * folded, 3, padding=1)
        if config.interval:
            self.interval = Interval(ngf, len(self.seen) * folded)

    def forward(self, images: Tensor) -> Tensor:
        inside = (images[:, :1] > EMPTY).to(images.dtype)
        first = self.conv1(F.pixel_unshuffle(torch.cat([images, inside], 1), FOLD))  # (B,C,H/2,W/2)
        second = self.conv2(first)  # (B,2C,H/4,W/4)
        x = self.bottleneck(self.conv3(second))  # (B,4C,H/8,W/8)
        x = self.join2(torch.cat([doubled(self.up2(x)), second], dim=1))
        x = self.join1(torch.cat([doubled(self.up1(x)), first], dim=1))
        maps = F.pixel_shuffle(self.heads(x), FOLD).unflatten(1, (len(self.seen), -1))
        estimates = self.blend(images[:, self.seen], maps)
        if not self.config.interval:
            return estimates[:, None]
        half_widths = F.pixel_shuffle(self.interval(x.detach()), FOLD)
        return torch.stack([estimates, half_widths], dim=1)

    def bottleneck(self, x: Tensor) -> Tensor:
        """Fig. 1, "Information Bottleneck" between its two EVSS blocks. (B,4C,h,w) -> same."""
        x = self.VSS1(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.resnet_blocks(x)
        return self.VSS2(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def blend(self, source: Tensor, maps: Tensor) -> Tensor:
        """Eq. 2: sum_{i<A-1} c_i a_i + x_0 a_{A-1}. (B,m,H,W), (B,m,2A-1,H,W) -> (B,m,H,W)."""
        content, attention = maps.tensor_split([self.config.n_attentions - 1], dim=2)
        candidates = torch.cat([torch.tanh(content), source[:, :, None]], dim=2)  # (B,m,A,H,W)
        return (candidates * torch.softmax(attention, dim=2)).sum(dim=2)


class Interval(nn.Module):
    """Features (B,C,h,w) -> half-widths (B,out,h,w), positive: exp(conv(relu(conv(x))))."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, channels, 3, padding=1)
        self.log_width = nn.Conv2d(channels, out, 3, padding=1)
        nn.init.constant_(self.log_width.bias, FIRST_LOG_WIDTH)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(self.log_width(F.relu(self.inner(x))))


class ConvNorm(nn.Module):
    """Convolution, batch normalization, ReLU."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out, momentum=MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels, momentum=MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(self.first(x)))


def doubled(x: Tensor) -> Tensor:
    """(B,C,h,w) -> (B,C,2h,2w), each pixel repeated."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
