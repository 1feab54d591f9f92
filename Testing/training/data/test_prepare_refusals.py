"""What ``mambasynth dataset`` refuses (exit code 2, one sentence) or skips by name."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
from made_up_heads import LAS, SHAPE, head, save

from MambaSynthLib.cli import main
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.prepared import open_prepared
from MambaSynthTraining.data.split import at_random, first_in_order, from_file

CANVAS = ["--size", "48", "44", "--tissue", "0.1", "--jobs", "1"]


@pytest.fixture
def study(tmp_path):
    """Three people with T1w and T2w in study/ID/."""
    for seed, subject in enumerate("abc"):
        for contrast in ("T1w", "T2w"):
            save(head(contrast, seed, True), tmp_path / "study" / subject / f"{contrast}.nii.gz")
    return tmp_path / "study"


def run(study, *options):
    out = study.parent / "out"
    globs = ["--t1", f"{study}/*/T1w.nii.gz", "--t2", f"{study}/*/T2w.nii.gz", "--out", str(out)]
    return main(["dataset", "paired", *globs, *CANVAS, *map(str, options)])


def complaint(capsys):
    """The one line on stderr that is no progress."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "preparing:" not in line]
    assert len(lines) == 1, lines
    return lines[0]


# One subject: skipped and named


def break_headers(path):
    image = nib.load(path)
    image.set_qform(image.affine @ np.diag([1, 1, 1.1, 1]), 1)
    nib.save(image, path)


def make_nearly_empty(path):
    volume = head("T1w", 0, True).array.copy()
    volume[:, :, 8:] = 0
    save(Volume(volume, LAS), path)


def make_constant(path):
    save(Volume(np.full(SHAPE, 7.0), LAS), path)


def make_nan(path):
    volume = head("T1w", 0, True).array.copy()
    volume[20, 20, 16] = np.nan
    image = nib.Nifti1Image(volume, LAS)
    image.set_qform(LAS, 1)
    nib.save(image, path)


def truncate(path):
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (break_headers, "qform and sform place voxels"),
        (make_nearly_empty, "is nearly empty, only"),
        (make_constant, "the image is constant"),
        (make_nan, "1 voxels that are NaN"),
        (truncate, "T1w.nii.gz: "),
        (lambda path: path.unlink(), "has T2w but no T1w"),
    ],
    ids=["headers", "nearly-empty", "constant", "nan", "truncated", "missing"],
)
def test_a_subject_that_cannot_be_used_is_skipped_and_named(study, capsys, damage, reason):
    damage(study / "b" / "T1w.nii.gz")
    assert run(study, "--split", "train") == 0
    said = capsys.readouterr().out
    assert "skipped 1:" in said and "  b: " in said and reason in said
    data = open_prepared(study.parent / "out")
    assert [one.id for one in data.subjects("train")] == ["a", "c"]
    assert not list((study.parent / "out").rglob("b*"))


def test_strict_refuses_the_data_set_instead(study, capsys):
    make_nearly_empty(study / "b" / "T1w.nii.gz")
    assert run(study, "--split", "train", "--strict") == 2
    assert "not every subject can be used: b (" in complaint(capsys)
    assert not (study.parent / "out" / "dataset.json").exists()


def test_a_header_may_be_believed_in_part(study):
    break_headers(study / "b" / "T1w.nii.gz")
    assert run(study, "--split", "train", "--prefer", "sform", "--register", "none") == 0
    assert len(open_prepared(study.parent / "out").subjects("train")) == 3


def test_the_copy_of_a_person_under_another_name_is_skipped(study, capsys):
    shutil.copy(study / "a" / "T1w.nii.gz", study / "c" / "T1w.nii.gz")
    assert run(study, "--split", "train") == 0
    assert "c: is a copy of a" in capsys.readouterr().out


def test_pairs_on_different_grids_are_not_taken_for_registered(study, capsys):
    moved = np.eye(4)
    moved[0, 3] = 3
    save(Volume(head("T2w", 1, True).array, moved @ LAS), study / "b" / "T2w.nii.gz")
    assert run(study, "--split", "train", "--register", "none") == 0
    assert "b: its contrasts lie on different grids; register them" in capsys.readouterr().out


