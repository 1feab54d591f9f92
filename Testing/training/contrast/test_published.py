"""Generators of CycleGAN and SynDiff as their own trainings save them, and a run begun with them.

The names are those of junyanz/pytorch-CycleGAN-and-pix2pix, models/networks.py
(``ResnetGenerator``, ``ResnetBlock``), and of icon-lab/SynDiff,
backbones/ncsnpp_generator_adagn.py (``NCSNpp``) and backbones/layerspp.py; what they compute is
written down here once more.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_data import write_tiny_data
from torch import nn

from MambaSynthLib.cli import main
from MambaSynthTraining.contrast.rivals.fir import double, halve, smooth_for_halving_conv
from MambaSynthTraining.contrast.rivals.generators import ResNetGenerator
from MambaSynthTraining.contrast.rivals.ncsnpp import NCSNpp, NCSNppConfig
from MambaSynthTraining.contrast.rivals.published import from_cyclegan, from_syndiff
from MambaSynthTraining.contrast.rivals.time_embedding import sinusoids
from MambaSynthTraining.runs import open_run
from Testing.training.baseline_twins import TWINS


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- CycleGAN


class PublishedBlock(nn.Module):
    def __init__(self, channels, dropout):
        super().__init__()
        half = [
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        ]
        again = [
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        ]
        self.conv_block = nn.Sequential(*half, nn.ReLU(), *[nn.Dropout(0.5)] * dropout, *again)

    def forward(self, x):
        return x + self.conv_block(x)


class PublishedResNet(nn.Module):
    def __init__(self, width, blocks, dropout=False):
        super().__init__()

        def normal(conv, out):
            return [conv, nn.InstanceNorm2d(out), nn.ReLU()]

        layers = [nn.ReflectionPad2d(3), *normal(nn.Conv2d(1, width, 7), width)]
        for n in (1, 2):
            conv = nn.Conv2d(n * width, 2 * n * width, 3, stride=2, padding=1)
            layers += normal(conv, 2 * n * width)
        layers += [PublishedBlock(4 * width, dropout) for _ in range(blocks)]
        for n in (4, 2):
            half = n * width // 2
            conv = nn.ConvTranspose2d(n * width, half, 3, stride=2, padding=1, output_padding=1)
            layers += normal(conv, half)
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 1, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


@pytest.mark.parametrize(("blocks", "dropout"), [(2, False), (9, True)])
def test_a_published_cyclegan_generator_computes_the_same_here(blocks, dropout):
    theirs, ours = PublishedResNet(8, blocks, dropout).eval(), ResNetGenerator(1, 1, 8, blocks)
    names = [name for name in theirs.state_dict() if name.endswith("weight")]
    assert names[0] == "model.1.weight" and names[3] == "model.10.conv_block.1.weight"
    ours.load_state_dict(from_cyclegan(theirs.state_dict()))
    x = torch.randn((1, 1, 32, 24), generator=rng())
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


# ---- SynDiff

CONFIG = NCSNppConfig(
    width=8, multipliers=(1, 2, 2), blocks=2, attention_levels=(1,), latent=4, style=6
)


class PublishedNCSNpp:
    """The order of ``all_modules``, each module with its published names; values are drawn when the
    module is first met, so that computing once also makes the checkpoint.
    """

    def __init__(self, seed=0):
        self.w, self.rng = {}, rng(seed)

    def get(self, name, *shape):
        if name not in self.w:
            fan = max(1, torch.Size(shape[1:]).numel())
            self.w[name] = torch.randn(shape, generator=self.rng) / fan**0.5
        return self.w[name]

    def conv(self, name, x, out, k=3, **more):
        weight, bias = (
            self.get(f"{name}.weight", out, x.shape[1], k, k),
            self.get(f"{name}.bias", out),
        )
        return F.conv2d(x, weight, bias, **({"padding": k // 2} | more))

    def linear(self, name, x, out):
        return F.linear(
            x, self.get(f"{name}.weight", out, x.shape[1]), self.get(f"{name}.bias", out)
        )

    def styled(self, name, x, z):
        gamma, beta = self.linear(f"{name}.style", z, 2 * x.shape[1])[:, :, None, None].chunk(2, 1)
        return gamma * F.group_norm(x, min(x.shape[1] // 4, 32), eps=1e-6) + beta

    def block(self, name, x, t, z, out, resample=None):
        h = F.silu(self.styled(f"{name}.GroupNorm_0", x, z))
        moved = resample is not None
        h, x = (resample(h), resample(x)) if moved else (h, x)
        h = self.conv(f"{name}.Conv_0", h, out)
        h = h + self.linear(f"{name}.Dense_0", F.silu(t), out)[:, :, None, None]
        h = self.conv(f"{name}.Conv_1", F.silu(self.styled(f"{name}.GroupNorm_1", h, z)), out)
        if moved or x.shape[1] != out:
            x = self.conv(f"{name}.Conv_2", x, out, 1)
        return (x + h) / 2**0.5

    def attention(self, name, x):
        c = x.shape[1]
        scale, shift = (
            self.get(f"{name}.GroupNorm_0.weight", c),
            self.get(f"{name}.GroupNorm_0.bias", c),
        )
        h = F.group_norm(x, min(c // 4, 32), scale, shift, eps=1e-6)

        def nin(n, y):  # a matrix (in, out)
            shift = self.get(f"{name}.NIN_{n}.b", c)
            return (
                torch.einsum("bchw,cd->bdhw", y, self.get(f"{name}.NIN_{n}.W", c, c))
                + (shift[:, None, None])
            )

        q, k, v = (nin(n, h).flatten(2) for n in range(3))
        among = torch.softmax(torch.einsum("bci,bcj->bij", q, k) * c**-0.5, dim=2)
        found = torch.einsum("bij,bcj->bci", among, v).reshape(x.shape)
        return (x + nin(3, found)) / 2**0.5

    def __call__(self, x, t, z, config):
        z = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
        for n in (1, 3, 5, 7):
            z = F.silu(self.linear(f"z_transform.{n}", z, config.style))
        numbers = iter(range(1000))

        def name():
            return f"all_modules.{next(numbers)}"

        t = self.linear(name(), sinusoids(t, config.width), 4 * config.width)
        t = self.linear(name(), F.silu(t), 4 * config.width)
        pyramid, h = x, self.conv(name(), x, config.width)
        skips = [h]
        widths = [config.width * m for m in config.multipliers]
        for level, out in enumerate(widths):
            for _ in range(config.blocks):
                h = self.block(name(), h, t, z, out)
                h = self.attention(name(), h) if level in config.attention_levels else h
                skips.append(h)
            if level < len(widths) - 1:
                h = self.block(name(), h, t, z, out, halve)
                smooth = smooth_for_halving_conv(pyramid)
                pyramid = self.conv(f"{name()}.Conv2d_0", smooth, out, stride=2, padding=0)
                h = pyramid = (pyramid + h) / 2**0.5
                skips.append(h)
        h = self.block(name(), h, t, z, widths[-1])
        h = self.attention(name(), h)
        h = self.block(name(), h, t, z, widths[-1])
        for level, out in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                h = self.block(name(), torch.cat([h, skips.pop()], dim=1), t, z, out)
            h = self.attention(name(), h) if level in config.attention_levels else h
            h = self.block(name(), h, t, z, out, double) if level else h
        last, c = name(), h.shape[1]
        scale, shift = self.get(f"{last}.weight", c), self.get(f"{last}.bias", c)
        h = F.silu(F.group_norm(h, min(c // 4, 32), scale, shift, eps=1e-6))
        return torch.tanh(self.conv(name(), h, 2))[:, :1]


def test_a_published_syndiff_generator_computes_the_same_here():
    theirs, ours, draws = PublishedNCSNpp(), NCSNpp(CONFIG), rng(1)
    guide, noised = (torch.randn((2, 1, 16, 24), generator=draws) for _ in range(2))
    t, z = torch.tensor([0, 3]), torch.randn((2, CONFIG.latent), generator=draws)
    expected = theirs(torch.cat([noised, guide], dim=1), t, z, CONFIG)  # as published
    saved = {f"module.{name}": values for name, values in theirs.w.items()}
    ours.load_state_dict(from_syndiff(saved, CONFIG))
    with torch.no_grad():
        found = ours(torch.cat([guide, noised], dim=1), t, z)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


# ---- a run

RECIPE = """
method: {method}
seed: 3
network: {network}
optimization: {{learning_rates: {{generators: 0.0, discriminators: 0.0}}}}
stages: [{{iterations: 1, batch: 1, crop: [64, 64]}}]
every: {{log: 1, save: 1, validate: 1}}
"""


def begun(place, method, checkpoint, network=None):
    """Exit code of a training of one iteration that changes nothing."""
    write_tiny_data(place / "data")
    sizes = network or TWINS[method]
    (place / "recipe.yaml").write_text(RECIPE.format(method=method, network=sizes))
    words = ["train", str(place / "recipe.yaml"), "--data", str(place / "data")]
    words += ["--out", str(place / "run"), "--accelerator", "cpu", "--init", str(checkpoint)]
    return main(words)


def test_a_run_begins_with_a_published_generator_and_says_what_begins_anew(tmp_path, capsys):
    sizes = TWINS["cyclegan"]
    theirs = PublishedResNet(sizes["width"], sizes["blocks"])
    torch.save(theirs.state_dict(), tmp_path / "200_net_G_A.pth")
    assert begun(tmp_path, "cyclegan", tmp_path / "200_net_G_A.pth") == 0
    told = "200_net_G_A.pth: has one generator; what else the method trains begins anew"
    assert told in capsys.readouterr().err
    run = open_run(tmp_path / "run")
    expected = theirs.state_dict()["model.10.conv_block.5.weight"]
    torch.testing.assert_close(run.weights()["trunk.7.conv2.weight"], expected)
    assert run.record["start"]["checkpoint"] == "200_net_G_A.pth"


def test_layers_of_another_size_are_told_by_name(tmp_path, capsys):
    torch.save(PublishedResNet(16, 2).state_dict(), tmp_path / "latest_net_G_A.pth")
    assert (
        begun(tmp_path, "cyclegan", tmp_path / "latest_net_G_A.pth", {"width": 8, "blocks": 2}) == 2
    )
    told = capsys.readouterr().err
    assert "trunk.1.weight is 16 x 1 x 7 x 7, the recipe's 8 x 1 x 7 x 7); give its sizes" in told
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, capsys):
    (tmp_path / "a.pth").write_bytes(b"nothing")
    assert begun(tmp_path, "cyclegan", tmp_path / "a.pth") == 2
    assert "a.pth: is no plain PyTorch checkpoint" in capsys.readouterr().err
