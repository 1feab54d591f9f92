"""CRAViM's training: losses by hand, noise by algebra, batches, recipes, and killed runs."""

from __future__ import annotations

import csv
import itertools
import json
import math
from dataclasses import fields, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from MambaSynthLib.card import GridSpec, IntensitySpec
from MambaSynthLib.diffusion import Schedule
from MambaSynthLib.errors import FileError, MambaSynthError, RequestError, VolumeError
from MambaSynthLib.preparation import EMPTY
from MambaSynthLib.volume import Volume
from training.cravim import losses, train
from training.cravim import state as state_module
from training.cravim.discriminator import MultiScaleDiscriminator
from training.cravim.losses import Weights
from training.cravim.recipe import Recipe, Stage, read_recipe
from training.cravim.record import new_record
from training.cravim.state import State
from training.cravim.step import OFFICIAL, PAPER, Draw, Terms, draw_noise, noised, paired_pass
from training.data import phantom_slices as phantoms
from training.data.slices import SlicePairs, draw_batch, slices_of

COMPACT = Path(train.__file__).parent / "compact.toml"
TINY = """
seed = 11
wiring = "official"
discriminator_width = 2
[network]
ngf = 4
n_blocks = 1
n_attentions = 2
[weights]
lambda_paired = 25.0
[optimization]
lr_generators = 1e-3
lr_discriminators = 1e-4
lr_end = 1e-5
betas = [0.5, 0.9]
cosine = true
ema = 0.9
[[stages]]
iterations = 3
batch = 1
crop = [64, 64]
augmentation = { gamma = 0.2 }
[[stages]]
iterations = 2
batch = 2
crop = [68, 64]
augmentation = { gamma = 0.2 }
[phantoms]
subjects = 0
seed = 0
skull = 0.5
share = 0.0
[grid]
axis_codes = "LPS"
in_plane_spacing_mm = 1.0
size = [64, 64]
[intensity]
rule = "percentile"
upper_percentile = 99.5
target_range = [0.0, 1000.0]
[schedule]
steps = 4
beta_min = 0.1
beta_max = 20.0
"""


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def recipe(recipe_file) -> Recipe:
    return read_recipe(recipe_file)


def some_slices(count=3, size=(72, 66), seed=0) -> SlicePairs:
    images = np.random.default_rng(seed).uniform(-0.8, 1, (2, count, *size)).astype(np.float32)
    return SlicePairs(list(images[0]), list(images[1]))


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values)


# ---- losses


def test_the_adversarial_loss_adds_the_scales_and_wants_ones():
    found = losses.adversarial_loss([t(1.0, 3.0), t(0.0)])
    assert float(found) == pytest.approx((0 + 4) / 2 + 1)


def test_the_discriminator_loss_wants_zeros_and_ones_without_a_half():
    found = losses.discriminator_loss([t(1.0, 3.0), t(2.0)], [t(1.0, 0.0), t(-1.0)])
    assert float(found) == pytest.approx((1 + 9) / 2 + (0 + 1) / 2 + 4 + 4)


def test_a_different_number_of_scales_is_an_error():
    with pytest.raises(ValueError):
        losses.discriminator_loss([t(1.0)], [t(1.0), t(1.0)])


@pytest.mark.parametrize(
    "loss",
    [losses.random_denoise_loss, losses.transport_loss, losses.cycle_loss, losses.paired_loss],
)
def test_image_losses_are_mean_absolute_differences(loss):
    assert float(loss(t(0.0, 1.0, -1.0), t(0.5, 1.0, 1.0))) == pytest.approx(2.5 / 3)


def test_the_total_weights_each_term_as_equation_5_does():
    values = dict(zip((f.name for f in fields(Terms)), 10.0 ** np.arange(12), strict=True))
    terms = Terms(**{name: torch.tensor(v, dtype=torch.float64) for name, v in values.items()})
    expected = (
        1 * (values["adv_a"] + values["adv_b"])
        + 5 * (values["rdn_ab"] + values["rdn_ba"])
        + values["trans_forward_a"] + values["trans_forward_b"]
        + values["trans_backward_ab"] + values["trans_backward_ba"]
        + 15 * (values["cyc_a"] + values["cyc_b"])
    )  # fmt: skip
    assert float(terms.total(Weights())) == pytest.approx(expected, rel=1e-12)
    paired = 2 * (values["paired_ab"] + values["paired_ba"])
    with_pairs = terms.total(Weights(lambda_paired=2.0))
    assert float(with_pairs) == pytest.approx(expected + paired, rel=1e-12)
    assert terms.values() == values


