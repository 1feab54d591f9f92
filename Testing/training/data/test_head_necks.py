"""Heads without T2w: where their face and neck are learned from, and as what."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from MambaSynthLib.errors import RequestError, VolumeError
from MambaSynthLib.image.intensity import MEDIANS
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from MambaSynthTraining.commands import heads as heads_command
from MambaSynthTraining.commands import score_heads
from MambaSynthTraining.data import head_necks
from MambaSynthTraining.data.head_cord import follow
from MambaSynthTraining.data.heads import prepared_data
from MambaSynthTraining.data.heads_list import read_list
from MambaSynthTraining.data.heads_set import make_neck, write_list
from MambaSynthTraining.recipe_file import recipe_of
from Testing.training.made_up_heads import COLUMNS
from Testing.training.made_up_neck import COLUMN, CORD, LOW, SHAPE, SLICE_MM, head, leaning

RECIPE = {
    "method": "cravim-heads",
    "network": {"ngf": 8, "n_blocks": 1, "n_attentions": 3, "input_channels": 1,
                "output_channels": 1, "neighbors": 1, "skips": 1},
    "optimization": {"learning_rates": {"generator": 1.0e-3}},
    "stages": [{"iterations": 2, "batch": 2, "crop": [64, 64]}],
}  # fmt: skip


def volume() -> tuple[Volume, np.ndarray]:
    """The same as a T1w volume, its axes as NIfTI has them, and its brain."""
    stack, brain = head()
    affine = np.diag([-1.0, -1.0, SLICE_MM, 1.0])
    array = ((stack + 1) * 1000).transpose(2, 1, 0).copy()
    return Volume(array.astype(np.float32), affine, "T1w"), brain.transpose(2, 1, 0)


@pytest.fixture
def listed(tmp_path):
    """(folder, list of one head without target, its brain mask)."""
    whole, brain = volume()
    write_volume(whole, tmp_path / "carl.nii.gz")
    row = ["carl", "carl", "1", "carl.nii.gz", "", "yes", "", "", "", "CC0-1.0", "computed"]
    (tmp_path / "list.tsv").write_text("\t".join(COLUMNS) + "\n" + "\t".join(row) + "\n")
    return tmp_path, tmp_path / "list.tsv", brain


def looked_at():
    """Stack, brain, cord, weights of the head."""
    stack, brain = head()
    cord = follow(stack, brain, SLICE_MM)
    return stack, brain, cord, head_necks.weights(stack, brain, SLICE_MM, cord, [])


def test_the_cord_is_followed_down_where_the_brain_mask_has_ended():
    _, _, cord, _ = looked_at()
    assert len(cord) == LOW + 1
    found = cord[: LOW - 2] - [[leaning(n), COLUMN] for n in range(LOW - 2)]
    assert np.abs(found).max() <= 2


def test_the_cord_is_found_in_noise_and_beside_a_brighter_vessel():
    stack, brain = head()
    noisy = stack + np.random.default_rng(0).normal(0, 0.05, stack.shape).astype(np.float32)
    _, i, j = np.indices(SHAPE)
    noisy[:LOW, :, :][((i - 95) ** 2 + (j - 90) ** 2 < 9)[:LOW]] = 0.5
    cord = follow(noisy, brain, SLICE_MM)
    assert np.abs(cord[: LOW - 2] - [[leaning(n), COLUMN] for n in range(LOW - 2)]).max() <= 2


def test_chin_and_nape_count_little_the_canal_in_full_and_its_wall_and_the_brain_nothing():
    stack, brain, cord, weight = looked_at()
    for place in ((5, 30, 60), (5, 140, 60), (5, 95, 20)):  # chin, nape, side
        assert weight[place] == head_necks.PLAIN
    for n in (2, 15, 30):
        row, column = cord[n]
        assert weight[n, row, column] == weight[n, row, column + 6] == head_necks.CANAL
        assert weight[n, row, column + 12] == weight[n, row - 12, column] == 0
    assert not weight[LOW:, 80].any()
    assert not weight[LOW:][brain[LOW:]].any()
    assert not weight[LOW - 5, 80, 30]  # 10 mm below the brain


def test_the_face_is_learned_a_little_higher_than_the_nape():
    weight = looked_at()[3]
    top_of_face, top_of_nape = (np.flatnonzero(weight[:, row, 60]).max() for row in (10, 133))
    assert LOW < top_of_face <= LOW + head_necks.FACE_MM[0] / SLICE_MM
    assert top_of_nape < LOW


def test_a_mask_without_a_brain_is_refused():
    stack, brain = head()
    brain[:, :, 70:] = brain[:, :, :50] = False
    with pytest.raises(VolumeError, match="nowhere larger than"):
        follow(stack, brain, SLICE_MM)


def test_fluid_is_brighter_than_cord_and_both_fade_with_the_coil():
    stack, _, cord, _ = looked_at()
    medians = (head_necks.target(stack, SLICE_MM, cord, []) + 1) * (MEDIANS / 2)
    row, column = cord[10]
    assert medians[10, row, column] == pytest.approx(head_necks.CORD_T2W * CORD, rel=0.05)
    assert medians[10, row, column + 7] == pytest.approx(head_necks.FLUID_T2W * CORD, rel=0.05)
    dim = stack.copy()
    dim[10] = (dim[10] + 1) * 0.5 - 1
    faded = (head_necks.target(dim, SLICE_MM, cord, []) + 1) * (MEDIANS / 2)
    assert faded[10, row, column + 7] == pytest.approx(head_necks.FLUID_T2W * CORD / 2, rel=0.05)


def test_muscle_is_dark_fat_bright_air_nothing_and_more_light_never_less():
    t1w = np.linspace(0, 4, 81, dtype=np.float32)
    t2w = head_necks.brightness(t1w)
    assert t2w[0] == 0 and (np.diff(t2w) >= 0).all()
    assert t2w[12] == pytest.approx(0.33, abs=0.01)  # muscle of 0.6
    assert 1.2 < t2w[36] < 1.5 and t2w.max() <= 1.5  # fat of 1.8; fluid is about 2.5


def test_a_pair_tells_how_bright_t2w_is_outside_its_brain():
    stack, brain = head()
    stack[:10, 25:35] = 0.0  # fat of 2 medians below
    stack[50:, 25:35] = -0.25  # something of 1.5 above the middle, which is not asked
    dim, muscle, light, fat = head_necks.outside_brain(stack, stack * 0.5 - 0.5, brain, SLICE_MM)
    assert np.isnan(dim) and np.isnan(light)
    assert fat == pytest.approx(1.0) and np.isnan(muscle)
    stack[10:20, 25:35] = -0.5
    assert head_necks.outside_brain(stack, stack, brain, SLICE_MM)[1] == pytest.approx(1.0)


def test_a_coil_that_ends_early_darkens_what_is_below_alone():
    stack, brain = head()
    looks = [head_necks.faded(stack, brain, SLICE_MM, np.random.default_rng(n)) for n in range(12)]
    ends = [look for look in looks if not np.array_equal(look, stack)]
    assert 3 < len(ends) < 12
    for look in ends:
        assert np.array_equal(look[LOW:], stack[LOW:])
        lit = look[:LOW, 30, 60] + 1
        assert (np.diff(lit) > 0).all() and lit[0] > 0


def test_a_head_without_target_has_weight_below_its_skull_base_alone(listed):
    folder, path, brain = listed
    (pair,) = read_list(path)
    entry = make_neck(folder / "set", folder, pair, lambda _: brain)
    stored = np.load(folder / "set" / "carl.npz")
    weight, source, target = stored["weight"], stored["source"], stored["target"]
    assert entry.neck and set(np.unique(weight)) == {0, head_necks.PLAIN, head_necks.CANAL}
    assert not weight[LOW + 8 :].any() and weight[:LOW].any()
    t1w, t2w = ((image.astype(np.float32) + 1) * (MEDIANS / 2) for image in (source, target))
    plain, canal = weight == head_necks.PLAIN, weight == head_necks.CANAL
    np.testing.assert_allclose(t2w[plain], head_necks.brightness(t1w[plain]), atol=2e-3)
    fluid = canal & (t1w < 0.5 * CORD)
    assert fluid.any() and (t2w[fluid] > 2 * t1w[fluid]).all()
    assert (folder / "set" / "carl.png").stat().st_size > 1000


def test_a_mask_that_finds_no_brain_names_the_file(listed):
    folder, path, brain = listed
    (pair,) = read_list(path)
    with pytest.raises(VolumeError, match=r"carl\.nii\.gz: its brain mask is nowhere"):
        make_neck(folder / "set", folder, pair, lambda _: np.zeros_like(brain))


def test_a_head_without_target_is_drawn_for_t1w_to_t2w_alone(listed):
    folder, path, brain = listed
    (pair,) = read_list(path)
    entry = make_neck(folder / "set", folder, pair, lambda _: brain)
    write_list(folder / "set", [entry], [])
    data = prepared_data(folder / "set", recipe_of(RECIPE))
    ((carl,),) = data.heads
    assert carl.entry.id == "carl"
    drawn = [n in carl.drawn for n in range(len(carl.weight))]
    assert drawn == [bool(slice_.any()) for slice_ in carl.weight], "else a draw teaches nothing"
    assert not all(drawn)
    with pytest.raises(RequestError, match="left out"):
        prepared_data(folder / "set", recipe_of(RECIPE | {"options": {"source": "T2w"}}))


def options_of(module, *arguments):
    commands = argparse.ArgumentParser().add_subparsers()
    module.add_parser(commands)
    (parser,) = commands.choices.values()
    return parser.parse_args([str(text) for text in arguments])


def test_the_command_asks_for_a_mask_and_keeps_what_is_there(listed, monkeypatch, capsys):
    folder, path, brain = listed
    given = [folder, "--list", path, "--out", folder / "set"]
    without = options_of(heads_command, *given)
    with pytest.raises(RequestError, match="carl has no target.*--brain-teacher own"):
        without.run(without)
    monkeypatch.setattr(
        "MambaSynthTraining.data.brain_teacher.brain_masks", lambda choice: lambda _: brain
    )
    options = options_of(heads_command, *given, "--brain-teacher", "own")
    assert options.run(options) == 0
    made = (folder / "set" / "carl.npz").stat().st_mtime_ns
    assert options.run(options) == 0
    assert (folder / "set" / "carl.npz").stat().st_mtime_ns == made
    (entry,) = json.loads((folder / "set" / "heads.json").read_text())["heads"]
    assert entry["neck"] and "1 heads" in capsys.readouterr().out


def test_nobody_is_scored_who_has_no_target(listed):
    folder, path, _ = listed
    options = options_of(
        score_heads, folder, "--list", path, "--persons", "carl", "--candidate", f"x={folder}",
        "--out", folder / "scores",
    )  # fmt: skip
    with pytest.raises(RequestError, match="carl: no pair of"):
        options.run(options)
