"""``mambasynth dataset`` on made-up people in exactly the layouts of the public data sets."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from made_up_heads import LAS, SHAPE, head, save, tissues
from PIL import Image

from MambaSynthLib.cli import main
from MambaSynthLib.image.preparation import prepare as to_network
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.orientation import orient
from MambaSynthTraining.data.prepared import open_prepared

CANVAS = ["--size", "48", "44", "--tissue", "0.1", "--jobs", "1"]


def prepare(layout, *arguments):
    return main(["dataset", layout, *CANVAS, *map(str, arguments)])


def pairs(folder, subjects, contrasts=("T1w", "T2w"), stripped=True):
    """FOLDER/ID/CONTRAST.nii.gz for each of the subjects; their globs as options."""
    for seed, subject in enumerate(subjects):
        for contrast in contrasts:
            save(head(contrast, seed, stripped), folder / subject / f"{contrast}.nii.gz")
    return ["--t1", f"{folder}/*/T1w.nii.gz", "--t2", f"{folder}/*/T2w.nii.gz"]


def ixi(folder, names, kinds=("T1", "T2")):
    for seed, name in enumerate(names):
        for kind in kinds:
            save(head(f"{kind}w", seed), folder / f"IXI-{kind}" / f"{name}-{kind}.nii.gz")


def all_equal(stack, expected):
    np.testing.assert_array_equal(np.asarray(stack), expected)


def test_the_old_word_still_works_and_names_the_new_one(tmp_path, capsys):
    words = [*pairs(tmp_path / "in", "a"), "--out", str(tmp_path / "out"), "--split", "train"]
    assert main(["prepare", "paired", *CANVAS, *words]) == 0
    assert "'mambasynth prepare' is 'mambasynth dataset' now" in capsys.readouterr().err
    assert len(open_prepared(tmp_path / "out").subjects("train")) == 1


# The layouts


def test_ixi_registers_whom_it_scores_and_keeps_site_and_sources(tmp_path, capsys):
    names = ["IXI002-Guys-0828", "IXI012-HH-1211", "IXI035-IOP-0873", "IXI040-Guys-0724"]
    ixi(tmp_path / "ixi", names)
    (tmp_path / "ixi/IXI-T2/IXI012-HH-1211-T2.nii.gz").unlink()
    moved = head("T2w", 3)
    shift = np.eye(4)
    shift[:3, 3] = (8, -4, 4)
    save(
        Volume(moved.array, shift @ moved.affine),
        tmp_path / "ixi/IXI-T2/IXI040-Guys-0724-T2.nii.gz",
    )
    rule = tmp_path / "split.json"
    rule.write_text('{"train": ["IXI002", "IXI035"], "validation": [], "test": ["IXI040"]}')
    options = ["--out", tmp_path / "out", "--register", "evaluation", "--split", rule]
    assert prepare("ixi", tmp_path / "ixi", *options) == 0
    said = capsys.readouterr().out
    assert "train 2, validation 0, test 1" in said
    assert "IXI012-HH-1211: has T1w but no T2w" in said
    data = open_prepared(tmp_path / "out")
    (train, _), (test,) = data.subjects("train"), data.subjects("test")
    assert (train.id, test.id) == (names[0], names[3])
    assert train.attributes["site"] == "Guys" and train.attributes["transform"] == {}
    matrix = np.array(test.attributes["transform"]["T2w"]["matrix_ras_fixed_to_moving"])
    np.testing.assert_allclose(matrix, shift, atol=1)
    assert len(test.attributes["sources"]["IXI-T1/IXI040-Guys-0724-T1.nii.gz"]) == 64
    assert test.volume("T1w").axis_codes == "LPS"
    np.testing.assert_array_equal(test.volume("T2w").affine, test.volume("T1w").affine)


def test_brats_is_taken_as_it_is_registered_and_stripped(tmp_path, capsys):
    root = tmp_path / "MICCAI_BraTS_2018_Data_Training"
    names = {"T1w": "t1", "T2w": "t2", "FLAIR": "flair", "PDw": "t1ce"}
    ids = [
        "Brats18_2013_2_1",
        "Brats18_CBICA_AAB_1",
        "Brats18_TCIA01_131_1",
        "Brats18_TCIA01_150_1",
    ]
    for seed, (grade, subject) in enumerate(zip(["HGG", "HGG", "LGG", "LGG"], ids, strict=True)):
        for contrast, name in names.items():
            stripped = subject != ids[3]
            path = root / grade / subject / f"{subject}_{name}.nii.gz"
            save(head(contrast, seed, stripped), path)
        save(Volume(tissues(seed) == 5, LAS), root / grade / subject / f"{subject}_seg.nii.gz")
    options = ["--contrasts", "T1w", "T2w", "FLAIR", "T1ce", "--out", tmp_path / "out"]
    assert prepare("brats2018", tmp_path, *options, "--split", "train") == 0
    said = capsys.readouterr().out
    assert "Brats18_TCIA01_150_1: T1w" not in said and "not skull-stripped" in said
    subjects = open_prepared(tmp_path / "out").subjects("train")
    assert [one.id for one in subjects] == ids[:3]
    assert subjects[1].attributes["patient"] == "Brats18_CBICA_AAB"
    assert subjects[1].attributes["site"] == "CBICA"
    assert subjects[0].contrasts == ("T1w", "T2w", "FLAIR", "T1ce")
    assert not np.any(subjects[0].volume("T1ce").array[0])
    labels = subjects[0].labels()
    assert labels.names[2] == "edema" and labels.volume.shape == subjects[0].volume("T1w").shape


def test_the_engine_sees_the_numbers_that_training_sees(tmp_path):
    globs = pairs(tmp_path / "in", "abc")
    assert prepare("paired", *globs, "--out", tmp_path / "out", "--split", "random") == 0
    data = open_prepared(tmp_path / "out")
    for split in ("train", "validation", "test"):
        (subject,) = data.subjects(split)
        subject.check()
        kept = subject.attributes["slices"]["T1w"]
        preparation = to_network(subject.volume("T1w"), data.grid, data.intensity)
        all_equal(subject.slices("T1w"), preparation.stack()[kept])
        all_equal(subject.slices("T2w"), preparation.stack_of(subject.volume("T2w"))[kept])
        assert subject.slices("T1w").shape[1:] == (48, 44)
        assert 5 <= len(kept) < SHAPE[2]
        picture = Image.open(tmp_path / "out/sheets" / f"{subject.id}.png")
        assert np.asarray(picture).std() > 10


def test_unpaired_keeps_people_with_one_contrast_for_training_only(tmp_path):
    globs = pairs(tmp_path / "in", "abcde")
    (tmp_path / "in/d/T2w.nii.gz").unlink()
    (tmp_path / "in/e/T1w.nii.gz").unlink()
    options = ["--out", tmp_path / "out", "--register", "needed", "--seed", 3]
    assert prepare("unpaired", *globs, *options) == 0
    data = open_prepared(tmp_path / "out")
    trained = {one.id: one for one in data.subjects("train")}
    assert len(trained) == 3 and {"d", "e"} < set(trained)
    assert trained["d"].contrasts == ("T1w",) and trained["e"].contrasts == ("T2w",)
    assert not trained["d"].attributes["paired"]
    for split in ("validation", "test"):
        assert all(one.attributes["paired"] for one in data.subjects(split))


def test_two_sessions_of_a_patient_stay_together(tmp_path):
    for seed, (patient, session) in enumerate([(p, s) for p in "abc" for s in "12"]):
        for contrast in ("T1w", "T2w"):
            name = f"sub-{patient}/ses-{session}/anat/sub-{patient}_{contrast}.nii.gz"
            save(head(contrast, seed, True), tmp_path / "in" / name)
    base = f"{tmp_path}/in/sub-*/ses-*/anat/sub-*_"
    options = ["--t1", f"{base}T1w.nii.gz", "--t2", f"{base}T2w.nii.gz", "--out", tmp_path / "out"]
    assert prepare("paired", *options) == 0
    splits = json.loads((tmp_path / "out/splits.json").read_text())
    for found in splits.values():
        assert len(found) == 2 and len({one["subject"][0] for one in found}) == 1


def cut_pictures(folder, subject, seed, form, write):
    """Slices of a made-up person as FORM.format(A or B)/SUBJECT_NUMBER."""
    for letter, contrast in (("A", "T1w"), ("B", "T2w")):
        array = head(contrast, seed, True).array
        for k in range(8, 24):
            place = folder / form.format(letter)
            place.mkdir(parents=True, exist_ok=True)
            write(place / f"{subject}_{k:03d}", array[:, :, k].T / array.max())


def test_picture_folders_keep_their_split_and_pair_by_name(tmp_path):
    def png(path, image):
        Image.fromarray((255 * image).astype(np.uint8)).save(path.with_suffix(".png"))

    def tiff(path, image):
        Image.fromarray((60000 * image).astype(np.uint16)).save(path.with_suffix(".tif"))

    cut_pictures(tmp_path / "in", "IXI002", 0, "train{}", png)
    cut_pictures(tmp_path / "in", "IXI003", 1, "train{}", png)
    cut_pictures(tmp_path / "in", "IXI004", 2, "test{}", tiff)
    (tmp_path / "in/trainB/IXI003_020.png").unlink()
    assert prepare("folders", tmp_path / "in", "--out", tmp_path / "out") == 0
    data = open_prepared(tmp_path / "out")
    paired, unpaired = data.subjects("train")
    assert paired.attributes["paired"] and not unpaired.attributes["paired"]
    assert data.subjects("validation") == [] and data.subjects("test")[0].id == "IXI004"
    assert unpaired.slices("T1w").shape[0] == unpaired.slices("T2w").shape[0] + 1
    stored = np.asarray(Image.open(tmp_path / "in/trainA/IXI002_016.png"), dtype=np.float32)
    middle = paired.slices("T1w")[paired.attributes["slices"]["T1w"].index(8)]
    brain = middle > -0.9
    assert np.corrcoef(middle[4:44, :][brain[4:44]], middle[4:44][brain[4:44]])[0, 1] > 0.99
    assert brain.sum() == pytest.approx((stored > 10).sum(), rel=0.1)


def test_reggan_arrays_keep_their_range(tmp_path):
    def npy(path, image):
        np.save(path.with_suffix(".npy"), (2 * image - 1).astype(np.float32))

    cut_pictures(tmp_path / "in", "p1", 0, "train2D/{}", npy)
    cut_pictures(tmp_path / "in", "p2", 1, "val2D/{}", npy)
    cut_pictures(tmp_path / "in", "p3", 2, "test2D/{}", npy)
    assert prepare("reggan-npy", tmp_path / "in", "--out", tmp_path / "out") == 0
    (subject,) = open_prepared(tmp_path / "out").subjects("train")
    stored = np.load(tmp_path / "in/train2D/A/p1_016.npy")
    ours = subject.slices("T1w")[subject.attributes["slices"]["T1w"].index(8)]
    assert (
        ours.max() <= 1
        and np.abs(np.sort(ours.ravel())[-500:] - np.sort(stored.ravel())[-500:]).max() < 0.02
    )
    np.save(tmp_path / "in/train2D/A/p1_016.npy", stored * 7)
    assert prepare("reggan-npy", tmp_path / "in", "--out", tmp_path / "other") == 2


def shells():
    """(48,56,52) label map of 2 mm voxels, see phantom/tissues.py."""
    i, j, k = np.indices((48, 56, 52))
    radius = np.sqrt((i - 24) ** 2 + ((j - 28) / 1.15) ** 2 + (k - 26) ** 2)
    labels = np.zeros(radius.shape, dtype=np.int16)
    for outer, label in (
        (22.5, 511),
        (21.5, 507),
        (18.5, 515),
        (16.5, 24),
        (14, 3),
        (11, 2),
        (4, 10),
    ):
        labels[radius < outer] = label
    return labels


def test_phantoms_of_one_label_map_never_meet_in_two_splits(tmp_path):
    for n in range(3):
        image = nib.Nifti1Image(np.roll(shells(), n, axis=1), np.diag([-2.0, 2, 2, 1]))
        (tmp_path / "labels").mkdir(exist_ok=True)
        nib.save(image, tmp_path / f"labels/person_{n}.nii.gz")
    options = ["--labels", tmp_path / "labels", "--subjects", 5, "--skull", 0.4, "--seed", 7]
    options += ["--contrasts", "T1w", "T2w", "FLAIR", "--size", "64", "60"]
    assert prepare("phantom", *options, "--out", tmp_path / "out") == 0
    data = open_prepared(tmp_path / "out")
    people = {
        split: {one.attributes["patient"] for one in data.subjects(split)} for split in data.splits
    }
    assert sorted(name for found in people.values() for name in found) == [
        "person_0", "person_1", "person_2",
    ]  # fmt: skip
    settings = [
        one.attributes["settings"]["phantom"]["skull"]
        for split in data.splits
        for one in data.subjects(split)
    ]
    assert sum(settings) == 2 and len(settings) == 5
    before = {one.id: one.sha256 for split in data.splits for one in data.subjects(split)}
    shutil.rmtree(tmp_path / "out")
    assert prepare("phantom", *options, "--out", tmp_path / "out") == 0
    again = open_prepared(tmp_path / "out")
    assert before == {one.id: one.sha256 for split in again.splits for one in again.subjects(split)}


def test_phantoms_widen_the_people_who_train_and_no_others(tmp_path):
    globs = pairs(tmp_path / "in", "abc")
    (tmp_path / "labels").mkdir()
    image = nib.Nifti1Image(shells(), np.diag([-2.0, 2, 2, 1]))
    nib.save(image, tmp_path / "labels/person.nii.gz")
    more = ["--labels", tmp_path / "labels", "--phantoms", 2, "--share", 0.4, "--size", 64, 60]
    options = [*globs, "--out", tmp_path / "out", "--seed", 3, "--subjects", 3]
    assert prepare("paired", *options, *more) == 0
    data = open_prepared(tmp_path / "out")
    (rest, people), (share, phantoms) = data.training_groups()
    assert (rest, share) == (0.6, 0.4) and len(people) == 1
    assert [one.id for one in phantoms] == ["phantom-3-0000", "phantom-3-0001"]
    others = [one for split in ("validation", "test") for one in data.subjects(split)]
    assert {one.id for one in [*people, *others]} == {"a", "b", "c"}
    assert not any(one.group for one in [*people, *others])


def write_dicom(folder, volume, left_out=(), orientation=(1, 0, 0, 0, 1, 0), **changed):
    """One file per slice, as a scanner would; ``volume`` has axial slices in LPS order."""
    folder.mkdir(parents=True)
    for k in sorted(set(range(volume.shape[2])) - set(left_out)):
        plane = sitk.GetImageFromArray(volume.array[:, :, k].T.astype(np.int16)[None])
        plane.SetSpacing(volume.spacing.tolist())
        x, y, z = (volume.affine @ [0, 0, k, 1])[:3]
        tags = {"0008|0060": "MR", "0020|000e": "1.2.3.4", "0020|000d": "1.2.3",
                "0020|0032": f"{-x}\\{-y}\\{z}", "0020|0037": "\\".join(map(str, orientation)),
                "0008|0018": f"1.2.3.4.{k + 1}", "0020|0013": str(k + 1), **changed}  # fmt: skip
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{99 - k}.dcm"))  # names in the wrong order
        writer.Execute(plane)


def test_a_dicom_folder_is_a_volume(tmp_path):
    volume = orient(head("T1w", 0, True), "LPS")
    write_dicom(tmp_path / "in/a/T1w", volume)
    save(head("T2w", 0, True), tmp_path / "in/a/T2w.nii.gz")
    options = ["--t1", f"{tmp_path}/in/*/T1w", "--t2", f"{tmp_path}/in/*/T2w.nii.gz"]
    options += ["--register", "none", "--split", "train", "--out", tmp_path / "out"]
    assert prepare("paired", *options) == 0
    (subject,) = open_prepared(tmp_path / "out").subjects("train")
    stored = subject.volume("T1w")
    np.testing.assert_allclose(stored.affine, volume.affine, atol=1e-3)
    all_equal(stored.array, volume.array.astype(np.int16))
    assert subject.attributes["paired"] and len(subject.attributes["sources"]) == 33


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"left_out": (7,)}, "missing"),
        ({"0008|0060": "CT"}, "CT"),
        ({"0008|0008": "DERIVED\\SECONDARY\\SYNTHETIC"}, "is synthetic already"),
        ({"orientation": (1, 0, 0, 0, 0.9848, 0.1736)}, "sheared"),
    ],
    ids=["missing slice", "CT", "synthetic", "tilted gantry"],
)
def test_a_dicom_series_that_the_library_refuses_is_no_training_data(tmp_path, capsys, fault, told):
    write_dicom(tmp_path / "in/a/T1w", orient(head("T1w", 0, True), "LPS"), **fault)
    save(head("T2w", 0, True), tmp_path / "in/a/T2w.nii.gz")
    options = ["--t1", f"{tmp_path}/in/*/T1w", "--t2", f"{tmp_path}/in/*/T2w.nii.gz"]
    assert prepare("paired", *options, "--split", "train", "--out", tmp_path / "out") == 2
    assert told in "".join(capsys.readouterr())


# Masks, resuming, processes


def test_a_mask_empties_all_contrasts_and_must_fit(tmp_path, capsys):
    globs = pairs(tmp_path / "in", "abc", stripped=False)
    for seed, subject in enumerate("abc"):
        save(Volume(tissues(seed) > 1, LAS), tmp_path / "in" / subject / "brain.nii.gz")
    shutil.copy(tmp_path / "in/a/brain.nii.gz", tmp_path / "in/b/brain.nii.gz")
    save(Volume(tissues(2)[:-1] > 1, LAS), tmp_path / "in/c/brain.nii.gz")
    options = [*globs, "--mask", f"{tmp_path}/in/*/brain.nii.gz", "--split", "train"]
    assert prepare("paired", *options, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "c: " in said and "is a mask on another grid" in said
    subject = open_prepared(tmp_path / "out").subjects("train")[0]
    outside = subject.volume("T1w").array == 0
    assert 0.5 < outside.mean() < 0.95 and np.all(subject.volume("T2w").array[outside] == 0)
    assert np.all(subject.slices("T2w")[0][:3] == -1)


def test_an_interrupted_preparation_goes_on_and_changed_files_are_made_again(tmp_path, capsys):
    globs = pairs(tmp_path / "in", "abc")
    arguments = ["paired", *globs, "--out", tmp_path / "out"]
    assert prepare(*arguments) == 0
    first = (tmp_path / "out/splits.json").read_bytes()
    (tmp_path / "out/dataset.json").unlink()
    shutil.rmtree(tmp_path / "out/subjects/b.zarr")
    (tmp_path / "out/subjects/.b.part.zarr").mkdir()  # what a killed run leaves
    assert prepare(*arguments) == 0
    assert "3 subjects (2 were there already)" in capsys.readouterr().out
    assert (tmp_path / "out/splits.json").read_bytes() == first
    save(head("T2w", 9, True), tmp_path / "in/c/T2w.nii.gz")
    assert prepare(*arguments) == 0
    assert "3 subjects (2 were there already)" in capsys.readouterr().out
    assert prepare(*arguments, "--slices", 6) == 2
    assert "made with other options (slices)" in capsys.readouterr().err


def test_two_processes_make_what_one_makes(tmp_path):
    globs = pairs(tmp_path / "in", "abc")
    for jobs in (1, 2):
        arguments = ["dataset", "paired", *globs, "--out", tmp_path / f"out{jobs}", *CANVAS]
        assert main([*map(str, arguments), "--jobs", str(jobs)]) == 0
    one, two = (tmp_path / f"out{jobs}/splits.json" for jobs in (1, 2))
    assert one.read_bytes() == two.read_bytes()


def test_the_slices_with_most_tissue_are_kept_when_fewer_are_asked_for(tmp_path):
    globs = pairs(tmp_path / "in", "a")
    options = ["--split", "train", "--slices", 6, "--out", tmp_path / "out"]
    assert prepare("paired", *globs, *options) == 0
    (subject,) = open_prepared(tmp_path / "out").subjects("train")
    kept = subject.attributes["slices"]["T1w"]
    assert len(kept) == 6 and kept == list(range(kept[0], kept[0] + 6)) and 12 <= kept[0] <= 15


def test_real_registered_heads_are_prepared(tmp_path, shared):
    folder = shared / "data/brain_t1_t2/registered_1mm"
    if not folder.is_dir():
        pytest.skip("the registered heads are not in ../shared")
    for patient in ("patient07", "patient19"):
        for name in ("T1", "T2"):
            volume = nib.load(folder / patient / f"{name}_MNI.nii.gz")
            coarse = Volume(
                np.asarray(volume.dataobj)[::4, ::4, ::4], volume.affine @ np.diag([4, 4, 4, 1])
            )
            save(coarse, tmp_path / "in" / patient / f"{name}.nii.gz")
    globs = ["--t1", f"{tmp_path}/in/*/T1.nii.gz", "--t2", f"{tmp_path}/in/*/T2.nii.gz"]
    rule = tmp_path / "split.json"
    rule.write_text('{"train": ["patient07"], "validation": [], "test": ["patient19"]}')
    options = ["--split", rule, "--size", 56, 48, "--tissue", 0.1, "--jobs", 1]
    assert (
        main(["dataset", "paired", *globs, "--out", str(tmp_path / "out"), *map(str, options)]) == 0
    )
    (subject,) = open_prepared(tmp_path / "out").subjects("test")
    t1w, t2w = (subject.slices(c)[:] for c in ("T1w", "T2w"))
    inside = t1w > -0.9
    assert t1w.shape == t2w.shape and len(t1w) > 15
    assert (
        np.corrcoef(t1w[inside], t2w[inside])[0, 1] < 0
    )  # fluid is dark in one, bright in the other