def test_a_head_larger_than_the_canvas_is_not_cut(study, capsys):
    assert run(study, "--split", "train", "--size", 24, 24) == 2
    assert "of its tissue lies beyond 24 x 24 pixels" in complaint(capsys)


def test_large_background_is_cropped_with_a_note_about_nothing_but_it(study):
    assert run(study, "--split", "train", "--size", 44, 36) == 0
    (subject, *_) = open_prepared(study.parent / "out").subjects("train")
    assert subject.slices("T1w").shape[1:] == (44, 36)


# The whole: refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "no.json"], "no.json: is no split"),
        (["--size", "50", "48"], "choose multiples of 4"),
        (["--tissue", "1.5"], "is no share"),
        (["--spacing", "0"], "choose from 0.05"),
        (["--jobs", "0"], "give positive numbers"),
        (["--mask", "*.nii", "--register", "none"], "a mask fits one grid only"),
        (["--mask", "nowhere/*.nii"], "nowhere/*.nii: fits no file"),
        (["--mask", __file__], "is one file, whose subject nothing names; put a * in"),
        (["--flair", "nowhere/*.nii"], "nowhere/*.nii: fits no file"),
    ],
)
def test_options_without_sense_are_refused_before_anything_is_written(
    study, capsys, options, message
):
    assert run(study, *options) == 2
    assert message in complaint(capsys)
    assert not (study.parent / "out").exists()


def test_one_person_cannot_be_divided(study, capsys):
    for subject in "bc":
        shutil.rmtree(study / subject)
    assert run(study) == 2
    assert "1 usable patient cannot be divided" in complaint(capsys)


def test_a_split_that_ends_up_empty_is_refused(study, capsys):
    rule = study.parent / "split.json"
    rule.write_text('{"train": ["a", "c"], "validation": [], "test": ["b"]}')
    make_constant(study / "b" / "T1w.nii.gz")
    assert run(study, "--split", rule) == 2
    assert "no subject of the split test can be used: b (" in complaint(capsys)
    assert not (study.parent / "out" / "splits.json").exists()


def test_a_person_named_in_two_splits_is_refused(study, capsys):
    rule = study.parent / "split.json"
    rule.write_text('{"train": ["a", "c"], "validation": [], "test": ["a"]}')
    assert run(study, "--split", rule) == 2
    assert "a: is in the splits train and test" in complaint(capsys)


def test_a_folder_with_other_things_is_left_alone(study, capsys):
    out = study.parent / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert run(study, "--split", "train") == 2
    assert "holds other things (thesis.tex)" in complaint(capsys)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("ixi", "holds no image such as IXI002-Guys-0828-T1.nii.gz"),
        ("brats2018", "holds no folder such as HGG/Brats18_2013_2_1"),
        ("folders", "in trainA and trainB"),
        ("reggan-npy", "in train2D/A and train2D/B"),
    ],
)
def test_the_wrong_folder_is_named_with_what_was_expected(tmp_path, capsys, layout, message):
    out = tmp_path / "out"
    assert main(["dataset", layout, str(tmp_path), "--out", str(out)]) == 2
    assert message in complaint(capsys) and not out.exists()


def test_contrasts_that_a_data_set_lacks_are_refused(tmp_path, capsys):
    arguments = [str(tmp_path), "--out", str(tmp_path / "out"), "--contrasts", "T1w", "FLAIR"]
    assert main(["dataset", "ixi", *arguments]) == 2
    assert "IXI has no FLAIR" in complaint(capsys)


