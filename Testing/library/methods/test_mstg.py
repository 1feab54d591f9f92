"""MSTG and MSTG+: sizes, schedule, exact ends, invertible motion, and the NumPy door."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from MambaSynthLib.errors import ModelError, RequestError
from MambaSynthLib.methods.mstg.config import MSTGConfig, config_of_card
from MambaSynthLib.methods.mstg.inference import TorchNetwork
from MambaSynthLib.methods.mstg.mamba import Mamba
from MambaSynthLib.methods.mstg.network import MSTG, Motion, build
from MambaSynthLib.methods.mstg.refinement import Refinement, TimeCurve
from MambaSynthLib.methods.mstg.schedule import LinearSchedule
from MambaSynthLib.methods.mstg.synthesis import iterate_frames, synthesize
from MambaSynthLib.methods.mstg.unets import DeformationUNet, DiffusionUNet
from MambaSynthLib.methods.mstg.warp import jacobian_determinant, warp

CHANNELS = (8, 16, 32, 32)
SWITCHES = ("exact_ends", "velocity", "bidirectional", "refine", "time_warp")
SMALL = (4, 8)  # channels, where their number does not matter
PLUS = MSTGConfig(SMALL, **dict.fromkeys(SWITCHES, True))


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def two_images(size=(10, 24, 20)) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(0).random((2, *size))
    ed, es = (gaussian_filter(part, 1.0).astype(np.float32) for part in noise)
    return ed, es


def lively(config: MSTGConfig, strength: float = 20) -> TorchNetwork:
    """A network whose fields are about a voxel, whose curve bends and whose refinement speaks."""
    torch.manual_seed(0)
    network = MSTG(config)
    with torch.no_grad():
        if config.mode == "deformation":
            network.deformation.field.weight.mul_(strength)
        if config.time_warp:
            network.curve.increments.copy_(torch.linspace(-0.05, 0.05, 8))
        if config.refine:
            network.refinement.layers[-1].weight.normal_()
    return TorchNetwork(network)


# ---- sizes


@pytest.mark.parametrize(
    ("choice", "expected"),
    [({}, 715_993), ({"decoder_mamba": False}, 624_841), ({"scan": "none"}, 715_665),
     ({"scan": "bidirectional"}, 715_993)],
)  # fmt: skip
def test_the_diffusion_network_has_its_specified_size(choice, expected):
    assert parameters(DiffusionUNet(CHANNELS, **choice)) == expected


def test_the_deformation_network_has_ddms_size_and_mstg_both():
    assert parameters(DeformationUNet()) == 361_299
    assert parameters(MSTG()) == 715_993 + 361_299


@pytest.mark.parametrize("scan", ["forward", "bidirectional", "none"])
@pytest.mark.parametrize("down", ["pool", "conv"])
def test_each_variant_returns_a_code_of_the_images_size_that_depends_on_the_step(scan, down):
    torch.manual_seed(0)
    network = DiffusionUNet((4, 8), down, scan)
    images = torch.rand(1, 3, 4, 8, 6)
    first, later = (network(images, torch.tensor([t])) for t in (0.0, 500.0))
    assert first.shape == (1, 1, 4, 8, 6)
    assert not torch.equal(first, later)


def test_every_weight_of_mstg_plus_receives_a_gradient():
    network = lively(PLUS)._network.train()
    ed, es = (torch.from_numpy(x)[None, None, :, :16, :16] for x in two_images((16, 24, 20)))
    frame = network.frame(network.motion(ed, es), torch.tensor([0.4]))
    frame.image.square().sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []


# ---- the schedule


def test_the_schedule_equals_monais_linear_one():
    networks = pytest.importorskip("monai.networks.schedulers")
    theirs = networks.DDPMScheduler(2000, schedule="linear_beta", beta_start=1e-6, beta_end=1e-2)
    np.testing.assert_allclose(LinearSchedule().betas, theirs.betas.numpy(), rtol=1e-4)
    np.testing.assert_allclose(LinearSchedule().abar, theirs.alphas_cumprod.numpy(), rtol=1e-3)


# ---- the frames


@pytest.mark.parametrize("switches", list(itertools.product([False, True], repeat=5)))
def test_every_combination_of_switches_gives_frames_and_fields(switches):
    config = MSTGConfig(SMALL, **dict(zip(SWITCHES, switches, strict=True)))
    ed, es = two_images((5, 16, 12))
    found = synthesize(lively(config), ed, es, [0.5])
    assert found.images.shape == (1, 5, 16, 12) and found.fields.shape == (1, 3, 5, 16, 12)
    assert 0 <= found.images.min() and found.images.max() <= 1


def test_plain_mstg_warps_ed_with_the_field_of_the_scaled_code():
    network = lively(MSTGConfig())
    ed, es = two_images((16, 16, 32))
    found = synthesize(network, ed, es, [0.3])
    module = network._network
    s, target = (torch.from_numpy(x)[None, None] for x in (ed, es))
    with torch.no_grad():
        images = torch.cat([2 * s - 1, 2 * target - 1, 2 * target - 1], dim=1)
        code = module.diffusion(images, torch.zeros(1))
        field = module.deformation(torch.cat([2 * s - 1, 0.3 * code], dim=1))
        expected = warp(s, field, "zeros")[0, 0].numpy()
    np.testing.assert_allclose(found.fields[0], field[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(found.images[0], expected, atol=1e-6)


@pytest.mark.parametrize("left_out", [None, "velocity", "bidirectional", "refine", "time_warp"])
def test_exact_ends_return_the_acquired_images_and_approach_them(left_out):
    config = MSTGConfig(SMALL, **{name: name != left_out for name in SWITCHES})
    ed, es = two_images((10, 16, 14))
    found = synthesize(lively(config), ed, es, [0, 1e-6, 1 - 1e-6, 1]).images
    assert np.array_equal(found[0], ed) and np.array_equal(found[3], es)
    np.testing.assert_allclose(found[1], ed, atol=1e-4)  # nothing jumps near the ends
    np.testing.assert_allclose(found[2], es, atol=1e-4)


def test_identical_images_give_identical_frames_without_motion():
    ed, _ = two_images()
    found = synthesize(lively(PLUS), ed, ed.copy(), [0, 0.2, 0.7, 1])
    assert all(np.array_equal(frame, ed) for frame in found.images)
    assert not found.fields.any()


def test_identical_images_have_no_motion_by_construction_either():
    network = lively(PLUS)._network
    ed = torch.from_numpy(two_images((16, 16, 16))[0])[None, None]
    with torch.no_grad():
        frame = network.frame(network.motion(ed, ed), torch.tensor([0.4]))
    assert frame.field.abs().max() < 1e-6
    torch.testing.assert_close(frame.image, ed, atol=1e-5, rtol=0)


def test_swapped_images_have_the_opposite_velocity():
    network = lively(PLUS)._network
    ed, es = (torch.from_numpy(x)[None, None] for x in two_images((16, 16, 16)))
    with torch.no_grad():
        forth, back = network.motion(ed, es), network.motion(es, ed)
    torch.testing.assert_close(forth.there, -back.there, atol=1e-5, rtol=0)


def test_the_fields_of_mstg_plus_do_not_fold():
    ed, es = two_images((16, 24, 20))
    fields = torch.from_numpy(synthesize(lively(PLUS, strength=5), ed, es, [0.25, 0.5, 1]).fields)
    assert fields[-1].abs().max() > 0.1
    assert (jacobian_determinant(fields) > 0).float().mean() > 0.999


def test_coarse_networks_see_an_eighth_of_the_voxels_and_move_the_whole_image(monkeypatch):
    network, seen = lively(replace(PLUS, coarse=True)), []
    forward = DiffusionUNet.forward

    def spy(self, images, *rest):
        seen.append(tuple(images.shape[2:]))
        return forward(self, images, *rest)

    monkeypatch.setattr(DiffusionUNet, "forward", spy)
    ed, es = two_images((32, 64, 32))
    found = synthesize(network, ed, es, [0.5])
    assert set(seen) == {(16, 32, 16)}
    field = torch.from_numpy(found.fields)
    assert field.abs().max() > 0.3
    assert jacobian_determinant(field).min() > 0


def test_a_coarse_field_is_in_voxels_of_the_whole_image():
    """A velocity of (0, 0, 1) half-size voxels everywhere moves the image by two voxels."""
    network = MSTG(replace(PLUS, coarse=True, refine=False, time_warp=False))
    ed, es = (torch.from_numpy(image)[None, None] for image in two_images((32, 32, 32)))
    velocity = torch.zeros(1, 3, 16, 16, 16)
    velocity[:, 2] = 1
    moved, _ = network.from_ed(Motion(ed, es, ed, there=velocity), torch.ones(1))
    torch.testing.assert_close(moved[..., :-2], ed[..., 2:], atol=1e-5, rtol=0)


def test_stages_before_the_first_scan_have_no_mamba():
    def scanned(first: int) -> int:
        network = DiffusionUNet(CHANNELS, first_scan=first)
        return sum(isinstance(module, Mamba) for module in network.modules())

    assert [scanned(first) for first in range(5)] == [9, 7, 5, 3, 1]


def test_any_number_of_frames_takes_two_field_computations(monkeypatch):
    network, seen = lively(PLUS), []
    for part in (network._network.diffusion, network._network.deformation):
        part.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    synthesize(network, *two_images((5, 16, 16)), np.linspace(0, 1, 7))
    assert sum(seen) == 4  # two samples through each network: ED to ES, and back


def test_frames_come_one_at_a_time_and_equal_those_that_come_together():
    network, (ed, es) = lively(PLUS), two_images((5, 16, 16))
    together = synthesize(network, ed, es, [0.2, 0.8]).images
    alone = [next(iterate_frames(network, ed, es, [fraction])).image for fraction in (0.2, 0.8)]
    assert np.array_equal(together, np.stack(alone))


def test_mode_image_paints_without_fields_and_the_same_each_time(monkeypatch):
    monkeypatch.setattr("MambaSynthLib.methods.mstg.network.DENOISING_STEPS", 2)
    network = lively(MSTGConfig(SMALL, scan="none", mode="image"))
    ed, es = two_images((5, 16, 16))
    first, second = (synthesize(network, ed, es, [0.5]) for _ in range(2))
    assert first.fields is None
    assert np.array_equal(first.images, second.images)
    assert not np.array_equal(first.images, synthesize(network, ed, es, [0.9]).images)


def test_sampling_with_the_true_noise_returns_the_true_image(monkeypatch):
    network = lively(MSTGConfig(SMALL, scan="none", mode="image"))
    ed, es = two_images((16, 16, 16))
    truth, schedule = torch.from_numpy(2 * es - 1)[None, None], LinearSchedule()

    def oracle(ed, es, x, t, gamma):
        kept = schedule.abar[int(t)]
        return (x - kept**0.5 * truth) / (1 - kept) ** 0.5

    monkeypatch.setattr(network._network, "code", oracle)
    np.testing.assert_allclose(synthesize(network, ed, es, [0.5]).images[0], es, atol=1e-3)


# ---- the parts of MSTG+


def test_the_time_curve_is_monotone_from_zero_to_one_and_starts_as_the_identity():
    curve, gamma = TimeCurve(), torch.linspace(0, 1, 101)
    torch.testing.assert_close(curve(gamma), gamma)
    with torch.no_grad():
        curve.increments.normal_(std=0.1)
    bent = curve(gamma).detach()
    assert (bent.diff() > 0).all() and (bent - gamma).abs().max() > 0.1
    assert bent[0] == 0 and float(bent[-1]) == pytest.approx(1)


def test_the_refinement_is_zero_at_both_ends_and_where_nothing_differs():
    refinement = Refinement()
    with torch.no_grad():
        refinement.layers[-1].weight.normal_()
    a, b = torch.rand(2, 1, 1, 8, 8, 12)
    b[..., 6:] = a[..., 6:]
    for end in (0.0, 1.0):
        assert not refinement(a, b, torch.tensor([end])).any()
    middle = refinement(a, b, torch.tensor([0.5]))
    assert not middle[..., 8:].any() and middle[..., :6].abs().min() > 0


# ---- trouble


@pytest.mark.parametrize(
    ("entry", "message"),
    [({"down": "stride"}, "down is 'stride'.*pool or conv"), ({"depth": 3}, r"\['depth'\].*update"),
     ({"channels": [8, 6]}, "multiples of 4"), ({"channels": 8}, "network entry is wrong")],
)  # fmt: skip
def test_a_wrong_network_entry_of_a_card_is_refused(entry, message):
    with pytest.raises(ModelError, match=message):
        config_of_card(entry)


def test_a_card_with_lists_builds_the_network_it_describes():
    network = build({"channels": [4, 8], "refine": True})
    assert network.config == MSTGConfig((4, 8), refine=True)


@pytest.mark.parametrize("fractions", [[], [1.2], [0.5, float("nan")], [-0.1]])
def test_fractions_outside_of_the_beat_are_refused(fractions):
    with pytest.raises(RequestError, match="between 0 and 1"):
        synthesize(lively(MSTGConfig(SMALL)), *two_images((4, 8, 8)), fractions)


def test_images_of_two_sizes_are_refused():
    ed, es = two_images((4, 8, 8))
    with pytest.raises(RequestError, match=r"\(4, 8, 8\) and \(4, 8, 7\)"):
        synthesize(lively(MSTGConfig(SMALL)), ed, es[..., 1:], [0.5])
