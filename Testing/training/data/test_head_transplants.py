"""Brains in the heads of other people: what they show, teach, and are scored for."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from MambaSynthLib.errors import RequestError, VolumeError
from MambaSynthLib.image.intensity import MEDIANS
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from MambaSynthTraining.commands import heads as heads_command
from MambaSynthTraining.commands import score_heads
from MambaSynthTraining.data import head_necks, heads_set
from MambaSynthTraining.data.head_transplants import transplanted
from MambaSynthTraining.data.heads import prepared_data
from MambaSynthTraining.data.heads_list import read_list
from MambaSynthTraining.data.heads_set import make_transplant, write_list
from MambaSynthTraining.data.registration import Registration
from MambaSynthTraining.evaluation.heads import INSERTED, TRIVIAL, inputs_of, score
from MambaSynthTraining.recipe_file import recipe_of
from Testing.training.data.test_head_necks import RECIPE, volume
from Testing.training.made_up_heads import COLUMNS

SHAPE, MIDDLE, RADII = (80, 88, 70), (40, 44, 38), (30, 33, 25)  # voxels of 2 mm
FLUID, GRAY, WHITE = 300.0, 700.0, 1000.0  # T1w


def brain_pair() -> dict[str, Volume]:
    """A stripped ball of white matter under gray matter around a ventricle, elsewhere in space."""
    away = np.sqrt(
        sum(((k - m) / r) ** 2 for k, m, r in zip(np.indices(SHAPE), MIDDLE, RADII, strict=True))
    )
    tissue = np.select([away > 1, away > 0.85, away > 0.3], [0, 2, 3], 1)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-140, -170, 5)
    t1w, t2w = np.array([[0, FLUID, GRAY, WHITE], [0, 2500, 1400, 900]], np.float32)
    return {"T1w": Volume(t1w[tissue], affine, "T1w"), "T2w": Volume(t2w[tissue], affine, "T2w")}


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """(folder, list of the brain ``anna`` and of the head ``carl``, carl's brain mask)."""
    folder = tmp_path_factory.mktemp("transplants")
    whole, mask = volume()
    write_volume(whole, folder / "carl.nii.gz")
    for contrast, image in brain_pair().items():
        write_volume(image, folder / f"anna_{contrast}.nii.gz")
    there = np.zeros(SHAPE, np.float32)
    there[36:44, 50:58, 50:56] = 1
    write_volume(image.with_array(there), folder / "tumor.nii.gz")
    rows = [
        ["anna", "anna", "1", "anna_T1w.nii.gz", "anna_T2w.nii.gz", "no", "", "", "tumor.nii.gz",
         "CC0-1.0", "made up"],
        ["carl", "carl", "1", "carl.nii.gz", "", "yes", "", "", "", "CC-BY-4.0", "computed"],
    ]  # fmt: skip
    (folder / "list.tsv").write_text("\n".join(map("\t".join, [COLUMNS, *rows])) + "\n")
    return folder, folder / "list.tsv", mask


@pytest.fixture(scope="module")
def made(listed):
    """(entry, T1w, T2w, weight): anna's brain in carl's head, brightness in medians."""
    folder, path, mask = listed
    anna, carl = read_list(path)
    entry = make_transplant(folder / "set", folder, anna, carl, lambda _: mask, 0.35)
    stored = np.load(folder / "set" / f"{entry.id}.npz")
    t1w, t2w = (
        (stored[name].astype(np.float32) + 1) * (MEDIANS / 2) for name in ("source", "target")
    )
    return entry, t1w, t2w, stored["weight"]


def test_the_brain_is_as_it_was_the_head_as_bright_as_the_host_and_nothing_left_of_its_brain():
    host, mask = volume()
    whole = brain_pair()["T1w"]
    cut = whole.array.copy()
    cut[32:48, 62:, 30:46] = 0  # a part of a lobe is missing
    head, brain = transplanted(whole.with_array(cut), host, mask)
    assert head.shape == whole.shape and np.array_equal(head.affine, whole.affine)
    assert np.array_equal(head.array[brain], cut[brain])
    assert (brain == (cut > 0)).mean() > 0.999  # corners are rounded
    around = head.array[whole.array == 0]
    muscle = 0.6 * np.median(cut[brain])  # as in the made-up head, whose brain has 1
    assert (np.abs(around - muscle) < 0.05 * muscle).mean() > 0.1
    assert (around == 0).mean() > 0.1  # air
    left = head.array[(whole.array > 0) & ~brain]
    assert len(left) > 3000 and (left <= FLUID).mean() > 0.7
    assert (left > 0.9 * np.median(cut[brain])).mean() < 0.05  # muscle has 0.6


def test_a_host_that_is_brought_beside_the_brain_is_refused(monkeypatch):
    host, mask = volume()
    away = np.eye(4)
    away[:3, 3] = 1000
    monkeypatch.setattr(
        "MambaSynthTraining.data.head_transplants.register",
        lambda *images: Registration("affine", away, 0.0, 0.0),
    )
    with pytest.raises(VolumeError, match="was not brought onto that of"):
        transplanted(brain_pair()["T1w"], host, mask)


def test_it_teaches_the_acquired_brain_and_around_it_the_rule(made):
    entry, t1w, t2w, weight = made
    assert entry.persons == {"anna", "carl"} and entry.whole and entry.computed
    assert (entry.license, entry.citation) == ("CC0-1.0, CC-BY-4.0", "made up; computed")
    brain = weight == heads_set.BRAIN
    fluid = brain & (t1w < 0.5) & (t1w > 0)
    assert np.median(t2w[fluid]) > 1.5 * np.median(t2w[brain])  # acquired: brighter than tissue
    plain = weight == head_necks.PLAIN
    assert plain.sum() > 1000
    np.testing.assert_allclose(t2w[plain], head_necks.brightness(t1w[plain]), atol=5e-3)
    seen = (t1w > 0.05) & (weight == 0)
    assert seen.any()  # the seam is not learned


def test_tumors_of_the_brain_are_learned_less(made):
    weight = made[3]
    assert (weight == heads_set.HIDDEN).sum() > 100


@pytest.mark.parametrize("person", ["anna", "carl"])
def test_whoever_is_seen_in_it_can_be_left_out(listed, made, person, tmp_path):
    folder = listed[0] / "set"
    write_list(folder, [made[0]], [person])
    with pytest.raises(RequestError, match="all its heads are left out"):
        prepared_data(folder, recipe_of(RECIPE))
    write_list(folder, [made[0]], [])
    data = prepared_data(folder, recipe_of(RECIPE | {"options": {"planes": "all"}}))
    assert [[s.plane for s in planes] for planes in data.heads] == [
        ["axial", "coronal", "sagittal"]
    ]


def test_it_is_not_given_where_t1w_is_synthesized(listed, made):
    folder = listed[0] / "set"
    write_list(folder, [made[0]], [])
    with pytest.raises(RequestError, match="left out"):
        prepared_data(folder, recipe_of(RECIPE | {"options": {"source": "T2w"}}))


def test_a_host_whose_brain_is_nowhere_names_both_files(listed):
    folder, path, mask = listed
    anna, carl = read_list(path)
    with pytest.raises(VolumeError, match=r"anna_T1w\.nii\.gz in .*carl\.nii\.gz: .*no brain was"):
        make_transplant(folder / "none", folder, anna, carl, lambda _: np.zeros_like(mask), 0.35)


# ---------------------------------------------------------------------------------- the commands


def options_of(module, *arguments):
    commands = argparse.ArgumentParser().add_subparsers()
    module.add_parser(commands)
    (parser,) = commands.choices.values()
    return parser.parse_args([str(text) for text in arguments])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--transplants", 2, "--brain-teacher", "own"), "has 1 heads without target; give 0 to 1"),
        (("--transplants", -1, "--brain-teacher", "own"), "give 0 to 1"),
        (("--transplants", 1), "add --brain-teacher own"),
        (("--transplants", 1, "--brain-teacher", "own", "--transplant-share", 0),
         "--transplant-share 0.0: give a positive number"),
    ],
)  # fmt: skip
def test_transplants_that_cannot_be_are_refused(listed, tmp_path, more, message):
    folder, path, _ = listed
    known = tmp_path / "set"
    known.mkdir()
    write_list(known, [heads_set.Entry("carl", "carl", 1, True, "", "", neck=True)], [])
    (known / "carl.npz").touch()
    options = options_of(heads_command, folder, "--list", path, "--out", known, *more)
    with pytest.raises(RequestError, match=message):
        options.run(options)