def test_slices_of_one_person_in_two_folders_are_refused(tmp_path, capsys):
    for place in ("train2D/A", "train2D/B", "test2D/A", "test2D/B"):
        (tmp_path / place).mkdir(parents=True)
        np.save(tmp_path / place / "p1_001.npy", np.zeros((8, 8), np.float32))
    assert main(["dataset", "reggan-npy", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "p1: has slices in the splits train and test" in complaint(capsys)


def test_the_same_slice_under_two_names_in_two_folders_is_refused(tmp_path, capsys):
    for place, name in (("train2D", "p1_001"), ("test2D", "p2_001")):
        for letter, value in (("A", 0.1), ("B", 0.2)):
            (tmp_path / place / letter).mkdir(parents=True)
            np.save(tmp_path / place / letter / f"{name}.npy", np.full((8, 8), value, np.float32))
    assert main(["dataset", "reggan-npy", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "p2 in test and p1 in train are the same image" in complaint(capsys)


def test_phantoms_need_label_maps(tmp_path, capsys):
    arguments = ["--labels", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["dataset", "phantom", *arguments]) == 2
    assert "holds no label map" in complaint(capsys)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--phantoms", 2], "--phantoms, --labels and --share belong together"),
        (["--skull", 0.4], "--phantoms, --labels and --share belong together"),
        (["--phantoms", 2, "--labels", "x", "--share", 1.0], "--share 1: choose between 0 and 1"),
        (["--phantoms", 2, "--labels", "x", "--share", 0.5], "holds no label map"),
    ],
)
def test_phantoms_beside_people_need_maps_and_a_share(study, capsys, options, told):
    assert run(study, *options) == 2
    assert told in complaint(capsys)


# Splits


PEOPLE = [f"IXI{n:03d}" for n in range(2, 60)]


def test_the_first_forty_in_order_are_divided_as_in_the_paper():
    split = first_in_order(PEOPLE[::-1])
    assert [len(split[name]) for name in ("train", "validation", "test")] == [25, 5, 10]
    assert split["train"] + split["validation"] + split["test"] == PEOPLE[:40]


@pytest.mark.parametrize(("count", "sizes"), [(3, (1, 1, 1)), (8, (5, 1, 2)), (285, (178, 36, 71))])
def test_other_numbers_are_divided_in_the_same_proportion(count, sizes):
    split = at_random([str(n) for n in range(count)], seed=0)
    assert tuple(len(split[name]) for name in ("train", "validation", "test")) == sizes
    assert sorted(sum(split.values(), [])) == sorted(str(n) for n in range(count))


def test_a_random_split_depends_on_its_seed_alone():
    assert at_random(PEOPLE, 1) == at_random(PEOPLE[::-1], 1) != at_random(PEOPLE, 2)


def test_by_site_every_split_holds_every_site_in_proportion():
    sites = {p: ("Guys", "Guys", "HH", "IOP")[n % 4] for n, p in enumerate(PEOPLE[:56])}
    split = at_random(list(sites), 5, sites)
    for name, share in (("train", 25 / 40), ("validation", 5 / 40), ("test", 10 / 40)):
        for site, count in (("Guys", 28), ("HH", 14), ("IOP", 14)):
            found = sum(sites[p] == site for p in split[name])
            assert abs(found - share * count) <= 1


def test_two_people_are_too_few():
    with pytest.raises(RequestError, match="2 usable patients cannot be divided"):
        first_in_order(["a", "b"])


def test_a_split_file_naming_strangers_is_refused(tmp_path):
    rule = tmp_path / "split.json"
    rule.write_text('{"train": [{"subject": "a"}], "validation": [], "test": ["ghost"]}')
    with pytest.raises(FileError, match="names ghost, of which there are no images"):
        from_file(rule, {"a": "a", "b": "b"})


def test_a_split_file_may_name_sessions_and_splits_people(tmp_path):
    patient_of = {"a_1": "a", "a_2": "a", "b_1": "b", "a": "a", "b": "b"}
    rule = tmp_path / "split.json"
    rule.write_text(
        '{"train": [{"subject": "a_1"}, {"subject": "a_2"}], "validation": [], "test": ["b"]}'
    )
    assert from_file(rule, patient_of) == {"train": ["a"], "validation": [], "test": ["b"]}
    rule.write_text('{"train": ["a_1"], "validation": [], "test": ["a_2"]}')
    with pytest.raises(RequestError, match="a: is in the splits train and test"):
        from_file(rule, patient_of)


def test_a_data_set_of_nobody_leaves_no_folder(study, capsys):
    for subject in "abc":
        break_headers(study / subject / "T1w.nii.gz")
    assert run(study, "--split", "train") == 2
    assert "can be used" in complaint(capsys)
    assert not (study.parent / "out").exists()
