"""The cine baselines: each trains, goes on after a kill, and gives frames of the right kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from training.cine.rows import ROWS, row
from training.cine.run_state import CHECKPOINT, WEIGHTS
from training.cine.train import finished, train
from training.mstg.batches import Beats

from MambaSynthLib.errors import FileError, RequestError
from training.cine import kan, r2net, ukan
from training.cine.frame_model import LinearBlend, NoMotion
from training.cine.score import load
from training.data.heart_cine import HeartCine

SIZE = (32, 32, 32)
LEARNED = [name for name, one in ROWS.items() if one.build is not None]


def shrinking_ball(name: str = "ball", frames: int = 4) -> HeartCine:
    """A bright ball whose radius falls from 11 to 7 voxels between ED and ES."""
    distance = np.sqrt(((np.indices(SIZE) - 15.5) ** 2).sum(axis=0))
    radii = np.linspace(11, 7, frames)
    images = np.stack([1 / (1 + np.exp(distance - radius)) for radius in radii])
    labels = np.stack([np.where(distance < radius, 3, 0) for radius in radii]).astype(np.uint8)
    return HeartCine(
        name, images.astype(np.float32), tuple(40.0 * f for f in range(frames)), labels,
        tuple(range(frames)), (3.15, 1.5, 1.5), 0, frames - 1, ((0, 32),) * 3,
    )  # fmt: skip


def beats(targets: str = "all") -> Beats:
    return Beats([shrinking_ball()], targets, "cpu")


SLOW = {"mstg": [pytest.mark.slow]}  # ddm and mstg+ stand for it


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, [])) for name in LEARNED])
def test_every_row_trains_and_gives_frames_in_range(name, tmp_path):
    train(name, beats(row(name).targets), tmp_path, seed=0, iterations=1)
    assert finished(tmp_path, 1) and not finished(tmp_path, 2)
    cine = shrinking_ball()
    model = load(name, tmp_path, "cpu")
    made = model.predict(cine.frames[0], cine.frames[-1], [0.5])
    assert made.images.shape == (1, *SIZE) and made.images.dtype == np.float32
    assert 0 <= made.images.min() and made.images.max() <= 1 and np.isfinite(made.images).all()
    assert made.passes >= 1
    if name in ("voxelmorph", "r2net", "ddm", "mstg", "mstg+"):
        assert made.fields.shape == (1, 3, *SIZE)
    else:
        assert made.fields is None


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    whole = train("r2net", beats("ends"), tmp_path / "whole", seed=1, iterations=3)
    monkeypatch.setattr("training.cine.train.SAVE_EVERY", 2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("training.cine.train._record", stop)
        patch.setattr("training.cine.run_state.RunState.save", _save_then_stop)
        train("r2net", beats("ends"), tmp_path / "cut", seed=1, iterations=3)
    assert not (tmp_path / "cut" / WEIGHTS).exists()
    resumed = train("r2net", beats("ends"), tmp_path / "cut", seed=1, iterations=3)
    assert resumed.iteration == 3
    mine, theirs = (s.method.networks.state_dict() for s in (resumed, whole))
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def _save_then_stop(state, path):
    torch.save(
        {"networks": state.method.networks.state_dict(),
         "optimizers": {n: o.state_dict() for n, o in state.optimizers.items()},
         "iteration": state.iteration, "seconds": 1.0}, path)  # fmt: skip
    raise KeyboardInterrupt


def test_a_strange_checkpoint_or_missing_weights_are_told(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"something else")
    with pytest.raises(FileError, match="no checkpoint of this row"):
        train("r2net", beats("ends"), tmp_path, seed=0, iterations=1)
    with pytest.raises(FileError, match="is missing; train the row 'r2net' first"):
        load("r2net", tmp_path, "cpu")
    with pytest.raises(RequestError, match="nothing to train"):
        train("blend", beats(), tmp_path, seed=0, iterations=1)
    with pytest.raises(RequestError, match="'unet' is no row"):
        row("unet")


def test_trivial_rows_are_what_they_are_called():
    cine = shrinking_ball()
    ed, es = cine.frames[0], cine.frames[-1]
    still = NoMotion().frames(ed, es, [0.2, 0.8])
    assert np.array_equal(still, np.stack([ed, es]))
    blend = LinearBlend().frames(ed, es, [0, 0.25, 1])
    assert np.allclose(blend, np.stack([ed, 0.75 * ed + 0.25 * es, es]), atol=1e-6)


def test_voxelmorph_starts_without_motion_and_time_zero_is_ed():
    torch.manual_seed(0)
    method = row("voxelmorph").build()
    cine = shrinking_ball()
    made = method.frame_model("cpu").predict(cine.frames[0], cine.frames[-1], [0, 0.5, 1])
    assert np.abs(made.fields).max() < 0.01 and not made.fields[0].any()
    inner = (slice(1, -1),) * 3
    assert np.allclose(made.images[0][inner], cine.frames[0][inner], atol=1e-5)
    assert made.passes == 1


def test_voxelmorph_learns_that_the_ball_shrinks(tmp_path):
    cine = shrinking_ball()
    train("voxelmorph", beats("ends"), tmp_path, seed=0, iterations=25)
    image = load("voxelmorph", tmp_path, "cpu").frames(cine.frames[0], cine.frames[-1], [1.0])[0]
    before = np.mean((cine.frames[0] - cine.frames[-1]) ** 2)
    assert np.mean((image - cine.frames[-1]) ** 2) < 0.95 * before


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


def test_every_ablation_lacks_exactly_its_part():
    from training.cine.rows import ABLATIONS

    full = row("mstg+").build().networks["mstg"].config
    for name in ABLATIONS:
        config = row(name).build().networks["mstg"].config
        part = name.removeprefix("minus_")
        if part != "frames":
            assert getattr(full, part) and not getattr(config, part)
