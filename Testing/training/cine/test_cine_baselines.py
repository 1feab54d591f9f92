"""The cine baselines: each trains and gives frames of the right kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_runs import train
from scipy.interpolate import BSpline
from tiny_cines import shrinking

from MambaSynthLib.methods.mstg.network import MSTG
from MambaSynthTraining.cine.rivals import kan, r2net, ukan, uvinet
from MambaSynthTraining.cine.rivals.trivial import TRIVIAL
from MambaSynthTraining.data.beats import BeatBatch, Beats
from MambaSynthTraining.data.cines import CineData
from MambaSynthTraining.data.heart_cine import HeartCine
from MambaSynthTraining.data.heart_fields import warp
from MambaSynthTraining.engine.state import State
from MambaSynthTraining.evaluation.rows import find_rows
from MambaSynthTraining.recipe import Optimization, Recipe
from MambaSynthTraining.recipe_file import has_small, read_recipe
from MambaSynthTraining.runs import open_run

SIZE = (32, 32, 32)
RECIPES = Path(__file__).resolve().parents[3] / "training/recipes/cine"
ROWS = [  # as the table has them
    "cgan", "ukan", "r2net", "voxelmorph", "uvinet", "ddm", "mstg", "mstg-plus",
]  # fmt: skip
WITH_FIELDS = ROWS[2:]


def ball() -> HeartCine:
    return shrinking("ball", 11, 7, 32)


def tiny_data(targets: str) -> CineData:
    return CineData(Beats([ball()], targets), SIZE, (3.15, 1.5, 1.5))


def short(name: str, iterations: int = 1, **changes) -> Recipe:
    """The small form of a row, cut."""
    recipe = read_recipe(RECIPES / f"{name}.yaml", small=True)
    stage = replace(recipe.stages[0], iterations=iterations, batch=1, crop=())
    return replace(recipe, stages=(stage,), **changes)


def trained(recipe: Recipe, run: Path):
    """A run, opened."""
    train(recipe, run, data=tiny_data(recipe.cine.targets))
    return open_run(run)


def test_the_small_table_has_every_row_and_the_full_one_the_same():
    small, full = find_rows(RECIPES, small=True), find_rows(RECIPES, small=False)
    assert [row.name for row in small] == [f"{name}-small" for name in ROWS]
    assert [row.name for row in full] == ROWS
    for one, other in zip(small, full, strict=True):
        assert one.title.replace(" compact", "") == other.title
        assert one.recipe.method == other.recipe.method and one.recipe.cine == other.recipe.cine
        assert one.recipe.iterations * 5 < other.recipe.iterations
        assert one.recipe.expected.get("psnr", 20) > 10


@pytest.mark.parametrize("path", sorted(RECIPES.parent.glob("cine*/*.yaml")), ids=lambda p: p.stem)
def test_a_recipe_says_in_its_header_what_to_expect_and_on_what(path):
    header = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    assert any(line.startswith("# Expected") for line in header)
    for small in {False, has_small(path)}:
        expected = read_recipe(path, small=small).expected
        assert expected["hardware"] and expected["minutes"]
        measured = {"psnr", "ssim"} <= set(expected)
        assert not small or measured or any("not run yet at either size" in h for h in header)


SLOW = {"mstg": [pytest.mark.slow]}  # ddm and mstg-plus stand for it


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, [])) for name in ROWS])
def test_every_row_trains_and_gives_frames_in_range(name, tmp_path):
    """One iteration; every optimizer's networks move."""
    recipe = short(name)
    before = State(recipe).method.networks.state_dict()
    with trained(recipe, tmp_path).trained() as method:
        moved = {
            key.partition(".")[0]
            for key, value in method.networks.state_dict().items()
            if not torch.equal(value, before[key])
        }
        assert moved == set(method.networks)
        cine = ball()
        made = method.frame_model("cpu").synthesize(cine.frames[0], cine.frames[3], [0.5])
    assert made.images.shape == (1, *SIZE) and made.images.dtype == np.float32
    assert 0 <= made.images.min() and made.images.max() <= 1 and np.isfinite(made.images).all()
    assert made.passes >= 1
    if name in WITH_FIELDS:
        assert made.fields.shape == (1, 3, *SIZE)
    else:
        assert made.fields is None


def test_trivial_rows_are_what_they_are_called():
    cine = ball()
    ed, es = cine.frames[0], cine.frames[3]
    still = TRIVIAL["no-motion"].model(cine.spacing_mm).frames(ed, es, [0.2, 0.8])
    assert np.array_equal(still, np.stack([ed, es]))
    blend = TRIVIAL["blend"].model(cine.spacing_mm).frames(ed, es, [0, 0.25, 1])
    assert np.allclose(blend, np.stack([ed, 0.75 * ed + 0.25 * es, es]), atol=1e-6)
    for name in ("tv-l1", "fit"):
        made = TRIVIAL[name].model(cine.spacing_mm).synthesize(ed, es, [0.5, 1.0])
        assert made.fields.shape == (2, 3, *SIZE) and made.passes == 0
        left = np.mean((warp(ed, made.fields[1]) - es) ** 2)
        assert left < 0.3 * np.mean((ed - es) ** 2)  # the motion explains ES


