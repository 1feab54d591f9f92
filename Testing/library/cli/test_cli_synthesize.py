"""The command line: files in, marked files out."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from Testing.library.cli.command_line import called, contents, refused, unchanged


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".NII.GZ"])
def test_a_synthetic_volume_lies_on_the_grid_of_its_source_and_is_marked(
    suffix, run, folder, head, capsys
):
    out = folder / f"out{suffix}"
    code, said, _ = run(out=out.name)
    assert code == 0 and f"wrote {out}" in said and "NOT FOR DIAGNOSIS" in said
    made = read_volume(out)
    np.testing.assert_allclose(made.affine, head.affine, atol=1e-6)
    assert made.shape == head.shape and made.array.max() > 0
    assert json.loads((folder / "out.json").read_text())["Synthetic"] is True

    code, said, _ = called(capsys, "verify", out)
    assert code == 0 and "is synthetic" in said and "tiny-t1w-t2w 1.2.3" in said
    assert "computed by torch on cpu in fp32" in said
    assert {p.name for p in folder.iterdir()} == {"head.nii.gz", "out.json", out.name}


def test_the_mark_inside_the_file_is_enough(run, folder, capsys):
    for name in ("a.nii.gz", "b.nrrd", "c.mha"):
        run(out=name)
        (folder / name).with_name(f"{name[0]}.json").unlink()
        record = json.loads(called(capsys, "verify", folder / name, "--json")[1])
        assert record["synthetic"] is True and record["provenance"]["Model"] == "tiny-t1w-t2w"


def test_verify_repeats_the_warnings_of_the_synthesis(run, folder, head, capsys):
    affine = head.affine.copy()
    affine[0, 1] = 5e-5  # a slight shear
    write_volume(Volume(head.array, affine, "sheared"), folder / "sheared.nii.gz")
    assert run(source="sheared.nii.gz", out="out.nii.gz")[0] == 0
    assert "\nwarning: " in called(capsys, "verify", folder / "out.nii.gz")[1]


def test_the_same_command_twice_gives_the_same_bytes(run, folder):
    options = ["--seed", 5, "--report", folder / "r.png", "--overwrite"]
    assert run(*options)[0] == 0
    first = contents(folder)
    assert run(*options)[0] == 0
    assert contents(folder) == first and len(first) == 4
    assert run("--seed", 6, "--overwrite")[0] == 0
    assert contents(folder)[Path("out.nii.gz")] != first[Path("out.nii.gz")]


def test_the_report_is_a_picture_and_the_json_can_be_parsed(run, folder):
    code, said, err = run("--json", "--report", folder / "r.png", "--slices", "2:6", "--steps", 1)
    record = json.loads(said)
    assert code == 0 and record["output"] == str(folder / "out.nii.gz")
    assert [Path(p).name for p in record["files"]] == ["out.nii.gz", "out.json", "r.png"]
    assert record["provenance"]["Slices"] == [2, 6] and record["provenance"]["Steps"] == 1
    with Image.open(folder / "r.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 200
    assert "synthesizing T2w: 4 of 4 slices" in err


def test_the_spread_is_written_beside_the_mean(run, folder):
    assert run("--samples", 2, "--uncertainty", folder / "spread.nrrd")[0] == 0
    spread = read_volume(folder / "spread.nrrd")
    assert spread.array.min() == 0 and spread.array.max() > 0
    assert read_marks(folder / "spread.nrrd").certain


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_the_uncertainty_map_says_that_it_is_one_in_its_marks_and_beside_it(
    run, folder, suffix, capsys
):
    out = folder / f"spread{suffix}"
    assert run("--samples", 3, "--uncertainty", out)[0] == 0
    record = json.loads((folder / "spread.json").read_text())
    assert record["Description"].startswith(
        "uncertainty map: standard deviation over 3 noise draws"
    )
    assert record["Units"] == "those of the synthetic T2w image"
    (folder / "spread.json").unlink()  # the marks inside say it as well
    code, said, _ = called(capsys, "verify", out)
    assert code == 0 and record["Description"] in said and f"units: {record['Units']}" in said
    assert "It belongs to the T2w synthesized from T1w head.nii.gz" in said
    image = json.loads((folder / "out.json").read_text())
    assert "Description" not in image and "Units" not in image
    assert "uncertainty map" not in called(capsys, "verify", folder / "out.nii.gz")[1]


def test_viewers_of_nifti_show_in_the_header_that_a_map_is_no_image(run, folder):
    assert run("--samples", 2, "--uncertainty", folder / "spread.nii")[0] == 0
    description = nibabel.load(folder / "spread.nii").header["descrip"].item().decode()
    assert description == "SYNTHETIC - NOT FOR DIAGNOSIS, uncertainty map"


def test_the_models_own_number_of_samples_counts_for_the_spread(run, folder, make_package, card):
    sampling = card["sampling"] | {"default_samples": 2}
    package = make_package(folder.parent / "two", sampling=sampling)
    code, _, err = run("--uncertainty", folder / "spread.nrrd", model=package.folder)
    assert code == 0, err


def test_a_reference_gets_a_column_of_its_own(run, folder):
    options = ["--reference", folder / "head.nii.gz", "--overwrite"]
    assert run("--report", folder / "without.png")[0] == 0
    assert run("--report", folder / "with.png", *options)[0] == 0
    widths = [Image.open(folder / f"{name}.png").width for name in ("without", "with")]
    assert widths[1] > widths[0]


def test_without_a_name_the_first_installed_model_of_that_direction_is_taken(
    run, folder, make_package, monkeypatch, card
):
    monkeypatch.setenv("MAMBASYNTH_MODELS", str(folder.parent / "mine"))
    make_package(folder.parent / "mine" / "x", id="mine", target_contrasts=["Xw"])
    assert run(to="Xw", model=None)[0] == 0
    refused(run("--from", "FLAIR", to="Xw", model=None, out="b.nii"), "FLAIR", "T1w -> Xw")


@pytest.mark.parametrize(
    "name",
    ["with space.nii.gz", "prénom 頭.nii.gz", "a'b\"c$(x).nrrd", "HEAD.NII", "new\nline.nii"],
)
def test_odd_file_names_are_read_and_written(name, run, folder, head, capsys):
    write_volume(head, folder / name)
    result = run(source=name, out=f"out {name}")
    assert result[0] == 0, result
    assert called(capsys, "verify", folder / f"out {name}")[0] == 0


def test_a_name_with_a_leading_dash_works_through_its_folder(run, folder, head, monkeypatch):
    write_volume(head, folder / "-x.nii")
    assert run(source="./-x.nii", out="./-out.nii")[0] == 0 and (folder / "-out.nii").exists()


def test_warnings_of_reading_are_shown_and_kept(run, folder, head):
    array = np.array(head.array)
    array[3, 4, 5] = np.nan
    nibabel.Nifti1Image(array, head.affine).to_filename(folder / "nan.nii")
    refused(run(source="nan.nii"), "nan.nii", "1 voxels", "--nan-as-zero")
    code, _, err = run("--nan-as-zero", source="nan.nii")
    assert code == 0 and "warning: nan.nii: set to zero: 1 voxels" in err
    assert "set to zero" in (folder / "out.json").read_text()


def test_a_synthetic_input_is_refused_unless_allowed(run, folder):
    assert run(out="first.nrrd")[0] == 0
    with unchanged(folder):
        refused(run(source="first.nrrd"), "first.nrrd", "synthetic already")
    code, _, err = run("--allow-synthetic-input", source="first.nrrd")
    assert code == 0 and "warning: first.nrrd: synthetic source" in err
