"""The command line: files in and out, or one sentence, exit code 2 and nothing left behind."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from MambaSynthLib import engine as engine_module
from MambaSynthLib import report as report_module
from MambaSynthLib.cli import COMMANDS, main
from MambaSynthLib.errors import FileError
from MambaSynthLib.io import files as files_module
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from MambaSynthLib.registry import user_models
from MambaSynthLib.volume import Volume

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path, head):
    """A folder with a T1w head to work in."""
    folder = tmp_path / "folder"
    folder.mkdir()
    write_volume(head, folder / "head.nii.gz")
    return folder


@pytest.fixture
def run(folder, tiny_package, capsys):
    """run(*options, source=..., to=..., out=..., model=...) -> (exit code, stdout, stderr)."""

    def run(*options, source="head.nii.gz", to="T2w", out="out.nii.gz", model=tiny_package.folder):
        arguments = [str(folder / source), "--to", to, "-o", str(folder / out), *map(str, options)]
        if model:
            arguments += ["--model", str(model)]
        return called(capsys, "synthesize", *arguments)

    return run


def called(capsys, *arguments):
    """main() with what it returned or exited with, and what it printed."""
    capsys.readouterr()
    try:
        code = main([*map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    return code, said.out, said.err


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextlib.contextmanager
def unchanged(folder):
    before = contents(folder)
    yield
    assert contents(folder) == before


def refused(result, *said):
    """One line on stderr, nothing on stdout, exit code 2."""
    code, out, err = result
    assert (code, out) == (2, "") and err.startswith("mambasynth") and err.count("\n") == 1, err
    assert "Traceback" not in err and len(err) < 500
    for text in said:
        assert text in err


# --- what works -----------------------------------------------------------------------------------


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


def test_an_acquired_file_carries_no_mark(folder, capsys):
    code, said, _ = called(capsys, "verify", folder / "head.nii.gz")
    assert code == 0 and "no mark" in said and "does not prove" in said
    assert (
        json.loads(called(capsys, "verify", folder / "head.nii.gz", "--json")[1])["synthetic"]
        is None
    )


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


# --- what is refused ------------------------------------------------------------------------------


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
        (["--device", "cuda:99"], "device cuda:99: is not available"),
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
        refused(run("--device", "cuda"), "device cuda: is not available", "cpu")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["synthesise"], "synthesise"),
        (["synthesize"], "required"),
        (["synthesize", "x.nii", "-o", "y.nii"], "--to"),
        (["models"], "ACTION"),
        (["models", "import", "missing.pth", "--to", "T2w"], "missing.pth"),
        (["models", "import", "missing.pth"], "add --to T2w"),
        (["models", "show", "nothing-like-it"], "nothing-like-it: is no known model"),
        (["verify", "missing.nii"], "missing.nii: does not exist"),
        (["evaluate", "a.nii", "b.nii"], "a.nii: does not exist"),
        (["info", "--jsn"], "did you mean --json?"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(called(capsys, *arguments), said)


def test_an_existing_output_is_kept_unless_told_otherwise(run, folder):
    for name in ("out.nii.gz", "out.json"):
        (folder / name).write_text('{"Synthetic": true}')
        with unchanged(folder):
            refused(run(), name, "exists already")
        (folder / name).unlink()
    (folder / "out.nii.gz").write_text("old")
    assert run("--overwrite")[0] == 0 and read_marks(folder / "out.nii.gz").certain


def test_the_input_is_never_the_output_under_whatever_name(run, folder):
    (folder / "hard.nii.gz").hardlink_to(folder / "head.nii.gz")
    (folder / "soft.nii.gz").symlink_to(folder / "head.nii.gz")
    for out in ("head.nii.gz", "hard.nii.gz", "soft.nii.gz", "../folder/head.nii.gz"):
        with unchanged(folder):
            refused(run("--overwrite", out=out), "is the input itself")


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("missing/out.nii", "does not exist"),
        ("head.nii.gz/out.nii", "is a file"),
        ("out.dcm", "format"),
        ("out", "format"),
        ("out.nhdr", "format"),
        ("a" * 300 + ".nii", "name"),
        ("o\0ut.nii", "name"),
        ("taken.nii", "is no file"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_any_computing(
    out, said, run, folder, no_engine
):
    (folder / "taken.nii").mkdir()
    with unchanged(folder):
        refused(run(out=out), said)


@pytest.fixture
def no_engine(monkeypatch):
    """Fails the test if a network is loaded."""

    def no(*_, **__):
        raise AssertionError("the engine was made before the refusal")

    monkeypatch.setattr(engine_module, "Engine", no)


@pytest.mark.parametrize(
    "options",
    [
        ["--report", "r.jpg"],
        ["--report", "missing/r.png"],
        ["--report", "there.png"],
        ["--report", "folder.png", "--overwrite"],
        ["--samples", "2", "--uncertainty", "u.dcm"],
        ["--samples", "2", "--uncertainty", "head.nii.gz", "--overwrite"],
        ["--samples", "2", "--uncertainty", "out.nii.gz", "--overwrite"],
        ["--samples", "2", "--uncertainty", "out.nrrd"],
        ["--report", "r.png", "--reference", "missing.nii"],
        ["--report", "r.png", "--reference", "other.nii"],
    ],
)
def test_what_goes_beside_the_output_is_checked_before_any_computing(
    options, run, folder, head, no_engine, monkeypatch
):
    monkeypatch.chdir(folder)
    (folder / "there.png").write_bytes(b"mine")
    (folder / "folder.png").mkdir()
    write_volume(Volume(head.array[1:], head.affine), folder / "other.nii")
    with unchanged(folder):
        refused(run(*options))


def test_a_folder_that_may_not_be_written_is_refused(run, folder, no_engine, monkeypatch):
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: not mode & os.W_OK and real(p, mode))
    with unchanged(folder):
        refused(run(), "out.nii.gz", "read-only")


@pytest.mark.parametrize("failing", ["open", "fsync", "replace"])
@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(28, "Disk full")]
)
def test_a_disk_that_fails_while_writing_leaves_nothing(failing, error, run, folder, monkeypatch):
    real = getattr(os, failing)

    def fail(target, *args, **kwargs):
        if failing == "open" and not str(target).endswith(".part"):
            return real(target, *args, **kwargs)
        raise error

    monkeypatch.setattr(os, failing, fail)
    with unchanged(folder):
        code, out, err = run("--report", folder / "r.png")
    assert (code, out) == (2, "") and error.strerror in err and "Traceback" not in err


def test_a_report_that_fails_takes_the_volume_with_it(run, folder, monkeypatch):
    def fail(*_, **__):
        raise FileError("r.png: cannot be written (disk full); free space.")

    monkeypatch.setattr(report_module, "write_report", fail)
    with unchanged(folder):
        assert run("--report", folder / "r.png")[0] == 2


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


def test_an_interrupt_in_the_middle_leaves_nothing(run, folder, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for module, name in [(engine_module, "slice_noise"), (files_module, "commit_pair")]:
        with monkeypatch.context() as patch, unchanged(folder):
            patch.setattr(module, name, interrupt)
            code, out, err = run()
        assert (code, out) == (130, "")
        assert err.splitlines()[-1] == "mambasynth: interrupted, nothing was written"


def test_a_bug_of_ours_is_one_line_too_and_debug_shows_where(run, folder, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(engine_module, "Engine", broken)
    code, out, err = run()
    assert code == 1 and err.count("\n") == 1 and "bug" in err and "--debug" in err
    with pytest.raises(ZeroDivisionError):
        run("--debug")


@pytest.mark.parametrize("before", [True, False])
def test_debug_is_understood_before_and_after_the_command(before, tmp_path):
    words = ["verify", str(tmp_path / "missing.nii")]
    words = ["--debug", *words] if before else [*words, "--debug"]
    with pytest.raises(FileError):
        main(words)


# --- the other commands ---------------------------------------------------------------------------


def test_models_are_listed_shown_and_verified(tiny_package, make_package, capsys):
    make_package(user_models() / "tiny")
    (user_models() / "broken").mkdir()
    (user_models() / "broken" / "model.json").write_text("{")
    code, said, _ = called(capsys, "models", "list")
    assert code == 0 and "tiny-t1w-t2w 1.2.3 T1w -> T2w" in " ".join(said.split())
    assert "unusable: " in said and "broken" in said
    record = json.loads(called(capsys, "models", "list", "--json")[1])
    assert "tiny-t1w-t2w" in [model["id"] for model in record["models"]]
    assert len(record["broken"]) == 1
    code, said, _ = called(capsys, "models", "show", "tiny-t1w-t2w")
    assert code == 0 and "# A tiny model" in said and tiny_package.weights_sha256 in said
    code, said, _ = called(capsys, "models", "verify", "tiny-t1w-t2w")
    assert code == 0 and "tiny-t1w-t2w 1.2.3: sound, 3" in said


def test_verifying_a_model_of_an_unknown_method_says_so(make_package, tmp_path, capsys):
    make_package(tmp_path / "p", method="clairvoyance")
    code, said, _ = called(capsys, "models", "verify", tmp_path / "p")
    assert code == 2 and "NOT sound" in said and "clairvoyance" in said


def test_a_checkpoint_is_imported_and_used(run, folder, tiny_weights, capsys):
    import torch

    state = {name: torch.from_numpy(array) for name, array in tiny_weights.items()}
    torch.save(state, folder / "netG_A2B_100.pth")
    code, said, _ = called(
        capsys, "models", "import", folder / "netG_A2B_100.pth", "--to", "T2w", "--size", 16, 16
    )
    assert code == 0 and "installed netg_a2b_100-t1w-t2w (T1w -> T2w)" in said
    assert run(model="netg_a2b_100-t1w-t2w")[0] == 0


def test_a_package_folder_is_imported(tiny_package, capsys):
    code, said, _ = called(capsys, "models", "import", tiny_package.folder)
    assert code == 0 and "installed tiny-t1w-t2w" in said
    refused(called(capsys, "models", "import", tiny_package.folder), "exists already")


def test_info_says_what_is_here(capsys, make_package):
    make_package(user_models() / "tiny")
    code, said, _ = called(capsys, "info", "--json")
    record = json.loads(said)
    assert code == 0 and "tiny-t1w-t2w" in record["models"] and "cpu" in record["devices"]
    assert record["packages"]["numpy"] == np.__version__
    assert str(user_models()) in called(capsys, "info")[1]


@pytest.mark.parametrize("command", [[], *([c] for c in COMMANDS), ["models", "import"]])
def test_each_command_has_help(command, capsys):
    code, said, err = called(capsys, *command, "--help")
    assert code == 0 and "usage: mambasynth" in said and err == ""


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


# --- as a program of its own ----------------------------------------------------------------------


def program(*arguments, **changes):
    """Arguments for subprocess: this library, one thread, and an environment of our making."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {k: v for k, v in changes.pop("env", {}).items()}
    command = [sys.executable, "-m", "MambaSynthLib", *map(str, arguments)]
    return {"args": command, "env": environment, "text": True, "encoding": "utf-8"} | changes


