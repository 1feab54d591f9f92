"""Other people's lesions in a brain: where they lie, what they change, and the command's option."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from MambaSynthTraining.data.head_lesions import DROP, RISE, pasted
from MambaSynthTraining.data.head_tissues import tissues_of
from Testing.training.data.test_heads_list import ANNA, run
from Testing.training.made_up_heads import INTENSITY, LAS, head, tissues

DEEP = 3  # the brightest of the brain in T1w: white matter


def balls(*centers, affine=LAS):
    """A mask of small balls."""
    grid = np.indices(tissues(0).shape)
    inside = [
        sum((x - c) ** 2 for x, c in zip(grid, center, strict=True)) < 8 for center in centers
    ]
    return Volume(np.any(inside, axis=0).astype(np.float32), affine, "lesions")


def brain(contrast, noise=0.0):
    return head(contrast, stripped=True, noise=noise)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_white_matter_alone_gets_lesions_darker_in_t1w_and_brighter_in_t2w():
    t1w, t2w = brain("T1w"), brain("T2w")
    shapes = [balls((23, 24, 11), (24, 4, 16))]  # deep in the brain, and in its rim
    new_t1w, new_t2w, there = pasted(t1w, t2w, shapes, rng())
    assert there.any() and (tissues(0)[there] == DEEP).all()
    assert (new_t1w.array[there] < t1w.array[there]).all()
    assert (new_t2w.array[there] > t2w.array[there]).all()
    far = np.abs(np.indices(there.shape)[0] - 23) > 8
    np.testing.assert_allclose(new_t1w.array[far], t1w.array[far], atol=1e-3)
    np.testing.assert_allclose(new_t2w.array[far], t2w.array[far], atol=1e-3)


def test_lesions_differ_in_strength_and_none_is_hidden_from_t1w():
    flat = Volume(np.where(tissues(0) > 1, 500.0, 0).astype(np.float32), LAS, "flat")
    places = [(i, 20, 15) for i in (11, 19, 28, 36)]
    t1w = flat.with_array(flat.array + 100 * (tissues(0) == DEEP) - 200 * (tissues(0) == 4))
    drops, rises = [], []
    for seed in range(12):
        a, b, there = pasted(t1w, flat, [balls(*places)], rng(seed))
        middle = [place for place in places if there[place]]
        drops += [1 - a.array[place] / t1w.array[place] for place in middle]
        rises += [b.array[place] / flat.array[place] - 1 for place in middle]
    assert 0.5 * DROP[0] < min(drops) and max(drops) < DROP[1] and np.std(drops) > 0.05
    assert 0.5 * RISE[0] < min(rises) and max(rises) < RISE[1] and np.std(rises) > 0.08
    assert np.corrcoef(drops, rises)[0, 1] > 0.4


def test_the_lesions_of_two_people_are_drawn_by_the_seed():
    t1w, t2w = brain("T1w"), brain("T2w")
    shapes = [balls((i, 20, 15)) for i in range(14, 34, 4)]
    found = [pasted(t1w, t2w, shapes, rng(seed))[2] for seed in (1, 1, 2, 3)]
    assert np.array_equal(found[0], found[1])
    assert len({there.tobytes() for there in found}) > 1


def test_the_three_classes_of_a_brain_are_ordered_by_their_brightness():
    t1w = brain("T1w", noise=3.0).array
    inside = tissues(0) > 1
    found = tissues_of(t1w, inside)
    assert (sum(mask.astype(int) for mask in found.values()) == inside).all()
    means = [t1w[found[name]].mean() for name in ("fluid", "gray", "white")]
    assert means == sorted(means)


@pytest.fixture
def data(tmp_path):
    for contrast in ("T1w", "T2w"):
        values = np.array(INTENSITY[contrast], np.float32) * (np.arange(6) > 1)
        write_volume(Volume(values[tissues(0)], LAS, contrast), tmp_path / f"{contrast}.nii.gz")
    write_volume(balls((23, 24, 11)), tmp_path / "lesions.nii.gz")
    write_volume(balls((23, 24, 11), affine=np.diag([2, 2, 2, 1.0])), tmp_path / "away.nii.gz")
    return tmp_path


def entries(folder):
    return json.loads((folder / "set" / "heads.json").read_text())["heads"]


def test_the_command_adds_a_brain_thrice_with_lesions_that_count_five_times(data, capsys):
    run(
        data,
        ANNA | {"share": "2"},
        more=["--lesions", data / "away.nii.gz", data / "lesions.nii.gz"],
    )
    told = capsys.readouterr().err
    assert "anna: made 3 times with other people's lesions" in told
    assert re.search(r"anna: white matter is 1\.\d\d times as bright as gray in T1w", told)
    plain, *lesioned = entries(data)
    assert [entry["id"] for entry in lesioned] == [f"anna-lesions-{k}" for k in range(3)]
    assert {entry["person"] for entry in lesioned} == {plain["person"]}  # left out together
    assert {entry["share"] for entry in lesioned} == {0.4}
    weight = np.load(data / "set" / "anna-lesions-1.npz")["weight"]
    assert set(np.unique(weight)) == {100, 500} and (weight == 500).mean() < 0.02


def test_what_was_made_with_lesions_is_kept_and_masks_of_another_grid_make_nothing(data):
    run(data, ANNA, more=["--lesions", data / "away.nii.gz"])
    assert len(entries(data)) == 1
    run(data, ANNA, more=["--lesions", data / "lesions.nii.gz"])
    made = (data / "set" / "anna-lesions-2.npz").stat().st_mtime_ns
    run(data, ANNA, more=["--lesions", data / "lesions.nii.gz"])
    assert (data / "set" / "anna-lesions-2.npz").stat().st_mtime_ns == made
    assert len(entries(data)) == 4


def test_a_missing_mask_is_told_before_anything_is_made(data):
    with pytest.raises(FileError, match=r"nobody\.nii\.gz"):
        run(data, ANNA, more=["--lesions", data / "nobody.nii.gz"])
    assert not (data / "set").exists()