def test_voxelmorph_starts_without_motion_and_time_zero_is_ed():
    method = State(short("voxelmorph")).method
    cine = ball()
    made = method.frame_model("cpu").synthesize(cine.frames[0], cine.frames[3], [0, 0.5, 1])
    assert np.abs(made.fields).max() < 0.01 and not made.fields[0].any()
    inner = (slice(1, -1),) * 3
    assert np.allclose(made.images[0][inner], cine.frames[0][inner], atol=1e-5)
    assert made.passes == 1


def test_voxelmorph_learns_that_the_ball_shrinks(tmp_path):
    cine = ball()
    recipe = short("voxelmorph", 20, precision="32")
    with trained(recipe, tmp_path).trained() as method:
        image = method.frame_model("cpu").frames(cine.frames[0], cine.frames[3], [1.0])[0]
    before = np.mean((cine.frames[0] - cine.frames[3]) ** 2)
    assert np.mean((image - cine.frames[3]) ** 2) < 0.95 * before


def test_uvinet_starts_as_a_blend_and_its_ends_are_the_acquired_images():
    method = State(short("uvinet")).method
    cine = ball()
    ed, es = cine.frames[0], cine.frames[3]
    made = method.frame_model("cpu").synthesize(ed, es, [0, 0.5, 1])
    inner = (slice(1, -1),) * 3
    for image, expected in zip(made.images, (ed, (ed + es) / 2, es), strict=True):
        assert np.allclose(image[inner], expected[inner], atol=1e-3)
    assert made.passes == 3  # the fields are shared, each frame is refined


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_uvinet_learns_a_frame_that_it_never_sees():
    """Nearer to the frame between the ends than the blend that it begins as."""
    torch.manual_seed(0)
    rates = Optimization({"uvinet": 1e-3}, (0.9, 0.999))
    method, cine = uvinet.UVINetTraining(8, uvinet.Weights(), rates), shrinking("ball", 6, 3.5, 16)
    ed, between, es = (cine.frames[n] for n in (0, 2, 3))
    time, inner = cine.fraction(2), (slice(2, -2),) * 3
    first, last = (torch.from_numpy(image)[None, None] for image in (ed, es))
    batch = BeatBatch(first, last, first, torch.zeros(1))
    (optimizer,) = method.optimizers().values()
    for n in range(41):
        for phase in method.iteration(batch, torch.Generator().manual_seed(n)):
            optimizer.zero_grad()
            phase.loss.backward()
            torch.nn.utils.clip_grad_norm_(method.networks.parameters(), 10.0)
            optimizer.step()
    image = method.frame_model("cpu").frames(ed, es, [time])[0]
    blend = (1 - time) * ed + time * es
    errors = [np.mean((x - between)[inner] ** 2) for x in (image, blend)]
    assert errors[0] < 0.85 * errors[1]


def test_features_of_a_smaller_level_move_by_as_much_of_the_body():
    features = torch.rand(1, 2, 4, 8, 8)
    field = torch.zeros(1, 3, 8, 16, 16)
    field[:, 2] = 2  # two voxels along the rows, one of the half level
    moved = uvinet._warp_level(features, field)
    torch.testing.assert_close(moved[..., :-1], features[..., 1:], atol=1e-5, rtol=0)


def test_r2nets_residual_steps_are_lipschitz_and_time_runs_along_them():
    torch.manual_seed(0)
    network = r2net.R2Net()
    for step in network.steps:
        x, y = torch.randn(2, 1, 3, 8, 8, 8)
        ratio = (step(x) - step(y)).norm() / (x - y).norm()
        assert ratio < 3  # the reshaped kernel's norm bounds a convolution's by sqrt(27)
        for parametrized in (step[0], step[2]):
            matrix = parametrized.weight.flatten(1)
            assert torch.linalg.matrix_norm(matrix, 2) < 1.3  # one power iteration per step
    trajectory = network(torch.rand(1, 1, *SIZE), torch.rand(1, 1, *SIZE))
    moves = [(b - a).abs().max() for a, b in zip(trajectory, trajectory[1:], strict=False)]
    assert len(trajectory) == 8 and max(moves) <= 0.5


def test_kan_bases_are_cubic_b_splines():
    layer = kan.KANLinear(2, 3)
    x = torch.linspace(-0.99, 0.99, 41)
    bases = kan.b_splines(x, layer.knots).numpy()
    knots = layer.knots.numpy().astype(float)
    for index in range(bases.shape[-1]):
        basis = BSpline.basis_element(knots[index : index + 5], extrapolate=False)
        assert bases[:, index] == pytest.approx(np.nan_to_num(basis(x.numpy())), abs=1e-5)
    assert bases.sum(axis=-1) == pytest.approx(1, abs=1e-5)


def test_a_kan_layer_is_a_sum_of_curves():
    """f(x1, x2) = f(x1, 0) + f(0, x2) - f(0, 0), whatever the curves."""
    layer = kan.KANLinear(2, 4)
    a, b = torch.tensor([0.3, 0.0]), torch.tensor([0.0, -0.7])
    separate = layer(a) + layer(b) - layer(torch.zeros(2))
    assert torch.allclose(layer(a + b), separate, atol=1e-5)


def test_slices_are_the_depth_axis():
    volume = torch.arange(2 * 3 * 4).reshape(1, 2, 3, 2, 2).float()
    assert torch.equal(ukan.slices(volume)[1], volume[0, :, 1])


def test_the_small_mstg_plus_is_the_compact_network():
    network = State(short("mstg-plus")).exported
    assert isinstance(network, MSTG) and network.config.coarse and network.config.first_scan == 1
