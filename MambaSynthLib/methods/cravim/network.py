"""CRAViM's generator, Fig. 1 from left to right.

| symbol     | code          | shape      | meaning                                                |
|------------|---------------|------------|--------------------------------------------------------|
| x_0 , y_t  | ``images``    | (B,2,H,W)  | source slice and noised target slice                   |
|            |               |(B,2+2r,H,W)| the same, then the r source slices before, r after it  |
| x'_0, y'_0 | return value  | (B,2,H,W)  | transported source (should equal x_0), target estimate |
| a_i        | ``attention`` | (B,A,H,W)  | attention maps, a softmax over the A maps              |
| c_i        | ``content``   | (B,2A,H,W) | content images; the last pair is never used            |

The network is not told the diffusion step: it reads the noise level off the noised channel.
The neighboring source slices are ours: r is ``CRAViMConfig.neighbors``, 0 in the paper.
Attribute names equal the keys of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MambaSynthLib.errors import ModelError
from MambaSynthLib.methods.cravim.config import CRAViMConfig as CRAViMConfig
from MambaSynthLib.methods.cravim.evss import EVSSBlock
from MambaSynthLib.methods.cravim.skip_network import SkipCRAViM

SIZE_MULTIPLE = 4  # two stride-2 convolutions; other sizes do not come back


def build(sizes: Mapping[str, int]) -> CRAViM | SkipCRAViM:
    """The generator that a model card's ``network`` entry describes."""
    config = CRAViMConfig(**sizes)
    return SkipCRAViM(config) if config.skips else CRAViM(config)


def config_of_weights(shapes: Mapping[str, tuple[int, ...]]) -> CRAViMConfig:
    """The sizes that a checkpoint was trained with, read off its shapes.

    Raises
    ------
    ModelError: a key that every CRAViM generator has is missing.
    """
    try:
        blocks = {int(key.split(".")[1]) for key in shapes if key.startswith("resnet_blocks.")}
        n_attentions = shapes["deconv3_attention.weight"][0]
        ngf, input_channels = shapes["conv1.weight"][:2]
        if not blocks:
            raise KeyError("resnet_blocks.0")
        return CRAViMConfig(
            ngf=ngf,
            n_blocks=1 + max(blocks),
            n_attentions=n_attentions,
            input_channels=input_channels,
            output_channels=shapes["deconv3_content.weight"][0] // n_attentions,
        )
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        problem = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ModelError(
            f"the weights are no CRAViM generator ({problem}); expected the keys of "
            "netG_A2B_<epoch>.pth as written by CRAViM's training."
        ) from error


class CRAViM(nn.Module):
    """Images (B,2+2r,H,W) -> (B,2,H,W); H and W must be multiples of 4.

    Channel 0 of the result is the transported source, channel 1 the target estimate. The last
    attention map multiplies the first two inputs themselves, so the result is not confined to
    [-1,1].
    """

    def __init__(self, config: CRAViMConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CRAViMConfig()
        ngf, n_att, n_out = config.ngf, config.n_attentions, config.output_channels
        self.conv1 = nn.Conv2d(config.input_channels + 2 * config.neighbors, ngf, 7)
        self.conv2 = nn.Conv2d(ngf, 2 * ngf, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(2 * ngf, 4 * ngf, 3, stride=2, padding=1)
        self.VSS1 = _vss(4 * ngf)
        self.resnet_blocks = nn.Sequential(
            *(ResidualBlock(4 * ngf) for _ in range(config.n_blocks))
        )
        self.VSS2 = _vss(4 * ngf)
        self.deconv1_content = _upsampling(4 * ngf, 2 * ngf)
        self.deconv2_content = _upsampling(2 * ngf, ngf)
        self.deconv3_content = nn.Conv2d(ngf, n_att * n_out, 7)
        self.deconv1_attention = _upsampling(4 * ngf, 2 * ngf)
        self.deconv2_attention = _upsampling(2 * ngf, ngf)
        self.deconv3_attention = nn.Conv2d(ngf, n_att, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.bottleneck(self.embed(images))
        return self.blend(images, self.content(features), self.attention(features))

    def embed(self, images: Tensor) -> Tensor:
        """Fig. 1, "ConvEmbedding". (B,2+2r,H,W) -> (B,4 ngf,H/4,W/4)."""
        x = norm_relu(self.conv1(reflect(images, 3)))
        x = norm_relu(self.conv2(x))
        x = norm_relu(self.conv3(x))
        return self.VSS1(x)

    def bottleneck(self, x: Tensor) -> Tensor:
        """Fig. 1, "Information Bottleneck". (B,4 ngf,H/4,W/4) -> same."""
        return self.VSS2(self.resnet_blocks(x))

    def content(self, x: Tensor) -> Tensor:
        """The content images c_i in [-1,1]. (B,4 ngf,H/4,W/4) -> (B,2A,H,W)."""
        x = norm_relu(self.deconv1_content(x))
        x = norm_relu(self.deconv2_content(x))
        return torch.tanh(self.deconv3_content(reflect(x, 3)))

    def attention(self, x: Tensor) -> Tensor:
        """The attention maps a_i, summing to one. (B,4 ngf,H/4,W/4) -> (B,A,H,W).

        The paper's Eq. 2 gates with a sigmoid; the published code, which we follow, uses softmax.
        """
        x = norm_relu(self.deconv1_attention(x))
        x = norm_relu(self.deconv2_attention(x))
        return torch.softmax(self.deconv3_attention(x), dim=1)

    def blend(self, images: Tensor, content: Tensor, attention: Tensor) -> Tensor:
        """Eq. 2: sum_{i<A-1} c_i a_i + images a_{A-1}, neighbors left out. -> (B,2,H,W)."""
        candidates = content.unflatten(1, (self.config.n_attentions, -1))  # (B,A,2,H,W)
        weights = attention.unsqueeze(2)  # (B,A,1,H,W)
        pair = images[:, : self.config.output_channels]
        return (candidates[:, :-1] * weights[:, :-1]).sum(1) + pair * attention[:, -1:]


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), reflecting borders, no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3)
        self.conv2 = nn.Conv2d(channels, channels, 3)
        for conv in (self.conv1, self.conv2):
            nn.init.normal_(conv.weight, 0.0, 0.02)
            nn.init.constant_(conv.bias, 0.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        inner = norm_relu(self.conv1(reflect(x, 1)))
        return x + F.instance_norm(self.conv2(reflect(inner, 1)))


def norm_relu(x: Tensor) -> Tensor:
    """Instance normalization without parameters, then ReLU."""
    return F.relu(F.instance_norm(x))


class _Permute(nn.Module):
    """A fixed permutation of the axes, as a layer, so that EVSS sits at index 1 of its key."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.axes)


def _vss(channels: int) -> nn.Sequential:
    return nn.Sequential(_Permute(0, 2, 3, 1), EVSSBlock(channels), _Permute(0, 3, 1, 2))


def _upsampling(channels: int, out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, out, 3, stride=2, padding=1, output_padding=1)


def reflect(x: Tensor, pad: int) -> Tensor:
    """Mirror ``pad`` pixels at each border, without repeating the border itself."""
    return F.pad(x, (pad, pad, pad, pad), mode="reflect")
