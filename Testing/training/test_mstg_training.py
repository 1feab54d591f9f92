"""MSTG's training: losses against MONAI and by hand, batches, recipes, killed runs, the package."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from training.cine.rows import row
from training.mstg.batches import Batch, Beats
from training.mstg.export import Description, export
from training.mstg.recipe import Optimization, read_recipe, recipe_of
from training.mstg.record import read_record
from training.mstg.state import State, trained_network
from training.mstg.step import MSTGTraining

from MambaSynthLib.backends.torch_backend import load_network
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.methods.mstg.config import MSTGConfig
from MambaSynthLib.methods.mstg.inference import TorchNetwork
from MambaSynthLib.methods.mstg.network import MSTG
from MambaSynthLib.methods.mstg.synthesis import synthesize
from MambaSynthLib.package import read_package
from training.data.heart_cine import HeartCine, write_json, write_subject
from training.mstg import losses, train
from training.mstg import state as state_module
from training.mstg.losses import Weights

RECIPES = Path(train.__file__).parent
PLUS = MSTGConfig((4, 8), "pool", "forward", True, "deformation", True, True, True, True, True)
PLUS_WEIGHTS = Weights(0.0, 0.5, 0.2, 10.0, 1.0, 5.0)
BETAS = (0.9, 0.999)


def blob(radius: float, size=(16, 16, 16)) -> np.ndarray:
    """A bright ball on grey ground, with soft edges."""
    offsets = np.indices(size) - (np.array(size).reshape(3, 1, 1, 1) - 1) / 2
    distance = np.sqrt((offsets**2).sum(0))
    return (0.2 + 0.7 / (1 + np.exp(distance - radius))).astype(np.float32)


def shrinking(name: str, start: float = 6.0, end: float = 3.5, frames: int = 5) -> HeartCine:
    """A ball that shrinks to its smallest in the frame before the last."""
    share = [0.0, 0.2, 0.7, 1.0, 0.5][:frames]
    images = np.stack([blob(start + s * (end - start)) for s in share])
    return HeartCine(
        name=name,
        frames=images,
        times_ms=tuple(50.0 * n for n in range(frames)),
        labels=(images[:1] > 0.5).astype(np.uint8),
        labelled=(0,),
        spacing_mm=(3.0, 1.5, 1.5),
        ed=0,
        es=3,
        valid=((0, 16), (0, 16), (0, 16)),
    )


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
    beats, rng = Beats([cine], "all", "cpu"), np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        batch = beats.draw(2, 0.0, rng)
        assert batch.ed.shape == batch.frame.shape == (2, 1, 16, 16, 16)
        assert torch.equal(batch.ed[0, 0], torch.from_numpy(cine.frames[0]))  # a ball is symmetric
        for gamma, frame in zip(batch.gamma.tolist(), batch.frame, strict=True):
            assert torch.equal(frame[0], torch.from_numpy(cine.frames[round(gamma * 3)]))
            seen.add(round(gamma, 3))
    assert seen == {0.333, 0.667, 1.0}


def test_without_intermediate_frames_es_is_the_only_target():
    batch = Beats([shrinking("a")], "ends", "cpu").draw(4, 0.0, np.random.default_rng(0))
    assert torch.equal(batch.frame, batch.es) and (batch.gamma == 1).all()


def test_mirrors_and_brightness_change_all_three_images_alike():
    rng = np.random.default_rng(3)
    frame = rng.random((16, 16, 16), dtype=np.float32)
    cine = replace(shrinking("a"), frames=np.stack([frame] * 5))
    beats = Beats([cine], "all", "cpu")
    found = set()
    for _ in range(60):
        batch = beats.draw(1, 0.0, rng)
        assert torch.equal(batch.ed, batch.es) and torch.equal(batch.ed, batch.frame)
        assert np.array_equal(np.sort(batch.ed.numpy().ravel()), np.sort(frame.ravel()))
        np.testing.assert_allclose(batch.ed[0, 0].mean((1, 2)), frame.mean((1, 2)), rtol=1e-5)
        found.add(float(batch.ed[0, 0, 5, 2, 7]))
    assert len(found) == 8  # the square's symmetries
    darker = beats.draw(1, 0.5, rng)
    power = np.log(darker.ed.max().item()) / np.log(frame.max())
    assert np.exp(-0.5) <= power <= np.exp(0.5) and power != 1


def test_a_crop_cuts_the_same_box_of_all_three_images():
    ramp = np.arange(16.0**3, dtype=np.float32).reshape(16, 16, 16)
    cine = replace(shrinking("a"), frames=np.stack([ramp + 10_000 * n for n in range(5)]))
    beats = Beats([cine], "ends", "cpu")
    starts = set()
    for seed in range(20):
        batch = beats.draw(1, 0, np.random.default_rng(seed), (8, 8, 32))
        assert batch.ed.shape == (1, 1, 8, 8, 16) or batch.ed.shape == (1, 1, 8, 16, 8)
        torch.testing.assert_close(batch.es - batch.ed, torch.full_like(batch.ed, 30_000))
        starts.add(float(batch.ed.min()))
    assert len(starts) > 5


def test_data_that_do_not_fit_the_network_are_refused():
    odd = replace(shrinking("a"), frames=np.zeros((5, 12, 16, 16), np.float32))
    with pytest.raises(RequestError, match=r"a: .*\(12, 16, 16\).*multiples of 16"):
        Beats([odd], "all", "cpu")
    large = replace(shrinking("b"), frames=np.zeros((5, 32, 16, 16), np.float32))
    with pytest.raises(RequestError, match="sizes.*one grid"):
        Beats([shrinking("a"), large], "all", "cpu")
    with pytest.raises(RequestError, match="no subjects"):
        Beats([], "all", "cpu")


# ---- the step


def one_batch() -> Batch:
    return Beats([shrinking("a")], "all", "cpu").draw(1, 0.0, np.random.default_rng(1))


def phase_of(config: MSTGConfig, weights: Weights):
    torch.manual_seed(0)
    method = MSTGTraining(MSTG(config), weights, 1e-3, BETAS)
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
    method = MSTGTraining(MSTG(MSTGConfig((4, 8))), Weights(), 1e-3, BETAS)
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
    method = MSTGTraining(network, PLUS_WEIGHTS, 1e-3, BETAS)
    optimizer = method.optimizers()["mstg"]
    beats, rng = Beats([cine], "all", "cpu"), np.random.default_rng(0)
    for _ in range(30):
        for phase in method.iteration(beats.draw(1, 0.0, rng), torch.Generator()):
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

TINY = """
seed: 5
iterations: 4
targets: all
network: {channels: [4, 8], exact_ends: true, velocity: true, bidirectional: true, refine: true}
weights: {lambda_eps: 0.0, lambda_ncc: 1.0, lambda_smooth: 0.1, lambda_frame: 1.0}
optimization: {lr: 1.0e-3, cosine: true, ema: 0.5, clip: 1.0}
"""


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_recipe_of_the_folder_is_read(path):
    recipe = read_recipe(path)
    assert recipe.iterations >= 300 and recipe.weights.lambda_ncc > 0


def test_the_papers_recipe_has_its_settings_and_the_ablations_differ_in_one_switch():
    paper, plus = (read_recipe(RECIPES / f"{name}.yaml") for name in ("mstg", "mstg_plus"))
    assert paper.network == MSTGConfig() and paper.weights == Weights()
    assert paper.optimization == Optimization(1e-4) and paper.batch == 1
    for name in ("exact_ends", "velocity", "bidirectional", "refine", "time_warp"):
        assert getattr(plus.network, name)
        changed = replace(plus.network, **{name: False})
        assert read_recipe(RECIPES / f"minus_{name}.yaml") == replace(plus, network=changed)


def test_the_small_row_of_the_table_is_what_the_compact_recipe_says():
    recipe, small = read_recipe(RECIPES / "mstg_plus_compact.yaml"), row("mstg+compact")
    assert recipe.network.coarse and recipe.weights.lambda_eps == 0
    assert (recipe.iterations, recipe.batch) == (small.small, small.batch)
    assert (recipe.targets, recipe.gamma_spread) == (small.targets, small.gamma_spread)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "the recipe is no list of 'key: value' lines"),
        ("seed: 1", "the recipe lacks iterations"),
        (TINY + "depth: 3", "unknown entries depth"),
        (TINY.replace("lambda_ncc", "lambda_nc"), "weights has the unknown entries lambda_nc"),
        (TINY.replace("lr: 1.0e-3", "lr: 1e-3x"), "optimization.lr is '1e-3x'"),
        (TINY.replace("refine: true", "refine: maybe"), "refine is 'maybe'.*true or false"),
        (TINY.replace("targets: all", "targets: some"), "targets is 'some'.*ends or all"),
        (TINY.replace("iterations: 4", "iterations: 0"), "iterations is 0"),
        (TINY.replace("[4, 8]", "[4, 6]"), "multiples of 4"),
        (TINY.replace("refine: true", "mode: image"), "lambda_eps alone"),
        (TINY.replace("velocity: true", "coarse: true"), "velocity or exact_ends is not"),
        (TINY.replace("refine: true", "first_scan: 3"), "first_scan is 3"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_reason(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=message) as told:
        read_recipe(path)
    assert str(path) in str(told.value)


def test_a_missing_or_broken_file_is_told(tmp_path):
    with pytest.raises(FileError, match="check the path"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(FileError, match="is no YAML"):
        read_recipe(tmp_path / "broken.yaml")


def test_a_recipe_survives_json():
    recipe = recipe_of(yaml.safe_load(TINY))
    assert recipe_of(json.loads(json.dumps(asdict(recipe)))) == recipe


# ---- the loop


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    for name in ("a", "b"):
        write_subject(folder, shrinking(name))
    write_json(folder / "splits.json", {"train": ["a", "b"], "validation": [], "test": []})
    return folder


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    monkeypatch.setattr(train, "SAVE_EVERY", 2)


def run(recipe_file: Path, data: Path, out: Path) -> int:
    return train.main([str(recipe_file), "--data", str(data), "--out", str(out)])


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / train.LOG, newline="") as file:
        return list(csv.DictReader(file))


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path, recipe_file, data, often, monkeypatch
):
    assert run(recipe_file, data, tmp_path / "whole") == 0
    step, count = train.train_one, []

    def killed(*arguments):
        count.append(1)
        if len(count) == 4:  # after the checkpoint of iteration 2 and the log row of 3
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(train, "train_one", killed)
    with pytest.raises(KeyboardInterrupt):
        run(recipe_file, data, tmp_path / "killed")
    monkeypatch.setattr(train, "train_one", step)
    assert run(recipe_file, data, tmp_path / "killed") == 0
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert [row["iteration"] for row in rows(tmp_path / "whole")] == ["1", "2", "3", "4"]
    recipe = read_recipe(recipe_file)
    first, second = (
        trained_network(tmp_path / name, recipe).state_dict() for name in ("whole", "killed")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    record, found = read_record(tmp_path / "whole")
    assert found == recipe and record["subjects"] == ["a", "b"] and record["size"] == [16] * 3


def test_the_averaged_network_differs_from_the_last(recipe_file, data):
    recipe = read_recipe(recipe_file)
    state = State.fresh(recipe, "cpu")
    beats = Beats([shrinking("a")], "all", "cpu")
    for _ in range(2):
        train.train_one(state, recipe, beats)
    raw, averaged = state.network.state_dict(), state.averaged.module.state_dict()
    name = "deformation.field.weight"
    assert not torch.equal(raw[name], averaged[name])


def test_a_cosine_falls_from_the_first_rate_to_the_last():
    rates = Optimization(lr=1e-3, lr_end=1e-5, cosine=True)
    found = [train.learning_rate(rates, progress) for progress in (0, 0.5, 1)]
    assert found == pytest.approx([1e-3, (1e-3 + 1e-5) / 2, 1e-5])
    assert train.learning_rate(replace(rates, cosine=False), 0.7) == 1e-3


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, recipe_file, data, often, monkeypatch):
    monkeypatch.setattr(
        train, "train_one", lambda state, *_: _advance(state, {"total": torch.tensor(torch.nan)})
    )
    recipe = read_recipe(recipe_file)
    beats = Beats([shrinking("a")], "all", "cpu")
    with pytest.raises(RequestError, match="iteration 1: the loss is nan; lower the learning rate"):
        train.train(recipe, beats, tmp_path / "out", {"minutes": 0.0}, "cpu")
    assert not (tmp_path / "out" / "last.pt").exists()


def _advance(state: State, terms: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    state.iteration += 1
    return terms


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path, recipe_file):
    recipe = read_recipe(recipe_file)
    State.fresh(recipe, "cpu").save(tmp_path / "last.pt")
    other = replace(recipe, network=MSTGConfig((4, 8)))
    with pytest.raises(FileError, match="no checkpoint of this recipe"):
        State.fresh(other, "cpu").load(tmp_path / "last.pt")


def test_an_interrupted_save_leaves_the_old_checkpoint(tmp_path, recipe_file, monkeypatch):
    state = State.fresh(read_recipe(recipe_file), "cpu")
    state.save(tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(state_module.torch, "save", full)
    with pytest.raises(OSError):
        state.save(tmp_path / "last.pt")
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_folder_without_data_is_one_sentence_and_exit_code_2(tmp_path, recipe_file, capsys):
    assert run(recipe_file, tmp_path / "nothing", tmp_path / "out") == 2
    assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- the package


@pytest.fixture
def finished(tmp_path, recipe_file, data) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text(TINY.replace("iterations: 4", "iterations: 1"))
    assert run(path, data, tmp_path / "run") == 0
    return tmp_path / "run"


SCORES = [{"data": "balls", "rows": [{"name": "MSTG+", "psnr": 31.25}, {"name": "none", "n": 2}]}]


def test_a_run_becomes_a_package_that_the_torch_backend_computes(tmp_path, finished):
    description = Description("tiny-cine", "1.0.0", "Tiny", "two balls", ("nobody",))
    export(finished, tmp_path / "tiny-cine", description, SCORES)
    package = read_package(tmp_path / "tiny-cine")
    assert package.card.task == "cine"
    assert list(package.card.grid.size) == [16, 16, 16]
    assert list(package.card.grid.spacing_mm) == [1.5, 1.5, 3.0]
    assert "| MSTG+ | 31.25 |" in package.describe()
    cine = shrinking("a")
    ed, es = cine.frames[0], cine.frames[3]
    found = synthesize(load_network(package, "cpu"), ed, es, [0, 0.5, 1])
    trained = TorchNetwork(trained_network(finished, read_record(finished)[1]))
    expected = synthesize(trained, ed, es, [0, 0.5, 1])
    np.testing.assert_allclose(found.images, expected.images, atol=5e-3)  # float16 weights
    assert np.array_equal(found.images[0], ed) and np.array_equal(found.images[2], es)


def test_onnx_runtime_refuses_the_package_in_one_sentence(tmp_path, finished):
    backend = pytest.importorskip("MambaSynthLib.backends.onnx_backend")
    package = export(finished, tmp_path / "p", Description("p", "1.0.0", "P", "balls"), SCORES)
    with pytest.raises(RequestError, match="mstg runs on PyTorch only.*--backend torch"):
        backend.load_network(package, "cpu")


def test_a_run_without_scores_is_not_exported(tmp_path, finished):
    with pytest.raises(RequestError, match="has no scores"):
        export(finished, tmp_path / "p", Description("p", "1.0.0", "P", "balls"), [])
    assert not (tmp_path / "p").exists()


def test_an_unfinished_run_is_told(tmp_path):
    with pytest.raises(FileError, match="finish the training first"):
        export(tmp_path, tmp_path / "p", Description("p", "1.0.0", "P", "balls"), SCORES)
