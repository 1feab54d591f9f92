"""MSTG's training: losses against MONAI and by hand, batches, the step, recipes, the package."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_cines import TINY, shrinking, write_cines

from MambaSynthLib.backends.torch_backend import load_network
from MambaSynthLib.cli import main
from MambaSynthLib.errors import MambaSynthError, RequestError
from MambaSynthLib.io.atomic import write_json
from MambaSynthLib.methods.mstg.config import MSTGConfig
from MambaSynthLib.methods.mstg.inference import TorchNetwork
from MambaSynthLib.methods.mstg.network import MSTG
from MambaSynthLib.methods.mstg.synthesis import synthesize
from MambaSynthLib.model.package import read_package
from MambaSynthTraining.cine.mstg import losses
from MambaSynthTraining.cine.mstg.losses import Weights
from MambaSynthTraining.cine.mstg.method import MSTGTraining
from MambaSynthTraining.data.beats import BeatBatch, Beats
from MambaSynthTraining.recipe import Optimization
from MambaSynthTraining.recipe_file import read_recipe
from MambaSynthTraining.runs import open_run

RECIPES = Path(__file__).resolve().parents[3] / "training/recipes"
PLUS = MSTGConfig((4, 8), "pool", "forward", True, "deformation", True, True, True, True, True)
PLUS_WEIGHTS = Weights(0.0, 0.5, 0.2, 10.0, 1.0, 5.0)
RATES = Optimization({"mstg": 1e-3}, (0.9, 0.999))


def random_images(seed=0, count=2) -> torch.Tensor:
    values = np.random.default_rng(seed).random((count, 1, 12, 14, 13), dtype=np.float32)
    return torch.from_numpy(values)


# ---- losses


def test_ncc_equals_monais_local_correlation():
    module = pytest.importorskip("monai.losses")
    theirs = module.LocalNormalizedCrossCorrelationLoss(
        spatial_dims=3, kernel_size=9, kernel_type="rectangular", smooth_nr=0.0, smooth_dr=1e-5
    )
    image = random_images(0)
    reference = 0.5 * image + 0.5 * random_images(1)
    found = losses.ncc_loss(image, reference)
    assert float(found) == pytest.approx(float(theirs(image, reference)), abs=2e-4)
    assert -1 < found < -0.3


def test_ncc_is_best_for_equal_images_and_blind_to_brightness():
    image = random_images()
    assert float(losses.ncc_loss(image, 0.5 * image)) == pytest.approx(-1, abs=0.01)


def test_smoothness_is_the_mean_squared_forward_difference():
    ramp = torch.zeros(1, 3, 4, 5, 6)
    ramp[:, 1] = 2.0 * torch.arange(6)  # a slope of 2 in one of 3 components along one of 3 axes
    assert float(losses.smooth_loss(ramp)) == pytest.approx(4 / 9)
    assert float(losses.smooth_loss(torch.full_like(ramp, 3.0))) == 0


def test_the_ssim_map_equals_scikit_images_away_from_the_border():
    from skimage.metrics import structural_similarity

    a, b = random_images(0, 1), 0.6 * random_images(0, 1) + 0.4 * random_images(2, 1)
    _, expected = structural_similarity(
        a[0, 0].numpy(), b[0, 0].numpy(), win_size=7, data_range=1.0,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    inside = (slice(3, -3),) * 3
    found = losses.ssim_map(a, b)[0, 0].numpy()
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)
    assert float(losses.ssim_loss(a, b)) == pytest.approx(1 - found.mean(), abs=1e-6)


def test_the_losses_of_noise_and_frame_are_their_formulas():
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])
    assert float(losses.noise_loss(a, b)) == pytest.approx(4.5)
    assert float(losses.frame_loss(a, b)) == pytest.approx((1e-3 + (9 + 1e-6) ** 0.5) / 2)


# ---- batches


def test_a_batch_holds_ed_es_and_a_later_frame_with_its_time():
    cine = shrinking("a")
    beats, rng = Beats([cine], "all"), np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        batch, names = beats.draw(2, 0.0, rng)
        assert names == ["a", "a"]
        assert batch.ed.shape == batch.frame.shape == (2, 1, 16, 16, 16)
        assert torch.equal(batch.ed[0, 0], torch.from_numpy(cine.frames[0]))  # a ball is symmetric
        for gamma, frame in zip(batch.gamma.tolist(), batch.frame, strict=True):
            assert torch.equal(frame[0], torch.from_numpy(cine.frames[round(gamma * 3)]))
            seen.add(round(gamma, 3))
    assert seen == {0.333, 0.667, 1.0}


def test_without_intermediate_frames_es_is_the_only_target():
    batch, _ = Beats([shrinking("a")], "ends").draw(4, 0.0, np.random.default_rng(0))
    assert torch.equal(batch.frame, batch.es) and (batch.gamma == 1).all()


def test_mirrors_and_brightness_change_all_three_images_alike():
    rng = np.random.default_rng(3)
    frame = rng.random((16, 16, 16), dtype=np.float32)
    cine = replace(shrinking("a"), frames=np.stack([frame] * 5))
    beats = Beats([cine], "all")
    found = set()
    for _ in range(60):
        batch, _ = beats.draw(1, 0.0, rng)
        assert torch.equal(batch.ed, batch.es) and torch.equal(batch.ed, batch.frame)
        assert np.array_equal(np.sort(batch.ed.numpy().ravel()), np.sort(frame.ravel()))
        np.testing.assert_allclose(batch.ed[0, 0].mean((1, 2)), frame.mean((1, 2)), rtol=1e-5)
        found.add(float(batch.ed[0, 0, 5, 2, 7]))
    assert len(found) == 8  # the square's symmetries
    darker, _ = beats.draw(1, 0.5, rng)
    power = np.log(darker.ed.max().item()) / np.log(frame.max())
    assert np.exp(-0.5) <= power <= np.exp(0.5) and power != 1


def test_a_crop_cuts_the_same_box_of_all_three_images():
    ramp = np.arange(16.0**3, dtype=np.float32).reshape(16, 16, 16)
    cine = replace(shrinking("a"), frames=np.stack([ramp + 10_000 * n for n in range(5)]))
    beats = Beats([cine], "ends")
    starts = set()
    for seed in range(20):
        batch, _ = beats.draw(1, 0, np.random.default_rng(seed), (8, 8, 32))
        assert batch.ed.shape == (1, 1, 8, 8, 16) or batch.ed.shape == (1, 1, 8, 16, 8)
        torch.testing.assert_close(batch.es - batch.ed, torch.full_like(batch.ed, 30_000))
        starts.add(float(batch.ed.min()))
    assert len(starts) > 5


def test_data_that_do_not_fit_the_network_are_refused():
    odd = replace(shrinking("a"), frames=np.zeros((5, 12, 16, 16), np.float32))
    with pytest.raises(RequestError, match=r"a: .*\(12, 16, 16\).*multiples of 16"):
        Beats([odd], "all")
    large = replace(shrinking("b"), frames=np.zeros((5, 32, 16, 16), np.float32))
    with pytest.raises(RequestError, match="sizes.*one grid"):
        Beats([shrinking("a"), large], "all")
    with pytest.raises(RequestError, match="no subjects"):
        Beats([], "all")


# ---- the step


def one_batch() -> BeatBatch:
    return Beats([shrinking("a")], "all").draw(1, 0.0, np.random.default_rng(1))[0]


def phase_of(config: MSTGConfig, weights: Weights):
    torch.manual_seed(0)
    method = MSTGTraining(MSTG(config), weights, RATES)
    (phase,) = method.iteration(one_batch(), torch.Generator().manual_seed(0))
    return method, phase


def test_plain_mstg_minimizes_ddms_three_terms():
    _, phase = phase_of(MSTGConfig((4, 8)), Weights())
    terms = {name: float(value) for name, value in phase.terms.items()}
    assert set(terms) == {"total", "eps", "ncc", "smooth"}
    expected = terms["eps"] + 20 * terms["ncc"] + 20 * terms["smooth"]
    assert float(phase.loss.detach()) == pytest.approx(expected, rel=1e-5) == terms["total"]


def test_mstg_plus_also_compares_the_frame_and_both_warped_images():
    method, phase = phase_of(PLUS, PLUS_WEIGHTS)
    assert set(phase.terms) == {"total", "ncc", "smooth", "frame", "ssim", "warped"}
    phase.loss.backward()
    without = [n for n, p in method.networks.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize("name", ["exact_ends", "velocity", "bidirectional", "refine", "time_warp"])
def test_each_ablation_trains(name):
    _, phase = phase_of(replace(PLUS, **{name: False}), PLUS_WEIGHTS)
    assert torch.isfinite(phase.loss)


def test_mode_image_learns_the_noise_alone():
    _, phase = phase_of(replace(PLUS, mode="image"), Weights())
    assert set(phase.terms) == {"total", "eps"}


def test_noised_images_have_the_schedules_mean_and_variance():
    method = MSTGTraining(MSTG(MSTGConfig((4, 8))), Weights(), RATES)
    noisy, t, noise = method._noised(torch.full((64, 1, 8, 8, 8), 0.75), torch.Generator())
    abar = torch.cumprod(1 - torch.linspace(1e-6, 1e-2, 2000, dtype=torch.float64), 0)[t].float()
    assert 0 <= t.min() and t.max() > 1000
    torch.testing.assert_close(noisy.mean((1, 2, 3, 4)), 0.5 * abar.sqrt(), atol=0.2, rtol=0)
    spread = (1 - abar).sqrt()
    torch.testing.assert_close(noisy.std((1, 2, 3, 4)), spread, atol=0.1, rtol=0)
    assert abs(float(noise.mean())) < 0.05


@pytest.mark.slow  # the fast one: the scores on the card of the shipped cine model
def test_mstg_plus_learns_to_shrink_a_ball_better_than_a_blend_does():
    torch.manual_seed(0)
    cine = shrinking("a")
    network = MSTG(PLUS)
    method = MSTGTraining(network, PLUS_WEIGHTS, RATES)
    optimizer = method.optimizers()["mstg"]
    beats, rng = Beats([cine], "all"), np.random.default_rng(0)
    for _ in range(30):
        for phase in method.iteration(beats.draw(1, 0.0, rng)[0], torch.Generator()):
            optimizer.zero_grad()
            phase.loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
    fractions = [cine.fraction(index) for index in cine.between]
    made = synthesize(TorchNetwork(network), cine.frames[0], cine.frames[3], fractions).images
    time = np.array(fractions, np.float32)[:, None, None, None]
    blend = (1 - time) * cine.frames[0] + time * cine.frames[3]
    truth = cine.frames[cine.between]
    assert np.mean((made - truth) ** 2) < 0.5 * np.mean((blend - truth) ** 2)


# ---- recipes


def test_the_papers_recipe_has_its_settings_and_the_ablations_differ_in_one_switch():
    paper, plus = (read_recipe(RECIPES / f"cine/{name}.yaml") for name in ("mstg", "mstg-plus"))
    method = MSTGTraining.build(paper)
    assert method.network.config == MSTGConfig() and method.weights == Weights()
    assert paper.optimization == Optimization({"mstg": 1e-4}, (0.5, 0.999))
    assert paper.stages[0].batch == 1
    folder = RECIPES / "cine_ablations"
    assert read_recipe(folder / "mstg-plus.yaml") == plus
    for name in ("exact_ends", "velocity", "bidirectional", "refine", "time_warp"):
        assert plus.network[name]
        ablation = read_recipe(folder / f"minus-{name.replace('_', '-')}.yaml")
        changed = replace(plus, network={**plus.network, name: False})
        assert replace(ablation, expected={}) == replace(changed, expected={})
    unseen = read_recipe(folder / "minus-frames.yaml")
    assert unseen.cine.targets == "ends" and unseen.weights["lambda_frame"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"channels": [4, 6]}}, "multiples of 4"),
        ({"network": {"channels": [4, 8], "refine": "maybe"}}, "refine is 'maybe'"),
        ({"network": {"channels": [4, 8], "coarse": True}}, "velocity or exact_ends is not"),
        ({"network": {"channels": [4, 8], "first_scan": 3}}, "first_scan is 3"),
        ({"network": {"channels": [4, 8], "mode": "image"}}, "lambda_eps alone"),
        ({"weights": {"lambda_nc": 1.0}}, "weights has the unknown key 'lambda_nc', meant"),
        ({"cine": {"targets": "some"}}, "targets is 'some'.*ends or all"),
        ({"cine": {"gamma_spread": -1}}, "gamma_spread is -1"),
        ({"stages": [{"iterations": 1, "batch": 1, "crop": [16, 16]}]}, "slices, rows and columns"),
        ({"stages": [{"iterations": 1, "batch": 1, "crop": [16, 40, 48]}]}, "multiples of 16"),
        ({"augmentation": {"noise": 0.1}}, "augmentation is not for the method mstg"),
        ({"optimization": {"learning_rates": {"motion": 1e-3}}}, "learning_rates lacks mstg"),
        ({"options": {"steps": 4}}, "options has the unknown key 'steps'"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_reason(tmp_path, changes, message):
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps({**TINY, **changes}))  # JSON is YAML
    with pytest.raises(MambaSynthError, match=message) as told:
        read_recipe(path)
    assert str(path) in str(told.value)


# ---- the package


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a run of one iteration, and ``scores`` as if a table had been made of it."""
    place = tmp_path_factory.mktemp("place")
    path = place / "short.yaml"
    stages = [{"iterations": 1, "batch": 1}]
    path.write_text(json.dumps({**TINY, "stages": stages}))
    words = ["train", str(path), "--data", str(write_cines(place / "data")), "--accelerator", "cpu"]
    assert main([*words, "--out", str(place / "run")]) == 0
    rows = [{"name": "MSTG+", "psnr": 31.25}, {"name": "none", "n": 2}]
    checkpoint = open_run(place / "run").checkpoint_sha256
    card = {"entry": {"data": "balls", "rows": rows}, "checkpoints": [checkpoint]}
    (place / "scores").mkdir()
    write_json(place / "scores/card.json", card)
    return place / "run"


