"""Checkpoints of DDM's published training, whose names and layers are written down here once more.

Names: torchDDM/DDM, model/my_voxelmorph.py (``registUnetBlock``), model/ddpm_modules/diffusion.py
(``GaussianDiffusion``: denoise_fn, field_fn, the buffers of its schedule); of the U-Net, whose file
is that of DiffuseMorph/DiffuseMorph, model/diffusion_net_3D/unet.py (``UNet``).
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from MambaSynthLib.cli import main
from MambaSynthLib.errors import ModelError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.install.checkpoints import import_checkpoint
from MambaSynthLib.io.files import write_volume
from MambaSynthLib.methods.mstg.ddm_names import config_of_ddm, from_ddm, is_ddm
from MambaSynthLib.methods.mstg.network import MSTG

WIDTHS = (8, 16, 32, 32)  # inner_channel 8, channel_multiplier 1, 2, 4, 4
FIELD_DOWN, FIELD_UP = (16, 32, 32, 32, 32), (32, 32, 32, 8, 8, 3)  # encoder_nc, decoder_nc


def published(seed=0):
    """Name -> random values, in the order of the published modules."""
    rng = torch.Generator().manual_seed(seed)
    found = {}

    def put(name, *shape, bias=True):
        fan = max(1, torch.Size(shape[1:]).numel())
        found[f"{name}.weight"] = torch.randn(shape, generator=rng) / fan**0.5
        if bias:
            found[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=rng)

    def block(name, inputs, out):
        put(f"{name}.res_block.mlp.1", out, WIDTHS[0])
        for part, channels in (("block1", inputs), ("block2", out)):
            put(f"{name}.res_block.{part}.block.0", channels)
            put(f"{name}.res_block.{part}.block.3", out, channels, 3, 3, 3)
        if inputs != out:
            put(f"{name}.res_block.res_conv", out, inputs, 1, 1, 1)

    unet = "denoise_fn"
    found[f"{unet}.time_mlp.0.inv_freq"] = torch.rand(4)
    put(f"{unet}.time_mlp.1", 32, 8)
    put(f"{unet}.time_mlp.3", 8, 32)
    put(f"{unet}.downs.0", 8, 3, 3, 3, 3)
    now, skips, n = 8, [8], 1
    for level, width in enumerate(WIDTHS):
        block(f"{unet}.downs.{n}", now, width)
        now, n = width, n + 1
        skips.append(now)
        if level < 3:
            put(f"{unet}.downs.{n}.conv", now, now, 3, 3, 3)
            skips.append(now)
            n += 1
    block(f"{unet}.mid.0", now, now)
    put(f"{unet}.mid.0.attn.norm", now)
    put(f"{unet}.mid.0.attn.qkv", 3 * now, now, 1, 1, 1, bias=False)
    put(f"{unet}.mid.0.attn.out", now, now, 1, 1, 1)
    block(f"{unet}.mid.1", now, now)
    n = 0
    for level, width in reversed(list(enumerate(WIDTHS))):
        for _ in range(2):
            block(f"{unet}.ups.{n}", now + skips.pop(), width)
            now, n = width, n + 1
        if level:
            put(f"{unet}.ups.{n}.conv", now, now, 3, 3, 3)
            n += 1
    put(f"{unet}.final_conv.block.0", now)
    put(f"{unet}.final_conv.block.3", 1, now, 3, 3, 3)
    field(put)
    found["betas"] = torch.linspace(1e-6, 1e-2, 2000)
    found["posterior_mean_coef1"] = torch.rand(2000)
    return found


def field(put):
    put("field_fn.inconv.block.block.0", FIELD_DOWN[0], 2, 3, 3, 3)
    for n in range(1, 5):
        put(f"field_fn.downconv{n}.block.block.0", FIELD_DOWN[n], FIELD_DOWN[n - 1], 3, 3, 3)
    inputs = (32, FIELD_UP[0], FIELD_UP[1], FIELD_UP[3])
    outputs = (FIELD_UP[0], FIELD_UP[1], FIELD_UP[2], FIELD_UP[4])
    for n, (i, o) in enumerate(zip(inputs, outputs, strict=True), start=1):
        put(f"field_fn.upconv{n}.upconv", i, i, 3, 3, 3)
        put(f"field_fn.upconv{n}.block.block.0", o, i + FIELD_DOWN[4 - n], 3, 3, 3)
    put("field_fn.keepblock.block.0", FIELD_UP[3], FIELD_UP[2], 3, 3, 3)
    put("field_fn.outconv.block", FIELD_UP[5], FIELD_UP[4], 3, 3, 3)


class Published:
    """What the published networks compute, from values under their published names."""

    def __init__(self, weights):
        self.w = weights

    def conv(self, name, x, stride=1):
        weight = self.w[f"{name}.weight"]
        return F.conv3d(x, weight, self.w.get(f"{name}.bias"), stride, padding=weight.shape[2] // 2)

    def linear(self, name, x):
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def norm(self, name, x):
        return F.group_norm(x, 4, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def block(self, name, x):
        return self.conv(f"{name}.block.3", F.silu(self.norm(f"{name}.block.0", x)))

    def residual(self, name, x, t):
        inside = f"{name}.res_block"
        h = self.block(f"{inside}.block1", x)
        h = h + self.linear(f"{inside}.mlp.1", F.silu(t))[:, :, None, None, None]
        h = self.block(f"{inside}.block2", h)
        changes = f"{inside}.res_conv.weight" in self.w
        h = h + (self.conv(f"{inside}.res_conv", x) if changes else x)
        return self.attention(f"{name}.attn", h) if f"{name}.attn.norm.weight" in self.w else h

    def attention(self, name, x):
        b, c, *sizes = x.shape
        qkv = self.conv(f"{name}.qkv", self.norm(f"{name}.norm", x))
        q, k, v = qkv.reshape(b, 3, 4, c // 4, -1).unbind(1)  # (B,h,d,L) each
        context = k.softmax(dim=-1) @ v.transpose(-1, -2)  # (B,h,d,e)
        mixed = (context.transpose(-1, -2) @ q).reshape(b, c, *sizes)
        return self.conv(f"{name}.out", mixed) + x

    def noise(self, x, t):
        rates = 10_000 ** (-torch.arange(0, 8, 2) / 8)
        angles = t[:, None] * rates
        t = torch.cat([angles.sin(), angles.cos()], dim=1)
        t = self.linear("denoise_fn.time_mlp.3", F.silu(self.linear("denoise_fn.time_mlp.1", t)))
        x = self.conv("denoise_fn.downs.0", x)
        skips = [x]
        for n in range(1, 8):
            name = f"denoise_fn.downs.{n}"
            x = self.residual(name, x, t) if n % 2 else self.conv(f"{name}.conv", x, stride=2)
            skips.append(x)
        for n in (0, 1):
            x = self.residual(f"denoise_fn.mid.{n}", x, t)
        for n in range(11):
            name = f"denoise_fn.ups.{n}"
            if n % 3 < 2:
                x = self.residual(name, torch.cat([x, skips.pop()], dim=1), t)
            else:
                x = self.conv(f"{name}.conv", F.interpolate(x, scale_factor=2))
        return self.block("denoise_fn.final_conv", x)

    def field(self, x):
        def active(name, x, stride=1):
            return F.leaky_relu(self.conv(f"field_fn.{name}", x, stride), 0.2)

        skips = [active("inconv.block.block.0", x)]
        for n in range(1, 5):
            skips.append(active(f"downconv{n}.block.block.0", skips[-1], 2))
        x = skips.pop()
        for n in range(1, 5):
            if n == 4:
                x = active("keepblock.block.0", x)
            name = f"field_fn.upconv{n}.upconv"
            weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
            x = F.conv_transpose3d(x, weight, bias, stride=2, padding=1, output_padding=1)
            x = active(f"upconv{n}.block.block.0", torch.cat([skips.pop(), x], dim=1))
        return self.conv("field_fn.outconv.block", x)


def ball(radius):
    """A bright ball that shrinks, 32x32x16 voxels of 2x2x4 mm."""
    x, y, z = np.meshgrid(np.arange(32) - 15.5, np.arange(32) - 15.5, 2 * np.arange(16) - 15)
    inside = 1 / (1 + np.exp(np.sqrt(x**2 + y**2 + z**2) - 2 * radius))
    return Volume((100 + 400 * inside).astype(np.float32), np.diag([2.0, 2, 4, 1]), "ball")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("ddm") / "I72000_E800_gen_G.pth"
    torch.save(published(), path)
    return path


def test_a_published_network_computes_the_same_here():
    weights = published(1)
    ours = from_ddm(weights)
    network = MSTG(config_of_ddm({name: values.shape for name, values in ours.items()}))
    network.load_state_dict(ours)
    theirs, rng = Published(weights), torch.Generator().manual_seed(2)
    images = torch.rand((1, 3, 16, 16, 32), generator=rng)
    with torch.no_grad():
        t = torch.tensor([37.0])
        noise = theirs.noise(images, t)
        torch.testing.assert_close(network.diffusion(images, t), noise, rtol=1e-3, atol=1e-4)
        pair = torch.cat([images[:, :1], noise], dim=1)
        expected = theirs.field(pair)
        torch.testing.assert_close(network.deformation(pair), expected, rtol=1e-3, atol=1e-4)


def test_an_imported_checkpoint_is_a_cine_model_that_the_engine_runs(checkpoint, tmp_path, capsys):
    words = ["models", "import", str(checkpoint), "-o", str(tmp_path / "ddm"), "--id", "ddm"]
    assert main([*words, "--license", "NOASSERTION"]) == 0
    assert "installed ddm (ED + ES -> cine)" in capsys.readouterr().out
    assert main(["models", "verify", str(tmp_path / "ddm")]) == 0
    write_volume(ball(5.0), tmp_path / "ed.nii.gz")
    write_volume(ball(4.0), tmp_path / "es.nii.gz")
    words = ["cine", str(tmp_path / "ed.nii.gz"), str(tmp_path / "es.nii.gz"), "--frames", "4"]
    out = tmp_path / "cine.nii.gz"
    assert main([*words, "--model", str(tmp_path / "ddm"), "--no-refine", "-o", str(out)]) == 0
    assert nib.load(out).shape == (32, 32, 16, 4)
    assert "model ddm 1.0.0 (mstg)" in capsys.readouterr().out


def test_contrasts_and_grid_of_a_ddm_network_are_not_the_users(checkpoint, tmp_path):
    with pytest.raises(RequestError, match="is a DDM network.*leave --to, --spacing and --size"):
        import_checkpoint(
            checkpoint, source_contrast="T1w", target_contrast="T2w", folder=tmp_path / "x"
        )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda w: w.update({"denoise_fn.extra.weight": torch.ones(1)}),
            "extra.weight is no layer",
        ),
        (lambda w: w.pop("denoise_fn.downs.7.res_block.block2.block.3.weight"), "not those of DDM"),
        (lambda w: w.pop("field_fn.outconv.block.weight"), "field.weight"),
    ],
)
def test_a_layer_too_many_or_too_few_is_told_and_nothing_is_installed(tmp_path, change, told):
    weights = published()
    change(weights)
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=told):
        import_checkpoint(
            tmp_path / "a.pth", source_contrast="T1w", target_contrast=None, folder=tmp_path / "x"
        )
    assert not (tmp_path / "x").exists()


def test_other_checkpoints_are_not_taken_for_ddm():
    assert is_ddm(published()) and not is_ddm({"conv1.weight": 0, "model.1.weight": 0})
