"""``evaluate`` finds the source that a synthetic volume names."""

import json

import numpy as np
import pytest

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from MambaSynthLib.mask.engine import MaskEngine
from MambaSynthLib.model.package import read_package
from Testing.library.cli.command_line import called, refused
from Testing.model_packages import threshold_package


def acquired_t2(head):
    inside = head.array > 0
    return head.with_array(np.where(inside, 900 - head.array, 0), "t2.nii")


def test_evaluate_finds_the_source_that_the_synthetic_volume_names(run, folder, head, capsys):
    write_volume(acquired_t2(head), folder / "t2.nii")
    assert run()[0] == 0
    code, said, _ = called(capsys, "evaluate", folder / "out.nii.gz", folder / "t2.nii")
    assert code == 0 and "--source" not in said
    (folder / "head.nii.gz").write_bytes(b"damaged since")
    code, said, err = called(capsys, "evaluate", folder / "out.nii.gz", folder / "t2.nii")
    assert code == 0 and "--source" in said, err
    (folder / "head.nii.gz").unlink()
    code, said, _ = called(capsys, "evaluate", folder / "out.nii.gz", folder / "t2.nii", "--json")
    assert code == 0 and json.loads(said)


def test_evaluate_does_not_take_another_image_of_that_name_for_the_source(
    run, folder, head, capsys
):
    write_volume(acquired_t2(head), folder / "t2.nii")
    assert run()[0] == 0
    write_volume(head.with_array(head.array + 1), folder / "head.nii.gz", overwrite=True)
    assert "--source" in called(capsys, "evaluate", folder / "out.nii.gz", folder / "t2.nii")[1]


def test_evaluate_scores_in_the_brain_that_the_mask_model_finds(run, folder, head, capsys):
    threshold_package(folder / "models/tiny-mask", 0.3, 0.1)
    reference = acquired_t2(head)
    write_volume(reference, folder / "t2.nii")
    assert run()[0] == 0
    masks = MaskEngine(read_package(folder / "models/tiny-mask"), "cpu").find(reference)
    write_volume(masks.brain, folder / "brain.nii")
    both = folder / "out.nii.gz", folder / "t2.nii"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAMBASYNTH_MODELS", str(folder / "models"))
        in_brain = called(capsys, "evaluate", *both, "--brain", "--json")
    in_file = called(capsys, "evaluate", *both, "--mask", folder / "brain.nii", "--json")
    everywhere = called(capsys, "evaluate", *both, "--json")
    assert in_brain == in_file and in_brain[0] == 0
    assert json.loads(in_brain[1])["rows"] != json.loads(everywhere[1])["rows"]


def test_evaluate_in_a_file_and_in_the_brain_is_one_too_many(folder, capsys):
    words = ["evaluate", folder / "a.nii", folder / "b.nii", "--brain", "--mask", folder / "m.nii"]
    refused(called(capsys, *words), "not allowed with argument")


def test_evaluate_takes_no_uncertainty_map_for_an_image(run, folder, head, capsys):
    write_volume(acquired_t2(head), folder / "t2.nii")
    assert run("--samples", 2, "--uncertainty", folder / "spread.nii.gz")[0] == 0
    answer = called(capsys, "evaluate", folder / "spread.nii.gz", folder / "t2.nii")
    refused(answer, "spread.nii.gz: is an uncertainty map, no image")


def test_evaluate_refuses_another_grid(run, folder, head, capsys):
    write_volume(Volume(head.array[1:], head.affine), folder / "t2.nii")
    assert run()[0] == 0
    refused(called(capsys, "evaluate", folder / "out.nii.gz", folder / "t2.nii"), "t2.nii")
