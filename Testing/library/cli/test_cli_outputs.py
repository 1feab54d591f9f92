"""Outputs that cannot be written, or whose writing fails, leave everything as it was."""

import os

import pytest

from MambaSynthLib import engine as engine_module
from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io import atomic as atomic_module
from MambaSynthLib.io.files import read_marks, write_volume
from MambaSynthLib.report import head as report_module
from Testing.library.cli.command_line import refused, unchanged


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


@pytest.mark.parametrize("failing", range(1, 6))
def test_earlier_results_outlive_a_failure_at_any_of_the_five_names(
    failing, run, folder, monkeypatch
):
    """The image, its sidecar, the map of the spread, its sidecar, the report."""
    wanted = ["--overwrite", "--samples", "2", "--uncertainty", folder / "spread.nii.gz"]
    wanted += ["--report", folder / "r.png"]
    assert run(*wanted)[0] == 0
    real, names = os.replace, []

    def fail_once(source, target):
        names.append(target)
        if len(names) == failing:
            raise OSError(30, "Read-only file system")
        real(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with unchanged(folder):
        code, out, err = run(*wanted, "--seed", "8")
    assert (code, out) == (2, "") and len(names) >= failing
    assert "(Read-only file system); nothing was changed" in err.splitlines()[-1]


def test_an_interrupt_in_the_middle_leaves_nothing(run, folder, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for module, name in [(engine_module, "slice_noise"), (atomic_module, "commit")]:
        with monkeypatch.context() as patch, unchanged(folder):
            patch.setattr(module, name, interrupt)
            code, out, err = run()
        assert (code, out) == (130, "")
        assert err.splitlines()[-1] == "mambasynth: interrupted, nothing was written"