def test_the_command_makes_them_once(listed, tmp_path, monkeypatch, capsys):
    folder, path, mask = listed
    monkeypatch.setattr(
        "MambaSynthTraining.data.brain_teacher.brain_masks", lambda choice: lambda _: mask
    )
    given = [folder, "--list", path, "--out", tmp_path, "--brain-teacher", "own"]
    for share in (0.35, 0.5):
        options = options_of(heads_command, *given, "--transplants", 1, "--transplant-share", share)
        assert options.run(options) == 0
    assert capsys.readouterr().err.count("anna-in-carl: making") == 1
    shares = {entry.id: entry.share for entry in heads_set.read_list_of(tmp_path)[1]}
    assert shares == {"anna": 1, "carl": 1, "anna-in-carl": 0.5}


def test_a_brain_is_scored_in_the_head_of_another_person_too(listed, tmp_path):
    folder, path, mask = listed
    anna, _ = read_list(path)
    alone, inserted = inputs_of(anna, folder, "T1w", lambda _: mask, volume()[0])
    assert (alone.input, inserted.input) == ("stripped", INSERTED)
    assert (inserted.source.array > 0).sum() > 1.3 * (alone.source.array > 0).sum()
    write_volume(inserted.acquired, tmp_path / f"anna-{INSERTED}.nii.gz")
    rows = list(score(inserted, {"best": tmp_path}, "T1w", tmp_path / "volumes"))
    assert [(r["input"], r["region"], r["candidate"]) for r in rows] == [
        (INSERTED, "brain", TRIVIAL), (INSERTED, "brain", "best")
    ]  # fmt: skip
    (bare,) = score(alone, {}, "T1w", tmp_path / "volumes")
    assert rows[0]["r"] == pytest.approx(bare["r"], abs=0.02)  # the same brain
    assert rows[1]["r"] > 0.999


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--brain-teacher", "own", "--source", "T2w"), "leave it out where T1w is synthesized"),
        ((), "add --brain-teacher own"),
    ],
)
def test_a_host_that_cannot_be_is_refused(listed, tmp_path, more, message):
    folder, path, _ = listed
    options = options_of(
        score_heads, folder, "--list", path, "--persons", "anna", "--candidate", f"x={folder}",
        "--out", tmp_path, "--host", folder / "carl.nii.gz", *more,
    )  # fmt: skip
    with pytest.raises(RequestError, match=message):
        options.run(options)