def synthesis(folder, package, *options):
    return [
        "synthesize", folder / "head.nii.gz", "--to", "T2w", "--model", package.folder,
        "-o", folder / "out.nii.gz", *options,
    ]  # fmt: skip


def test_it_runs_without_a_home_in_the_c_locale_and_with_odd_letters(folder, head, tiny_package):
    write_volume(head, folder / "tête ü.nii")
    arguments = synthesis(folder, tiny_package, "--debug")
    arguments[1], arguments[7] = folder / "tête ü.nii", folder / "頭.nii"
    env = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "MPLCONFIGDIR": str(folder)}
    done = subprocess.run(**program(*arguments, env=env, capture_output=True))
    assert done.returncode == 0, done.stderr
    assert (folder / "頭.nii").exists() and "\\u982d.nii" in done.stdout


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_a_listener_that_goes_away_does_not_stop_the_work(closed, folder, tiny_package):
    read, write = os.pipe()
    os.close(read)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    streams |= {name: write for name in streams if closed in (name, "both")}
    done = subprocess.run(**program(*synthesis(folder, tiny_package), **streams))
    os.close(write)
    assert (folder / "out.nii.gz").exists() and (folder / "out.json").exists()
    assert "Traceback" not in (done.stderr or "") and "Broken" not in (done.stderr or "")
    assert done.returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["models", "list"], ["info"]])
def test_piping_into_head_shows_no_traceback(arguments):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(**program(*arguments, stdout=write, stderr=subprocess.PIPE))
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stdout_is_no_error():
    command = program("models", "list", capture_output=True)
    command["args"] = ["sh", "-c", 'exec "$@" >&-', "sh", *command["args"]]
    done = subprocess.run(**command)
    assert (done.returncode, done.stderr) == (0, "")


SLOW = """
import signal, sys, time
from MambaSynthLib import engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
draw = engine.slice_noise
def slowly(*arguments):
    time.sleep(0.3)
    return draw(*arguments)
engine.slice_noise = slowly
from MambaSynthLib.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_control_c_stops_the_work_at_once_and_leaves_nothing(folder, tiny_package):
    command = program(*synthesis(folder, tiny_package), stderr=subprocess.PIPE)
    command["args"][1:3] = ["-c", SLOW]
    with unchanged(folder), subprocess.Popen(**command) as process:
        for line in process.stderr:
            if "1 of 8" in line or "0 of 8" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        code = process.wait()
    assert code == 130 and len(rest.splitlines()) <= 2, "it went on with the next slices"
    assert rest.endswith("mambasynth: interrupted, nothing was written\n")
    assert "Traceback" not in rest