# ---- the discriminator


def test_the_papers_discriminator_has_its_published_size_and_patches():
    with torch.device("meta"):
        network = MultiScaleDiscriminator()
        scores = network(torch.empty(2, 1, 256, 256))
    assert sum(p.numel() for p in network.parameters()) == 8_265_027
    assert [tuple(s.shape) for s in scores] == [(2, 1, 16, 16), (2, 1, 8, 8), (2, 1, 4, 4)]


def test_coarser_scales_average_without_darkening_the_border():
    network, seen = MultiScaleDiscriminator(2), []
    for part in network.cnns:
        part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.full((1, 1, 64, 64), 0.7))
    assert [tuple(x.shape[2:]) for x in seen] == [(64, 64), (32, 32), (16, 16)]
    assert all(torch.allclose(x, torch.tensor(0.7)) for x in seen)


# ---- noise


def test_the_noise_of_an_iteration_is_standard_normal_and_uniform_in_the_step():
    like = torch.empty(400, 1, 12, 12)
    noise = draw_noise(like, Schedule(), torch.Generator().manual_seed(0))
    draws = [noise.cycle_a, noise.cycle_b, noise.denoise_ab, noise.denoise_ba]
    images = [noise.start_a, noise.start_b]
    for draw in draws:
        assert torch.bincount(draw.t, minlength=4).min() > 70  # 100 expected of each
        assert draw.t.max() == 3
        images += [draw.eps, draw.eps_next]
    for image in images:
        assert image.shape == like.shape
        assert abs(image.mean()) < 0.02 and abs(image.std() - 1) < 0.02
    correlations = torch.corrcoef(torch.stack([image.flatten() for image in images]))
    assert (correlations - torch.eye(len(images))).abs().max() < 0.03


def test_the_noise_is_a_function_of_the_generators_seed():
    def start(seed: int) -> torch.Tensor:
        like = torch.empty(1, 1, 4, 4)
        return draw_noise(like, Schedule(), torch.Generator().manual_seed(seed)).start_a

    assert torch.equal(start(3), start(3))
    assert not torch.equal(start(3), start(4))


def test_noising_reaches_level_t_plus_one_of_the_closed_form_for_each_sample():
    schedule, steps = Schedule(), torch.tensor([2, 0, 3, 1])
    one, zero = torch.ones(4, 1, 2, 2, dtype=torch.float64), torch.zeros(4, 1, 2, 2).double()
    of_image = noised(one, Draw(steps, zero, zero), schedule)[:, 0, 0, 0].numpy()
    of_eps = noised(zero, Draw(steps, one, zero), schedule)[:, 0, 0, 0].numpy()
    of_next = noised(zero, Draw(steps, zero, one), schedule)[:, 0, 0, 0].numpy()
    level = steps.numpy() + 1
    np.testing.assert_allclose(of_image, schedule.signal[level], rtol=1e-12)
    np.testing.assert_allclose(of_eps**2 + of_next**2, schedule.noise[level] ** 2, rtol=1e-12)
    assert np.all(of_next > 0) and np.all(of_eps[[0, 2, 3]] > 0) and of_eps[1] == 0


# ---- slices and batches


def two_contrast_volumes(size=(80, 76, 8), spacing=1.0) -> tuple[Volume, Volume]:
    """A block of texture on empty ground; its last slice is empty."""
    source = np.zeros(size, dtype=np.float32)
    source[10:70, 8:68, :-1] = np.random.default_rng(0).uniform(20, 90, (60, 60, size[2] - 1))
    target = np.where(source > 0, 100 - source, 0)
    affine = np.diag([-spacing, -spacing, 3, 1])
    return Volume(source, affine, "source"), Volume(target, affine, "target")