def export(run: Path, out: Path, *more: str) -> int:
    words = ["export", str(run), str(out), "--id", "tiny-cine", "--title", "Tiny"]
    words += ["--trained-on", "two balls", "--license", "CC0-1.0", "--attribution", "nobody"]
    return main([*words, *more])


def test_a_run_becomes_a_package_that_the_torch_backend_computes(tmp_path, finished):
    scores = str(finished.parent / "scores")
    assert export(finished, tmp_path / "p", "--limits", "Balls only.", "--scores", scores) == 0
    package = read_package(tmp_path / "p")
    assert package.card.task == "cine" and package.card.extra["limits"].endswith("Balls only.")
    assert list(package.card.grid.size) == [16, 16, 16]
    assert list(package.card.grid.spacing_mm) == [1.5, 1.5, 3.0]
    assert "| MSTG+ | 31.25 |" in package.describe()
    assert package.card.extra["training"]["parity"]["largest_difference"] < 0.01
    cine = shrinking("a")
    ed, es = cine.frames[0], cine.frames[3]
    found = synthesize(load_network(package, "cpu"), ed, es, [0, 0.5, 1])
    with open_run(finished).trained() as method:
        expected = method.frame_model("cpu").frames(ed, es, [0, 0.5, 1])
    np.testing.assert_allclose(found.images, expected, atol=5e-3)  # float16 weights
    assert np.array_equal(found.images[0], ed) and np.array_equal(found.images[2], es)


