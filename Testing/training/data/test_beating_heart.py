"""The beating-heart set: its motion is a heart's, known exactly, and written so that it is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.data.beating_heart import beating_heart, warp
from MambaSynthTraining.data.beating_heart_set import write_beating_hearts
from MambaSynthTraining.data.heart_cine import LEFT_POOL, MYOCARDIUM, read_split, read_subject
from MambaSynthTraining.data.heart_motion import contraction, draw_motion
from MambaSynthTraining.data.heart_stacks import Grid as CineGrid
from MambaSynthTraining.data.heart_stacks import Stack, place, read_stacks
from MambaSynthTraining.data.heart_wall import wall_of

STACKS = Path(__file__).resolve().parents[3] / ".." / "shared/data/heart_sax/scd_lvsegs.npz"
COARSE = CineGrid((16, 48, 48), (6.3, 2.0, 2.0))


def ventricle(radius: float = 12.0, slices: int = 9, thickness: float = 8.0) -> Stack:
    """A made-up patient: a bright pool in a dark wall that tapers to the apex, with texture."""
    y, x = np.mgrid[:64, :64] - 31.5
    distance = np.hypot(y, x)
    radii = radius * np.sqrt(np.linspace(1, 0.3, slices))[:, None, None]
    wall = (distance >= radii) & (distance < radii + 6)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).random((slices, 64, 64)), (0, 2, 2))
    image = 300 * texture + 400 * (distance < radii) - 100 * wall
    return Stack(np.maximum(image, 0).astype(np.float32), wall, (thickness, 1.4, 1.4))


def jacobian(field: np.ndarray) -> np.ndarray:
    """det(1 + d field / d x) at the inner voxels, (D-2,H-2,W-2), by central differences."""
    gradient = np.stack([np.stack(np.gradient(part)) for part in field])
    matrix = gradient + np.eye(3)[:, :, None, None, None]
    return np.linalg.det(np.moveaxis(matrix, (0, 1), (-2, -1)))[1:-1, 1:-1, 1:-1]


@pytest.fixture(scope="module")
def cine():
    return beating_heart(ventricle(), subject=1, seed=3, frames=12)


def test_the_pull_field_carries_the_ed_frame_to_every_frame(cine):
    for index in (0, 2, cine.es, 9):
        moved = warp(cine.frames[0], cine.fields[index])[cine.box]
        error = np.abs(moved - cine.frames[index][cine.box])
        still = np.abs(cine.frames[0] - cine.frames[index])[cine.box]
        assert error.mean() < 0.035
        assert index == 0 or error.mean() < still.mean()


def test_ed_and_es_share_one_scale_that_the_frames_between_do_not_leave(cine):
    inside = cine.frames[(slice(None), *cine.box)]
    ends = inside[[cine.ed, cine.es]]
    assert ends.min() == 0 and ends.max() == 1
    assert inside.min() >= 0 and inside.max() <= 1
    assert (cine.frames.sum() - inside.sum()) == pytest.approx(0)


def test_identity_at_ed_and_no_frame_folds(cine):
    assert np.abs(cine.fields[0]).max() < 1e-3
    assert min(jacobian(field).min() for field in cine.fields) > 0.1


def test_the_wall_keeps_its_volume_and_thickens(cine):
    ed, es = cine.labels[cine.ed], cine.labels[cine.es]
    inner = ndimage.binary_erosion(es == MYOCARDIUM)
    in_wall = jacobian(cine.fields[cine.es])[inner[1:-1, 1:-1, 1:-1]]
    assert np.median(in_wall) == pytest.approx(1, abs=0.05)
    volumes = [(labels == MYOCARDIUM).sum() for labels in (ed, es)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.1)
    middle = cine.frames.shape[1] // 2
    areas = [(labels[middle] == MYOCARDIUM).sum() for labels in (ed, es)]
    assert areas[1] > 1.05 * areas[0]  # a shorter ventricle has more wall in each slice


def test_the_ejection_fraction_is_a_hearts_and_the_volume_falls_until_es_then_rises(cine):
    volumes = np.array([(labels == LEFT_POOL).sum() for labels in cine.labels])
    assert 0.4 < 1 - volumes[cine.es] / volumes[0] < 0.7
    assert (np.diff(volumes[: cine.es + 1]) < 0).all()
    assert (np.diff(volumes[cine.es :]) > 0).all()


def test_ejection_is_faster_than_filling():
    stack = ventricle()
    motion = draw_motion(wall_of(stack, place(stack, CineGrid())), np.random.default_rng(0))
    phases = np.linspace(0, 1, 2001)
    s = contraction(motion, phases)
    assert s.min() >= 0 and s.max() == pytest.approx(1, abs=1e-4)
    assert phases[s.argmax()] == pytest.approx(motion.es_phase, abs=1e-3)
    half = motion.es_phase / 2
    assert contraction(motion, np.array([half]))[0] > 0.5  # more than half is out by mid-systole


def test_the_wall_is_found_where_it_was_drawn():
    stack = ventricle(radius=12)
    wall = wall_of(stack, place(stack, CineGrid()))
    radii = 12 * 1.4 * np.sqrt(np.linspace(1, 0.3, 9))
    assert wall.inner.mean(axis=1)[2:7] == pytest.approx(radii[2:7], abs=1.0)
    assert wall.outer.mean(axis=1)[2:7] == pytest.approx(radii[2:7] + 6 * 1.4, abs=1.0)
    assert wall.center[4] == pytest.approx([31.5 * 1.5, 31.5 * 1.5], abs=1.5)


def test_an_open_outline_is_closed():
    stack = ventricle()
    opened = stack.wall.copy()
    opened[0, :32, :32] = False  # a quarter lacks
    opened[1, 31:33] = False
    closed = wall_of(replace(stack, wall=opened), place(stack, CineGrid()))
    whole = wall_of(stack, place(stack, CineGrid()))
    assert np.abs(closed.inner - whole.inner).max() < 3  # mm, of radii of 17 mm


def test_noise_is_independent_from_frame_to_frame(cine):
    """Far from the heart nothing moves, so a difference of frames is noise alone."""
    corner = [frame[cine.box][2:-2, 1:6, 1:6] for frame in cine.frames[1:4]]
    one, other = corner[0] - corner[1], corner[1] - corner[2]
    assert one.std() > 0.003
    # differences that share the middle frame correlate by -1/2, frozen noise would not vary
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] == pytest.approx(-0.5, abs=0.15)


def test_a_subject_depends_on_seed_and_number_alone():
    one = beating_heart(ventricle(), 4, seed=1, frames=8, grid=COARSE)
    again = beating_heart(ventricle(), 4, seed=1, frames=8, grid=COARSE)
    other = beating_heart(ventricle(), 5, seed=1, frames=8, grid=COARSE)
    assert np.array_equal(one.frames, again.frames)
    assert not np.allclose(one.fields, other.fields)


def test_outside_the_stack_there_is_nothing_and_every_frame_is_about_as_bright(cine):
    outside = np.ones(cine.frames.shape[1:], dtype=bool)
    outside[cine.box] = False
    assert outside.any()
    assert not cine.frames[:, outside].any() and not cine.labels[:, outside].any()
    assert cine.frames.reshape(12, -1).max(axis=1) == pytest.approx(1, abs=0.05)


def test_too_few_frames_are_refused():
    with pytest.raises(RequestError, match="3 frames are too few"):
        beating_heart(ventricle(), 0, frames=3)


def test_a_set_is_written_split_by_subject_and_read_back(tmp_path):
    stacks = [ventricle(radius) for radius in (10, 11, 12, 13)]
    splits = write_beating_hearts(
        stacks, tmp_path, split=(2, 1, 1), frames=8, grid=COARSE, fields=True
    )
    names = [name for group in splits.values() for name in group]
    assert len(set(names)) == 4
    assert read_split(tmp_path, "train") == sorted(splits["train"])
    back = read_subject(tmp_path, splits["test"][0])
    index = int(back.name.removeprefix("heart-"))
    made = beating_heart(stacks[index], index, seed=0, frames=8, grid=COARSE)
    assert np.abs(back.frames - made.frames).max() < 1e-3  # half precision
    assert np.array_equal(back.labels, made.labels)
    assert np.abs(back.fields - made.fields).max() < 5e-3
    assert (back.ed, back.es, back.valid) == (made.ed, made.es, made.valid)
    assert back.fraction(back.es) == 1 and len(back.between) == back.es - 1


def test_a_damaged_subject_is_told_in_one_sentence(tmp_path):
    splits = write_beating_hearts([ventricle()], tmp_path, split=(0, 0, 1), frames=8, grid=COARSE)
    name = splits["test"][0]
    np.save(tmp_path / name / "labels.npy", np.zeros((1, 2, 3, 4), dtype=np.uint8))
    with pytest.raises(FileError, match="do not fit"):
        read_subject(tmp_path, name)
    (tmp_path / name / "frames.npy").unlink()
    with pytest.raises(FileError, match="no subject of a cine data set"):
        read_subject(tmp_path, name)


@pytest.mark.parametrize("split", [(0, 0, 0), (2, 1, 1), (-1, 1, 1)])
def test_an_impossible_split_is_refused(tmp_path, split):
    with pytest.raises(RequestError, match="cannot split 2 patients"):
        write_beating_hearts([ventricle(), ventricle()], tmp_path, split=split)


def test_a_wrong_source_ends_with_exit_code_2(tmp_path, capsys):
    (tmp_path / "scd.npz").write_bytes(b"nothing")
    assert main(["beating-heart", str(tmp_path / "scd.npz"), "-o", str(tmp_path / "out")]) == 2
    assert "no set of Sunnybrook stacks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not STACKS.is_file(), reason="the Sunnybrook stacks are not at ../shared")
def test_real_stacks_beat_without_folding():
    stacks = read_stacks(STACKS)
    assert len(stacks) == 45
    for subject in (34, 44):  # the largest and one whose top outline is a fragment
        cine = beating_heart(stacks[subject], subject, frames=8)
        pools = [(labels == LEFT_POOL).sum() for labels in cine.labels]
        assert 0.4 < 1 - pools[cine.es] / pools[0] < 0.7
        assert jacobian(cine.fields[cine.es]).min() > 0.1


@pytest.mark.skipif(not STACKS.is_file(), reason="the Sunnybrook stacks are not at ../shared")
def test_the_command_writes_a_set_with_pictures(tmp_path, capsys):
    out = tmp_path / "hearts"
    arguments = ["--split", "1", "0", "1", "--frames", "8", "--pictures"]
    assert main(["beating-heart", str(STACKS), "-o", str(out), *arguments]) == 0
    assert "1 train, 0 validation, 1 test" in capsys.readouterr().out
    assert (out / "frames.png").stat().st_size > 10_000
    assert len(list(out.glob("*.gif"))) == 2