GRID = GridSpec("LPS", 1.0, (64, 64))
PERCENTILE = IntensitySpec("percentile", 99.5, (0.0, 1000.0))


def test_slices_without_tissue_are_left_out_and_all_others_lie_in_the_networks_range():
    slices = slices_of(*two_contrast_volumes(), GRID, PERCENTILE)
    assert len(slices) == 7 == len(slices.b)
    for image in [*slices.a, *slices.b]:
        assert image.shape == (64, 64) and image.min() == EMPTY and 0.9 < image.max() <= 1


def test_the_target_slices_show_the_same_place_as_the_source_slices():
    slices = slices_of(*two_contrast_volumes(), GRID, PERCENTILE)
    for a, b in zip(slices.a, slices.b, strict=True):
        inside = (a > -0.75) & (b > -0.75) & (a < 0.99) & (b < 0.99)
        assert np.corrcoef(a[inside], b[inside])[0, 1] < -0.999


def test_volumes_on_two_grids_are_refused():
    source, target = two_contrast_volumes()
    elsewhere = Volume(target.array, target.affine + np.eye(4, k=3), "target")
    with pytest.raises(VolumeError, match="target: its grid"):
        slices_of(source, elsewhere, GRID, PERCENTILE)


def batch(groups, crop=(64, 64), size=4, seed=0, shares=None):
    shares = shares or [1.0] * len(groups)
    return draw_batch(groups, shares, size, crop, np.random.default_rng(seed))


def test_a_batch_is_a_function_of_the_random_generator():
    group = some_slices()
    first, again, other = (batch([group], seed=seed) for seed in (5, 5, 6))
    assert first[0].shape == first[1].shape == (4, 1, 64, 64)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def ramp_group() -> SlicePairs:
    """Every pixel has a value of its own, and the target is the source minus 0.1."""
    ramp = np.linspace(-0.7, 0.9, 80 * 70, dtype=np.float32).reshape(80, 70)
    return SlicePairs([ramp], [ramp - np.float32(0.1)])


def test_crop_and_flip_are_the_same_for_both_images():
    a, b = batch([ramp_group()], size=30)
    torch.testing.assert_close(a - b, torch.full_like(a, 0.1), rtol=0, atol=1e-6)
    flipped = (a[:, 0, 0, 0] > a[:, 0, 0, -1]).tolist()
    assert 5 < sum(flipped) < 25
    assert len({float(image.min()) for image in a}) > 10  # many positions
    rows = a[:, 0, 1, 0] - a[:, 0, 0, 0]
    assert torch.all(rows > 0)  # never upside down


def test_images_smaller_than_the_crop_are_padded_with_background():
    group = some_slices(count=1, size=(40, 50))
    a, b = batch([group], crop=(64, 72))
    for found, (original,) in ((a, group.a), (b, group.b)):
        for image in found[:, 0].numpy():
            assert np.all(image[40:] == EMPTY)
            inside = image[:40][image[:40] != EMPTY]
            np.testing.assert_allclose(np.sort(inside), np.sort(original.ravel()), atol=1e-6)


def test_groups_are_drawn_by_their_shares():
    black, white = (SlicePairs([x], [x]) for x in (np.full((64, 64), v) for v in (-0.5, 0.5)))
    a, _ = batch([black, white], size=200, shares=[3, 1])
    assert 0.15 < float((a[:, 0, 0, 0] > 0).float().mean()) < 0.35
    a, _ = batch([black, white], size=50, shares=[0, 1])
    assert torch.all(a > 0)


def test_crops_without_tissue_are_drawn_again():
    image = np.full((64, 640), EMPTY, dtype=np.float32)
    image[:, :128] = 0.5  # a tissue of a fifth of all positions
    group = SlicePairs([image], [image])
    a, _ = batch([group], size=100)
    hits = float((a > 0).any(-1).any(-1).float().mean())
    assert hits > 0.5  # 0.22 without drawing again, 0.77 with five tries