def test_onnx_runtime_refuses_the_package_in_one_sentence(tmp_path, finished):
    backend = pytest.importorskip("MambaSynthLib.backends.onnx_backend")
    assert export(finished, tmp_path / "p", "--scores", str(finished.parent / "scores")) == 0
    with pytest.raises(RequestError, match="mstg runs on PyTorch only.*--backend torch"):
        backend.load_network(read_package(tmp_path / "p"), "cpu")


def test_a_run_without_scores_of_its_weights_is_not_exported(tmp_path, finished, capsys):
    assert export(finished, tmp_path / "p") == 2
    assert "has no scores of its weights" in capsys.readouterr().err
    other = {"entry": {"data": "balls", "rows": []}, "checkpoints": ["0" * 64]}
    write_json(tmp_path / "card.json", other)
    assert export(finished, tmp_path / "p", "--scores", str(tmp_path)) == 2
    assert "has no scores of its weights" in capsys.readouterr().err
    assert export(finished, tmp_path / "p", "--scores", str(tmp_path / "none")) == 2
    assert "score the run first" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_a_cine_run_is_not_scored_as_a_contrast(tmp_path, finished, capsys):
    from tiny_data import write_tiny_data

    write_tiny_data(tmp_path / "data")
    assert main(["evaluate-set", str(finished), "--data", str(tmp_path / "data")]) == 2
    assert "holds no cine data set" in capsys.readouterr().err
