"""``evaluate`` finds the source that a synthetic volume names."""

import json

import numpy as np

from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import write_volume
from Testing.library.cli.command_line import called, refused


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


def test_evaluate_refuses_another_grid(run, folder, head, capsys):
    write_volume(Volume(head.array[1:], head.affine), folder / "t2.nii")
    assert run()[0] == 0
    refused(called(capsys, "evaluate", folder / "out.nii.gz", folder / "t2.nii"), "t2.nii")