def test_phantom_slices_are_made_once_and_then_read_from_the_cache(tmp_path, monkeypatch):
    made = []

    def subject(labels, affine, rng, contrasts, config):
        made.append(config.skull)
        source, target = two_contrast_volumes()
        return dict(zip(contrasts, (source, target), strict=True))

    monkeypatch.setattr(phantoms, "phantom_subject", subject)
    monkeypatch.setattr(phantoms, "read_label_map", lambda path: (None, np.eye(4)))
    (tmp_path / "one.nii.gz").touch()
    wanted = phantoms.Phantoms(subjects=10, seed=1, skull=0.4, share=0.5)
    arguments = (tmp_path, wanted, GRID, PERCENTILE, tmp_path / "cache")
    first, again = phantoms.phantom_slices(*arguments), phantoms.phantom_slices(*arguments)
    assert len(made) == 10 and sum(made) == 4
    assert len(first) == 10 * 4  # every second of seven slices
    assert all(map(np.array_equal, first.a + first.b, again.a + again.b))
    assert not list(tmp_path.rglob("*.part*"))


def test_a_folder_without_label_maps_is_named(tmp_path):
    wanted = phantoms.Phantoms(subjects=1, seed=1, skull=0.0, share=0.5)
    with pytest.raises(FileError, match="holds no label map"):
        phantoms.phantom_slices(tmp_path, wanted, GRID, PERCENTILE, tmp_path)


# ---- recipes


def test_the_shipped_recipe_can_be_read():
    recipe = read_recipe(COMPACT)
    assert recipe.wiring is OFFICIAL
    assert recipe.iterations == sum(stage.iterations for stage in recipe.stages) > 0
    assert (recipe.network.input_channels, recipe.network.output_channels) == (2, 2)
    assert all(n % 4 == 0 for n in recipe.grid.size)


def test_a_recipe_holds_what_the_file_says(recipe):
    assert (recipe.seed, recipe.network.ngf, recipe.weights.lambda_cyc) == (11, 4, 15.0)
    assert recipe.optimization.betas == (0.5, 0.9)
    assert recipe.schedule == Schedule()
    assert [stage.crop for stage in recipe.stages] == [(64, 64), (68, 64)]


def test_the_stages_follow_one_another(recipe):
    assert recipe.iterations == 5
    batches = [recipe.stage_at(i).batch for i in range(6)]
    assert batches == [1, 1, 1, 2, 2, 2]


def test_the_wiring_is_chosen_by_name(recipe_file):
    recipe_file.write_text(TINY.replace('"official"', '"paper"'))
    assert read_recipe(recipe_file).wiring is PAPER


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed = 11", "", "lacks 'seed'"),
        ("[schedule]", "[timetable]", "timetable"),
        ("seed = 11", "seed = 11\nsneed = 12", "sneed"),
        ("ngf = 4", "ngf = 4\nwidth = 4", "width"),
        ("ema = 0.9", "", "ema"),
        ("batch = 1", "", "batch"),
        ("lambda_paired", "lambda_pared", "lambda_pared"),
        ('"official"', '"offical"', "'offical' is none of official, paper"),
        ("crop = [64, 64]", "crop = [66, 64]", "multiples of 4"),
        ("crop = [64, 64]", "crop = [32, 64]", "from 64"),
        ("batch = 1", "batch = 0", "3 iterations of 0 slices"),
        ("batch = 1", 'batch = 1\nobjective = "pared"', "'pared' is none of cycle, paired"),
        ("batch = 1", 'batch = 1\nobjective = "paired"', "put those last"),
        ("betas = [0.5, 0.9]", "betas = 0.5", "not iterable"),
        ("seed = 11", "seed = = 11", "no TOML"),
        ("seed = 11", "seed = 11\nseed = 12", "no TOML"),
    ],
)
def test_a_wrong_recipe_is_told_in_one_sentence(recipe_file, old, new, told):
    assert old in TINY
    recipe_file.write_text(TINY.replace(old, new, 1))
    with pytest.raises(MambaSynthError) as caught:
        read_recipe(recipe_file)
    sentence = str(caught.value)
    assert sentence.startswith(str(recipe_file)) and told in sentence
    assert "\n" not in sentence and sentence.endswith(".")


