"""``mambasynth mask``: what is written, what stands beside it, and what is refused."""

import json

import numpy as np
import pytest

from MambaSynthLib.io.files import read_volume, write_volume
from Testing.library.cli.command_line import called, contents, refused, unchanged
from Testing.model_packages import threshold_package
from Testing.provenance_records import RECORD


@pytest.fixture
def mask(folder, tmp_path, capsys):
    """mask(*options, source=..., out=...) -> (exit code, stdout, stderr)."""
    package = threshold_package(tmp_path / "tiny-mask", brain=0.3, head=0.1)

    def run(*options, source="head.nii.gz", out="mask.nii.gz", model=package.folder):
        words = [folder / source, "-o", folder / out, "--model", model, *options]
        return called(capsys, "mask", *words)

    return run


def test_a_mask_lies_on_the_grid_of_its_source_with_its_origin_beside_it(mask, folder):
    code, out, err = mask()
    assert (code, err) == (0, "") and "wrote" in out and "by the model tiny-mask 1.2.3" in out
    source, found = (read_volume(folder / name) for name in ("head.nii.gz", "mask.nii.gz"))
    assert found.shape == source.shape and set(np.unique(found.array)) == {0, 1}
    np.testing.assert_allclose(found.affine, source.affine, atol=1e-5)
    record = json.loads((folder / "mask.json").read_text())
    assert record["Type"] == "Brain" and record["Sources"] == ["head.nii.gz"]
    assert record["Model"] == "tiny-mask" and len(record["WeightsSHA256"]) == 64
    assert record["SourceSHA256"] and record["Backend"] == "onnxruntime"
    assert "Synthetic" not in record


def test_a_mask_is_no_synthetic_image(mask, folder, capsys):
    mask()
    assert called(capsys, "verify", folder / "mask.nii.gz")[0] == 3
    assert not read_volume(folder / "mask.nii.gz", allow_synthetic=False).notes


def test_the_head_can_be_had_instead(mask, folder):
    mask()
    code, out, _ = mask("--head", "--json", out="whole.nrrd")
    record = json.loads(out)["record"]
    brain, head = (read_volume(folder / name).array for name in ("mask.nii.gz", "whole.nrrd"))
    assert code == 0 and record["Type"] == "Head" and head.sum() >= brain.sum()
    assert record["Milliliters"] == pytest.approx(
        head.sum() * np.prod(read_volume(folder / "head.nii.gz").spacing) / 1000, abs=0.1
    )


def test_what_is_there_is_replaced_only_where_that_is_asked_for(mask, folder):
    mask()
    before = contents(folder)
    refused(mask(), "mask.nii.gz: exists already")
    (folder / "mask.nii.gz").unlink()
    refused(mask(), "mask.json: exists already; choose another name or use --overwrite")
    assert mask("--overwrite")[0] == 0 and contents(folder) == before


def test_the_sidecar_of_another_image_is_left_alone(mask, folder):
    (folder / "mask.json").write_text('{"EchoTime": 0.1}')
    with unchanged(folder):
        refused(mask("--overwrite"), "would replace mask.json, which describes another image")


def test_the_input_itself_is_no_output(mask, folder):
    with unchanged(folder):
        refused(mask("--overwrite", out="head.nii.gz"), "is the input itself")


def test_a_model_that_makes_no_masks_is_named(mask, folder, tiny_package):
    with unchanged(folder):
        refused(mask(model=tiny_package.folder), "tiny-t1w-t2w synthesizes T1w -> T2w, no masks")


def test_a_constant_volume_is_refused(mask, folder, head):
    write_volume(head.with_array(np.full(head.shape, 5.0)), folder / "flat.nii")
    with unchanged(folder):
        refused(mask(source="flat.nii"), "flat.nii: the image is constant")


def test_a_file_that_is_not_there_is_named(mask, folder):
    with unchanged(folder):
        refused(mask(source="none.nii.gz"), "none.nii.gz")


def test_a_synthetic_head_has_a_mask_that_says_what_it_was_found_in(mask, folder, head):
    write_volume(head, folder / "made.nii.gz", provenance=RECORD)
    code, _, err = mask(source="made.nii.gz")
    assert code == 0 and "warning: made.nii.gz: synthetic source" in err
    (warning,) = json.loads((folder / "mask.json").read_text())["Warnings"]
    assert warning.startswith("synthetic source")
