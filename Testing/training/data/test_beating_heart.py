"""The beating-heart set: its motion is a heart's, known exactly, and written so that it is read.

``pixels`` are those of 1.5 mm in which the motion of real hearts is told.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_hearts import ventricle
from scipy import ndimage

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.data.beating_heart import beating_heart, draw_heart
from MambaSynthTraining.data.beating_heart_set import write_beating_hearts
from MambaSynthTraining.data.heart_blood import with_papillary_muscles
from MambaSynthTraining.data.heart_cine import LEFT_POOL, MYOCARDIUM, read_split, read_subject
from MambaSynthTraining.data.heart_course import draw_course
from MambaSynthTraining.data.heart_fields import warp
from MambaSynthTraining.data.heart_motion import pull_coordinates
from MambaSynthTraining.data.heart_signal import Blood, acquire, draw_signal
from MambaSynthTraining.data.heart_slices import SINGLE, STACK, VOLUME
from MambaSynthTraining.data.heart_stacks import Grid as CineGrid
from MambaSynthTraining.data.heart_stacks import place, read_stacks
from MambaSynthTraining.data.heart_wall import wall_of

STACKS = Path(__file__).resolve().parents[3] / ".." / "shared/data/heart_sax/scd_lvsegs.npz"
HEIGHT = np.array([16 * 3.15])  # mm, of the middle plane
COARSE = CineGrid((16, 48, 48), (6.3, 2.0, 2.0))


def heart(kind: str = VOLUME, seed: int = 0):
    """A subject before it is imaged."""
    return draw_heart(ventricle(), np.random.default_rng(seed), CineGrid(), (kind,))


def at_es(found, s: float = 1.0):
    """(3,D,H,W) mm from where every voxel was at ED to where it is."""
    grid = found.grid
    planes = np.arange(grid.size[0]) * grid.spacing_mm[0]
    was = pull_coordinates(found.motion, grid, planes, np.full(len(planes), s))
    here = np.indices(grid.size) * np.reshape(grid.spacing_mm, (3, 1, 1, 1))
    return here - np.stack(was)


def jacobian(field: np.ndarray) -> np.ndarray:
    """det(1 + d field / d x) at the inner voxels, (D-2,H-2,W-2), by central differences."""
    gradient = np.stack([np.stack(np.gradient(part)) for part in field])
    matrix = gradient + np.eye(3)[:, :, None, None, None]
    return np.linalg.det(np.moveaxis(matrix, (0, 1), (-2, -1)))[1:-1, 1:-1, 1:-1]


@pytest.fixture(scope="module")
def cine():
    return beating_heart(ventricle(), subject=1, seed=3, frames=12, kinds=(VOLUME,))


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
    outside = cine.frames.sum(dtype=np.float64) - inside.sum(dtype=np.float64)
    assert outside == pytest.approx(0, abs=1e-6)


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


def test_systole_waits_then_is_faster_than_filling_and_courses_differ():
    courses = [draw_course(np.random.default_rng(seed)) for seed in range(20)]
    halves = []
    for course in courses:
        times = np.linspace(0, course.period_ms, 2001)
        s = course.contraction(times)
        assert s.min() > -1e-9 and s.max() == pytest.approx(1, abs=1e-4)
        assert times[s.argmax()] == pytest.approx(course.es_ms, abs=1)
        assert course.contraction(course.delay_ms) == 0
        assert (np.diff(s[times <= course.es_ms]) >= 0).all()
        assert (np.diff(s[times > course.es_ms]) <= 1e-9).all()
        assert course.es_ms < 0.45 * course.period_ms
        assert course.flow(0) < 0.1 and course.flow(course.es_ms / 2) > 0.4
        halves.append(float(course.contraction(course.es_ms / 2)))
    assert 0.3 < min(halves) and max(halves) < 0.7 and np.ptp(halves) > 0.1


def test_walls_move_four_to_ten_pixels_in_the_plane_and_along_the_axis():
    across, along = [], []
    for seed in range(6):
        found = heart(seed=seed)
        moved = at_es(found)
        inside = np.zeros(found.grid.size, bool)
        inside[tuple(slice(*ends) for ends in found.anatomy.valid)] = True
        across.append(np.percentile(np.hypot(*moved[1:])[inside], 99.5) / 1.5)
        along.append(np.percentile(np.abs(moved[0])[inside], 99) / 1.5)
    assert 4 < min(across) and max(across) < 10
    assert 4 < min(along) and max(along) < 10


def test_the_right_ventricles_free_wall_comes_to_the_septum_and_down():
    """In the picture it lies to the left, 18 pixels of 1.4 mm beyond the endocardium."""
    for seed in range(4):
        found = heart(seed=seed)
        right = found.motion.room.right
        assert np.cos(right.direction) < -0.95
        assert right.depth_mm.mean() == pytest.approx(12 * 1.4, abs=4)
        moved = at_es(found)
        middle = found.grid.size[0] // 2
        row, column = (float(part[0]) / 1.5 for part in found.motion.wall.center_at(HEIGHT))
        free = round(column - 18 * 1.4 / 1.5)  # the septum's right side
        strip = moved[2, middle, round(row), free - 8 : free + 1] / 1.5  # to the right: inward
        assert strip.max() - strip[-1] > 2.5


def test_the_chest_stands_still():
    for seed in range(3):
        found = heart(seed=seed)
        moved = np.abs(at_es(found))
        (r0, r1), (c0, c1) = found.anatomy.valid[1:]
        edges = [moved[:, :, r0, :], moved[:, :, r1 - 1, :], moved[..., c0], moved[..., c1 - 1]]
        assert max(edge.max() for edge in edges) < 0.3  # mm
        corner = moved[:, :, r0 : r0 + 8, c1 - 8 : c1]
        assert corner.max() < 0.75  # mm, half a pixel


def test_papillary_muscles_are_seen_and_keep_more_of_their_area_than_blood():
    stack = ventricle()
    anatomy = place(stack, CineGrid())
    wall = with_papillary_muscles(wall_of(stack, anatomy), stack, anatomy)
    thick = (wall.inner - wall.blood)[2:6].mean(axis=0)
    angles = np.arange(64) * (2 * np.pi / 64)
    apart = np.abs(np.angle(np.exp(1j * (angles - 0.9))))
    assert thick[apart < 0.15].mean() > 3.0 > 1.5 > thick[apart > 2].mean()
    found = heart()
    moved = at_es(found) / np.reshape(found.grid.spacing_mm, (3, 1, 1, 1))
    shrink = jacobian(-moved)[len(moved[0]) // 2 - 1]  # ED area per area of the frame
    row, column = (float(part[0]) / 1.5 for part in found.motion.wall.center_at(HEIGHT))
    rows, columns = np.indices(shrink.shape) + 1
    radius = np.hypot(rows - row, columns - column)
    core = shrink[radius < 2].mean()
    assert core > 1.5  # of blood, much is gone
    angle = np.arctan2(rows - row, columns - column)
    beside = np.abs(np.abs(angle) - 0.9) < 0.2
    inner = float(found.motion.wall.radii_at(HEIGHT, np.array([0.9]))[1][0]) / 1.5
    ring = beside & (radius < 0.55 * inner) & (radius > 0.4 * inner)
    assert shrink[ring].mean() < 0.8 * core


def test_fields_differ_from_slice_to_slice_only_in_stacks():
    for kind, spread in ((VOLUME, 0.0), (STACK, 0.02)):
        found = heart(kind, seed=4)
        s = found.slices.contractions(found.motion.course, 0.6 * found.motion.course.es_ms)
        assert s.std() >= spread and (spread or s.std() == 0)
        at_ed = found.slices.contractions(found.motion.course, 0.0)
        assert not at_ed.any()


def test_thick_slices_lie_eight_to_ten_millimeters_apart_and_blur_what_moves_through():
    found = heart(STACK, seed=2)
    gaps = np.diff(found.slices.centers_mm)
    assert gaps == pytest.approx(gaps[0]) and 8 <= gaps[0] <= 10
    assert np.ptp(found.slices.planes_mm[3]) > 0.4 * gaps[0]
    thin = beating_heart(ventricle(), 2, frames=8, kinds=(VOLUME,))
    thick = beating_heart(ventricle(), 2, frames=8, kinds=(STACK,))
    rough = [float(np.abs(np.diff(np.diff(c.frames[c.es][c.box], axis=0), axis=0)).mean())
             for c in (thin, thick)]  # fmt: skip
    assert rough[1] < 0.7 * rough[0]
    assert thin.es == thick.es and thin.times_ms == thick.times_ms


def test_a_single_slice_is_one_picture_three_planes_thick_and_nothing_else():
    cine = beating_heart(ventricle(), 3, frames=8, kinds=(SINGLE,))
    first, stop = cine.valid[0]
    assert stop - first == 3
    assert np.array_equal(cine.frames[2, first], cine.frames[2, stop - 1])
    assert not cine.frames[:, :first].any() and not cine.frames[:, stop:].any()
    moved = np.abs(cine.frames[0] - cine.frames[cine.es])[cine.box]
    assert moved.max() > 0.3


def test_flow_changes_blood_where_it_is_fast_and_nothing_at_rest():
    signal = replace(draw_signal(np.random.default_rng(0)), inflow=0, noise=0, gain=0, jet=-0.5,
                     ghost=0.03, ghost_shift=0.5, jet_place=(0.3, 0.0))  # fmt: skip
    pool = np.zeros((2, 32, 32), bool)
    pool[:, 6:14, 10:20] = True
    tissue = np.where(pool, 0.8, 0.1).astype(np.float32)
    rest, fast = (
        acquire(tissue, Blood(pool, flow, np.array([0.0, 40.0])), np.ones(2), (1.5, 1.5), signal,
                np.random.default_rng(0))
        for flow in (0.0, 1.0)
    )  # fmt: skip
    assert rest == pytest.approx(tissue)
    assert fast[0][pool[0]].min() < 0.5 < 0.7 < fast[1][pool[1]].min()  # a jet below the base only
    ghost = fast[:, 22:30, 10:20] - tissue[:, 22:30, 10:20]
    assert 0.01 < ghost.mean() < 0.03
    away = fast[:, :, :6] - tissue[:, :, :6]
    assert np.abs(away).max() < 1e-3


def test_the_wall_is_found_where_it_was_drawn():
    stack = ventricle(radius=12)
    wall = wall_of(stack, place(stack, CineGrid()))
    radii = 12 * 1.4 * np.sqrt(np.linspace(1, 0.3, 9))
    assert wall.inner.mean(axis=1)[2:7] == pytest.approx(radii[2:7], abs=1.0)
    assert wall.outer.mean(axis=1)[2:7] == pytest.approx(radii[2:7] + 6 * 1.4, abs=1.0)
    assert wall.center[4] == pytest.approx([31.5 * 1.5, 31.5 * 1.5], abs=1.5)
    assert np.array_equal(wall.blood, wall.inner)  # papillary muscles are read off the picture


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
    made = beating_heart(stacks[index], index, seed=0, frames=8, grid=COARSE, kinds=(VOLUME, STACK))
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


def test_single_slices_are_for_training_alone_where_there_are_others(tmp_path):
    stacks = [ventricle(radius) for radius in (10, 11, 12, 13)]
    grid = CineGrid((16, 32, 32), (6.3, 3.0, 3.0))
    for kinds, expected in (((SINGLE, STACK), False), ((SINGLE,), True)):
        splits = write_beating_hearts(
            stacks, tmp_path / kinds[-1], split=(0, 0, 4), frames=8, grid=grid, kinds=kinds
        )
        cines = [read_subject(tmp_path / kinds[-1], name) for name in splits["test"]]
        assert all((np.diff(cine.valid[0])[0] <= 2) == expected for cine in cines)


@pytest.mark.skipif(not STACKS.is_file(), reason="the Sunnybrook stacks are not at ../shared")
def test_real_stacks_beat_without_folding_and_their_right_ventricles_move():
    stacks = read_stacks(STACKS)
    assert len(stacks) == 45
    for subject in (20, 34, 44):  # 34: the largest; 44: one whose top outline is a fragment
        found = draw_heart(stacks[subject], np.random.default_rng(subject), CineGrid(), (VOLUME,))
        moved = at_es(found) / np.reshape(found.grid.spacing_mm, (3, 1, 1, 1))
        assert jacobian(-moved).min() > 0.05
        room = found.motion.room
        rows, columns = np.meshgrid(np.arange(64) * 1.5, np.arange(64) * 1.5, indexing="ij")
        middle = found.grid.size[0] // 2
        z = np.full(rows.shape, middle * 3.15)
        radius, angle, _ = room.around(z, rows, columns)
        outer = room.wall.radii_at(z, angle)[2]
        beside = (room.right.window(angle) > 0.7) & (radius > outer + 3)
        free = np.hypot(*moved[1:, middle])[beside]
        assert np.percentile(free, 95) > 3  # pixels


@pytest.mark.skipif(not STACKS.is_file(), reason="the Sunnybrook stacks are not at ../shared")
def test_the_command_writes_a_set_with_pictures(tmp_path, capsys):
    out = tmp_path / "hearts"
    arguments = ["--split", "1", "0", "1", "--frames", "8", "--pictures"]
    assert main(["beating-heart", str(STACKS), "-o", str(out), *arguments]) == 0
    assert "1 train, 0 validation, 1 test" in capsys.readouterr().out
    assert (out / "frames.png").stat().st_size > 10_000
    assert len(list(out.glob("*.gif"))) == 2