def test_a_recipe_that_does_not_exist_or_is_no_text_is_told(tmp_path):
    with pytest.raises(FileError, match="nowhere.toml: cannot be read"):
        read_recipe(tmp_path / "nowhere.toml")
    (tmp_path / "image.toml").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(FileError, match="image.toml: is no TOML"):
        read_recipe(tmp_path / "image.toml")


# ---- the loop


def test_the_learning_rate_falls_along_a_cosine_from_start_to_end(recipe):
    rates = [train.learning_rate(1e-3, recipe, i) for i in range(recipe.iterations + 1)]
    assert rates[0] == pytest.approx(1e-3) and rates[-1] == pytest.approx(1e-5)
    assert all(a > b for a, b in itertools.pairwise(rates))
    fraction = (rates[2] - 1e-5) / (1e-3 - 1e-5)
    assert fraction == pytest.approx(math.cos(math.pi * 0.4 / 2) ** 2)  # the half-angle formula


def test_the_learning_rate_is_constant_without_the_cosine(recipe):
    flat = replace(recipe, optimization=replace(recipe.optimization, cosine=False))
    assert {train.learning_rate(2e-4, flat, i) for i in range(6)} == {2e-4}


def weights_of(state: State) -> dict[str, torch.Tensor]:
    """Copies of all parameters that training changes."""
    return {
        f"{part}.{name}": value.detach().clone()
        for part, network in vars(state.networks).items()
        for name, value in network.named_parameters()
    }


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The networks with a changed parameter."""
    return {k.partition(".")[0] for k in before if not torch.equal(before[k], after[k])}


def test_one_iteration_changes_all_four_networks_and_reports_every_loss(recipe):
    state = State.fresh(recipe)
    before = weights_of(state)
    found = train.train_one(state, recipe, [some_slices()], [1.0])
    assert changed(before, weights_of(state)) == {"a_to_b", "b_to_a", "of_a", "of_b"}
    assert state.iteration == 1
    assert set(found) == {"total", "discriminators", *(f.name for f in fields(Terms))}
    assert all(math.isfinite(value) for value in found.values())


def test_the_generators_step_leaves_no_gradient_in_the_discriminators_step(recipe):
    """However strong the adversarial loss is, the discriminators move by their own loss alone."""
    groups, shares = [some_slices()], [1.0]

    def discriminators(**weights: float) -> torch.Tensor:
        own = replace(recipe, weights=Weights(**weights))
        state = State.fresh(own)
        train.train_one(state, own, groups, shares)
        return state.networks.of_a.cnns[0][0].conv.weight.detach()

    assert torch.equal(discriminators(lambda_adv=1.0), discriminators(lambda_adv=1000.0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_are_not_finite_stop_the_training_and_leave_the_weights(recipe, value):
    spoiled = some_slices()
    for image in spoiled.b:
        image[20:40] = value
    state = State.fresh(recipe)
    before = weights_of(state)
    with pytest.raises(RequestError, match="iteration 0: the loss is (nan|inf)"):
        train.train_one(state, recipe, [spoiled], [1.0])
    assert changed(before, weights_of(state)) == set()
    assert state.iteration == 0


def test_the_averaged_generator_follows_more_slowly_than_the_trained_one(recipe):
    state = State.fresh(recipe)
    history = []
    for _ in range(3):
        train.train_one(state, recipe, [some_slices()], [1.0])
        history.append(state.networks.a_to_b.conv1.weight.detach().clone())
    expected = history[0]  # averaging starts at the first weights it is given
    for weight in history[1:]:
        expected = 0.9 * expected + 0.1 * weight
    found = state.averaged["a_to_b"].module.conv1.weight
    torch.testing.assert_close(found, expected)
    moved = (history[-1] - history[0]).abs().mean()
    assert 0 < (found - history[0]).abs().mean() < moved / 2


def with_a_paired_stage(recipe: Recipe) -> Recipe:
    """The tiny recipe, followed by four iterations on pairs."""
    paired = Stage(4, 2, (64, 64), objective="paired", restart=True, lambda_structure=2.0)
    return replace(recipe, stages=(*recipe.stages, paired))


def test_a_paired_stage_changes_the_exported_generator_alone(recipe):
    recipe = with_a_paired_stage(recipe)
    state = State.fresh(recipe)
    state.iteration = 5
    before = weights_of(state)
    losses = train.train_one(state, recipe, [some_slices()], [1.0])
    networks = {name.partition(".")[0] for name in changed(before, weights_of(state))}
    assert networks == {"a_to_b"}
    assert set(losses) == {"total", "paired_ab", "structure_ab", "trans_forward_a"}
    expected = 25 * losses["paired_ab"] + 2 * losses["structure_ab"] + losses["trans_forward_a"]
    assert losses["total"] == pytest.approx(expected, rel=1e-5)


def test_paired_samples_start_from_pure_noise_or_from_the_noised_target(recipe):
    seen = []

    def generator(images):
        seen.append(images)
        return images

    a, b = torch.rand(2, 1, 64, 64), torch.rand(2, 1, 64, 64)
    noise = draw_noise(a, recipe.schedule, torch.Generator().manual_seed(3))
    paired_pass(generator, a, b, noise, torch.tensor([True, False]), recipe.schedule)
    source, noisy = seen[0].split(1, dim=1)
    assert torch.equal(source, a)
    assert torch.equal(noisy[0], noise.start_a[0])
    assert torch.equal(noisy[1], noised(b, noise.denoise_ab, recipe.schedule)[1])


def test_the_learning_rate_starts_again_where_a_stage_says_so(recipe):
    recipe = with_a_paired_stage(recipe)
    assert recipe.phase_of(4) == (0, 5)
    assert recipe.phase_of(5) == (5, 9)
    rates = [train.learning_rate(1e-3, recipe, iteration) for iteration in range(9)]
    assert rates[0] == rates[5] == pytest.approx(1e-3)
    assert rates[4] < rates[3] and rates[8] < rates[7]


def test_paired_stages_pull_the_synthetic_image_to_the_acquired_one(recipe):
    recipe = replace(recipe, stages=(Stage(60, 2, (64, 64), objective="paired"),))
    state = State.fresh(recipe)
    image = np.zeros((64, 64), dtype=np.float32)
    smooth = SlicePairs([image], [image + 0.5])
    found = [train.train_one(state, recipe, [smooth], [1.0])["paired_ab"] for _ in range(60)]
    assert np.mean(found[-10:]) < 0.85 * np.mean(found[:10])


def everything(state: State) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []

    def walk(value: object) -> None:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, dict):
            for inner in value.values():
                walk(inner)

    for part in state._parts().values():
        walk(part.state_dict())
    return found


def test_a_killed_and_restarted_run_ends_bit_equal_to_an_uninterrupted_one(
    recipe, tmp_path, monkeypatch
):
    groups, shares = [some_slices(), some_slices(seed=1)], [0.7, 0.3]
    record = new_record(recipe, Path("tiny.toml"), torch.device("cpu"))
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    monkeypatch.setattr(train, "SAVE_EVERY", 2)
    whole = train.train(recipe, groups, shares, tmp_path / "whole", record)

    true_step = train.train_one

    def killed_in_the_fourth(state, *arguments):
        if state.iteration == 3:
            raise KeyboardInterrupt
        return true_step(state, *arguments)

    monkeypatch.setattr(train, "train_one", killed_in_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        train.train(recipe, groups, shares, tmp_path / "killed", record)
    iterations = []

    def counted(state, *arguments):
        iterations.append(state.iteration)
        return true_step(state, *arguments)

    monkeypatch.setattr(train, "train_one", counted)
    torch.manual_seed(999)  # whatever the new process starts with
    resumed = train.train(recipe, groups, shares, tmp_path / "killed", record)
    assert iterations == [2, 3, 4]
    logs = [(tmp_path / name / "losses.csv").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]  # what was logged after the last checkpoint is not there twice
    assert len(everything(whole)) > 100
    assert all(map(torch.equal, everything(whole), everything(resumed)))
    assert any(
        not torch.equal(a, b)
        for a, b in zip(everything(whole), everything(State.fresh(recipe)), strict=False)
    )


def test_a_kill_while_saving_leaves_the_previous_checkpoint(recipe, tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    state = State.fresh(recipe)
    state.save(path)
    before = path.read_bytes()

    def half_written(content, file) -> None:
        file.write(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(state_module.torch, "save", half_written)
    with pytest.raises(KeyboardInterrupt):
        state.save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 damaged"])
def test_a_damaged_checkpoint_is_named(recipe, tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(FileError, match="last.pt: is no checkpoint of this recipe"):
        State.fresh(recipe).load(path)


def test_a_checkpoint_of_another_recipe_is_refused(recipe, tmp_path):
    State.fresh(recipe).save(tmp_path / "last.pt")
    wider = replace(recipe, network=replace(recipe.network, ngf=8))
    with pytest.raises(FileError, match="remove it to start anew") as caught:
        State.fresh(wider).load(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)


def test_the_command_trains_from_files_and_leaves_checkpoint_log_and_recipe(
    recipe_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(train, "LOG_EVERY", 2)
    monkeypatch.setattr(train.torch, "set_flush_denormal", lambda on: True)  # of the process
    paths = []
    for volume in two_contrast_volumes():
        paths.append(str(tmp_path / f"{volume.name}.nii.gz"))
        nib.save(nib.Nifti1Image(volume.array, volume.affine), paths[-1])
    run = tmp_path / "run"
    assert train.main([str(recipe_file), "--out", str(run), "--pair", *paths]) == 0
    with open(run / "losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["2", "4"]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values() if value)
    record = json.loads((run / "run.json").read_text())
    assert record["recipe"]["network"]["ngf"] == 4
    assert record["recipe_file"] == recipe_file.name
    assert record["minutes"] >= 0
    state = State.fresh(read_recipe(recipe_file))
    state.load(run / "last.pt")
    assert state.iteration == 5


def test_the_command_tells_a_users_error_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train.torch, "set_flush_denormal", lambda on: True)
    arguments = [str(tmp_path / "no.toml"), "--out", str(tmp_path / "run"), "--pair", "a", "b"]
    assert train.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "no.toml" in error
    assert not (tmp_path / "run").exists()


def test_the_structural_loss_is_that_of_an_independent_histogram():
    """Wide uniform bins against scikit-image's NMI: the smooth windows change it little."""
    from skimage.metrics import normalized_mutual_information

    rng = np.random.default_rng(0)
    target = np.repeat(np.repeat(rng.choice([-0.8, -0.2, 0.3, 0.8], (8, 8)), 8, 0), 8, 1)
    found = {}
    for noise in (0.0, 0.15, 0.6):
        image = np.clip(-target + noise * rng.normal(size=target.shape), -1, 1)
        pair = [torch.from_numpy(x).float().view(1, 1, 64, 64) for x in (image, target)]
        loss = float(losses.structural_loss(*pair))
        found[noise] = loss, 2 - normalized_mutual_information(image, target, bins=20)
    assert found[0.0][0] < found[0.15][0] < found[0.6][0]
    assert found[0.6][0] == pytest.approx(found[0.6][1], abs=0.1)


def test_the_structural_loss_has_the_gradient_of_finite_differences():
    generator = torch.Generator().manual_seed(1)
    fake = (torch.rand(1, 1, 5, 4, generator=generator) - 0.5).requires_grad_()
    target = torch.rand(1, 1, 5, 4, generator=generator) - 0.5
    losses.structural_loss(fake, target, bins=6).backward()
    bump = torch.zeros_like(target)
    bump[0, 0, 2, 1] = 1e-2
    with torch.no_grad():
        rise = losses.structural_loss(fake + bump, target, bins=6)
        fall = losses.structural_loss(fake - bump, target, bins=6)
    slope = float((rise - fall) / 2e-2)
    assert float(fake.grad[0, 0, 2, 1]) == pytest.approx(slope, rel=0.02, abs=1e-5)
