"""What cannot be synthesized: one sentence, exit code 2 and nothing left behind."""

import gzip
import os

import nibabel
import numpy as np
import pytest

from MambaSynthLib.model.registry import user_models
from Testing.library.cli.command_line import called, refused, unchanged


def bad_inputs():
    rng = np.random.default_rng(0)
    array = rng.normal(100, 20, (12, 12, 6)).astype(np.float32)
    image = nibabel.Nifti1Image(array, np.eye(4)).to_bytes()
    nan = array.copy()
    nan[1, 2, 3] = np.nan
    return {
        "4d.nii": nibabel.Nifti1Image(np.stack([array, array], 3), np.eye(4)).to_bytes(),
        "constant.nii": nibabel.Nifti1Image(np.full_like(array, 7), np.eye(4)).to_bytes(),
        "zero.nii": nibabel.Nifti1Image(np.zeros_like(array), np.eye(4)).to_bytes(),
        "nan.nii": nibabel.Nifti1Image(nan, np.eye(4)).to_bytes(),
        "small.nii": nibabel.Nifti1Image(array[:3, :3, :3], np.eye(4)).to_bytes(),
        "giant.nii": nibabel.Nifti1Image(array, np.diag([1e5, 1e5, 1, 1])).to_bytes(),
        "complex.nii": nibabel.Nifti1Image(array.astype("c8"), np.eye(4)).to_bytes(),
        "short.nii.gz": gzip.compress(image)[:-500],
        "cut.nii.gz": gzip.compress(image[:-500]),
        "cut.nii": image[:-4],
        "empty.nii": b"",
        "page.nii.gz": b"<!DOCTYPE html><html>404</html>",
        "picture.png": b"\x89PNG\r\n",
        "noname": image,
    }


@pytest.mark.parametrize("name", bad_inputs())
def test_an_unusable_input_is_refused_by_name_and_nothing_is_written(name, run, folder):
    (folder / name).write_bytes(bad_inputs()[name])
    with unchanged(folder):
        refused(run(source=name, out="result.nii.gz"), name)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "loop"])
def test_an_input_that_is_no_file_is_refused(kind, run, folder):
    path = folder / "x.nii"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    refused(run(source="x.nii"), "x.nii")
    assert not (folder / "out.nii.gz").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "0"], "steps is 0"),
        (["--steps", "99"], "steps is 99"),
        (["--steps", "-1"], "steps is -1"),
        (["--steps", "1000000000"], "steps is 1000000000"),
        (["--steps", "two"], "--steps"),
        (["--steps", "9" * 5000], "--steps"),
        (["--samples", "0"], "samples is 0"),
        (["--samples", "65"], "samples is 65"),
        (["--seed", "-1"], "seed is -1"),
        (["--seed", str(2**64)], "seed is 18446744073709551616"),
        (["--batch", "0"], "batch is 0"),
        (["--device", "cuda:99"], "device cuda:99: "),
        (["--device", "quantum"], "device quantum"),
        (["--device", "cpu:"], "device cpu:"),
        (["--noise", "pink"], "--noise"),
        (["--slices", "banana"], "'banana' is not A:B"),
        (["--slices", "5"], "'5' is not A:B"),
        (["--slices", "-1:5"], "--slices"),
        (["--slices", "²:³"], "--slices"),
        (["--slices", "5:5"], "slices 5:5"),
        (["--slices", "0:11"], "slices 0:11 are not in head.nii.gz"),
        (["--slices"], "--slices"),
        (["--prefer", "z"], "--prefer"),
        (["--from", "T2w"], "synthesizes T1w -> T2w"),
        (["--stepz", "3"], "did you mean --steps?"),
        (["--overwrit"], None),
        (["--allow-synthetic"], None),
        (["--out-put", "x"], "did you mean --output?"),
        (["--zzzzzzz"], "unrecognized arguments: --zzzzzzz"),
        (["extra.nii"], "extra.nii"),
        (["--uncertainty", "u.nii"], "--samples 4"),
        (["--samples", "0", "--uncertainty", "u.nii"], "--samples 4"),
        (["--reference", "r.nii"], "add --report"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(options, said, run, folder):
    if said is None:  # an unambiguous beginning of a known option is that option
        assert run(*options)[0] == 0
        return
    with unchanged(folder):
        refused(run(*options), said)


def test_cuda_is_refused_where_there_is_none(run, folder, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with unchanged(folder):
        refused(run("--device", "cuda", "--backend", "torch"), "device cuda: the PyTorch", "cpu")
        refused(
            run("--device", "cuda", "--backend", "onnxruntime"), "device cuda: the ONNX Runtime"
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["synthesise"], "synthesise"),
        (["synthesize"], "required"),
        (["synthesize", "x.nii", "-o", "y.nii"], "--to"),
        (["models"], "ACTION"),
        (["models", "import", "missing.pth", "--to", "T2w"], "missing.pth"),
        (["models", "import", "missing.pth"], "missing.pth: cannot be read"),
        (["models", "show", "nothing-like-it"], "nothing-like-it: is no known model"),
        (["verify", "missing.nii"], "missing.nii: does not exist"),
        (["evaluate", "a.nii", "b.nii"], "a.nii: does not exist"),
        (["info", "--jsn"], "did you mean --json?"),
        (["info", "--slices", "4:9"], "--slices 4:9 (an option of synthesize)"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(called(capsys, *arguments), said)


@pytest.mark.parametrize("damage", ["bit", "truncated", "card", "gone"])
def test_a_tampered_model_is_refused_by_every_command(damage, run, folder, make_package, capsys):
    model = make_package(user_models() / "tampered").folder
    weights = model / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    if damage == "bit":
        data[len(data) // 2] ^= 4
        weights.write_bytes(data)
    elif damage == "truncated":
        weights.write_bytes(data[:-8])
    elif damage == "card":
        (model / "model.json").write_text("{}")
    else:
        weights.unlink()
    with unchanged(folder):
        refused(run(model=model), "tampered")
    code, said, _ = called(capsys, "models", "verify", model)
    assert code == 2 and said.startswith("NOT sound: ")
    assert called(capsys, "models", "verify")[0] == 2
    assert called(capsys, "models", "list")[0] == 0


@pytest.mark.parametrize("model", ["nothing-like-it", "tiny-t1-t2", "x" * 5000, "folder"])
def test_an_unknown_model_is_refused(model, run, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    with unchanged(folder):
        refused(run(model=model), "model")


@pytest.mark.parametrize("wrong", ["not finite", "two places"])
def test_a_remedy_that_is_an_option_of_other_commands_is_not_offered(wrong, run, folder, capsys):
    image = nibabel.load(folder / "head.nii.gz")
    values = np.asarray(image.dataobj, np.float32)
    if wrong == "not finite":
        values[0, 0, 0] = np.nan
    image = nibabel.Nifti1Image(values, image.affine)
    if wrong == "two places":
        image.set_qform(np.diag([1.0, 1, 1, 1]), 1)
    nibabel.save(image, folder / "wrong.nii.gz")
    option = "--nan-as-zero" if wrong == "not finite" else "--prefer sform"
    refused(run(source="wrong.nii.gz"), option)
    result = called(capsys, "evaluate", folder / "wrong.nii.gz", folder / "head.nii.gz")
    refused(result, "correct it." if wrong == "not finite" else "correct its header.")
    assert "--" not in result[2]
