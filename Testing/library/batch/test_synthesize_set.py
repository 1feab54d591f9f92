"""A tree of volumes in, a tree of synthetic ones out; resumed, shared out, bad files."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from MambaSynthLib import engine as engine_module
from MambaSynthLib.batch import volumes, workers
from MambaSynthLib.batch.existing import Settings
from MambaSynthLib.batch.tree import Task, find_tasks, output_name
from MambaSynthLib.batch.volumes import Outcome
from MambaSynthLib.batch.workers import Model, outcomes_of_jobs
from MambaSynthLib.cli import main
from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import FileError, RequestError
from MambaSynthLib.io.files import read_marks, read_volume, write_volume

ROOT = Path(__file__).resolve().parents[3]
CONTRASTS = ("T1w", "T2w")


@pytest.fixture
def tree(tmp_path, head) -> Path:
    """A BIDS tree: two subjects, one with two sessions, and files that are not to be used."""
    tree = tmp_path / "bids"
    names = [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_acq-mprage_T1w.nrrd",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "derivatives/other/sub-01/anat/sub-01_T1w.nii.gz",
        ".git/sub-01_T1w.nii.gz",
    ]
    for n, name in enumerate(names):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        write_volume(head.with_array(head.array + (head.array > 0) * n), tree / name)
    (tree / "sub-01/anat/sub-01_T1w.json").write_text("{}")
    return tree


@pytest.fixture
def run(tree, tmp_path, tiny_package, capsys):
    """run(*options) -> (exit code, stdout, stderr) of synthesize-set into tmp_path/out."""

    def run(*options, folder=tree):
        words = [str(folder), "-o", str(tmp_path / "out"), "--to", "T2w",
                 "--model", str(tiny_package.folder), "--force", *options]  # fmt: skip
        capsys.readouterr()
        code = main(["synthesize-set", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def rows(folder: Path, name: str = "synthesis.csv") -> list[dict[str, str]]:
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


def statuses(folder: Path) -> list[str]:
    return [row["status"] for row in rows(folder)]


# --- which files, and what they become ----------------------------------------------------------


def test_a_bids_tree_gives_its_acquired_source_volumes_and_derivative_names(tree, tmp_path):
    tasks = find_tasks(tree, tmp_path / "out", CONTRASTS)
    assert [task.output.relative_to(tmp_path / "out").as_posix() for task in tasks] == [
        "sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_desc-synthetic_T2w.nii.gz",
        "sub-02/ses-2/anat/sub-02_ses-2_acq-mprage_desc-synthetic_T2w.nii.gz",
    ]


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("sub-01_desc-preproc_T1w.nii", "sub-01_desc-synthetic_T2w.nii.gz"),
        ("a/sub-01_T1w.MHA", "a/sub-01_desc-synthetic_T2w.nii.gz"),
        ("IXI012-HH-1211_T1.nii.gz", "IXI012-HH-1211_T1_desc-synthetic_T2w.nii.gz"),
        ("brain.nrrd", "brain_desc-synthetic_T2w.nii.gz"),
    ],
)
def test_output_names_follow_bids_where_the_input_does(name, output):
    assert output_name(Path(name), CONTRASTS) == Path(output)


def test_a_glob_finds_files_of_any_name(tree, tmp_path, head):
    write_volume(head, tree / "brain.nii.gz")
    found = find_tasks(tree, tmp_path / "out", CONTRASTS, "*.nii.gz")
    assert [task.source.name for task in found] == ["brain.nii.gz"]


def test_outputs_inside_the_input_are_not_inputs_of_the_next_run(tree, run, tmp_path):
    inside = tree / "made"
    assert run("-o", str(inside))[0] == 0
    again = find_tasks(tree, tmp_path / "elsewhere", CONTRASTS, "**/*.nii.gz")
    assert all("synthetic" not in task.source.name for task in again)
    assert len(find_tasks(tree, inside, CONTRASTS)) == 3


@pytest.mark.parametrize(("out", "what"), [(".", "is"), ("..", "holds"), ("anat/..", "is")])
def test_an_output_folder_that_is_or_holds_the_input_is_refused_for_that_reason(tree, out, what):
    (tree / "anat").mkdir()
    with pytest.raises(RequestError, match=f"{what} the input folder, whose files .*derivatives"):
        find_tasks(tree, tree / out, CONTRASTS)


def test_the_same_folder_by_another_name_is_refused_and_nothing_is_written(tree, run, tmp_path):
    (tmp_path / "link").symlink_to(tree)
    before = sorted(tree.rglob("*"))
    code, _, err = run("-o", str(tmp_path / "link"))
    assert code == 2 and "is the input folder" in err and err.count("\n") == 1
    assert sorted(tree.rglob("*")) == before


def test_two_files_with_one_output_are_refused_by_name(tree, tmp_path, head):
    write_volume(head, tree / "sub-01/anat/sub-01_desc-x_T1w.nii.gz")
    with pytest.raises(RequestError, match=r"sub-01_T1w.* and .*|.*desc-x.* would both become"):
        find_tasks(tree, tmp_path / "out", CONTRASTS)


@pytest.mark.parametrize("pattern", ["*.dcm", "**/*_FLAIR.*"])
def test_nothing_found_is_told(tree, tmp_path, pattern):
    with pytest.raises(FileError, match="holds no volume that matches"):
        find_tasks(tree, tmp_path / "out", CONTRASTS, pattern)


def test_a_missing_folder_and_an_absolute_pattern_are_refused(tree, tmp_path):
    with pytest.raises(FileError, match="is no folder; name the folder .* by --glob"):
        find_tasks(tmp_path / "nowhere", tmp_path / "out", CONTRASTS)
    with pytest.raises(RequestError, match="is no pattern inside"):
        find_tasks(tree, tmp_path / "out", CONTRASTS, "/etc/*")


# --- what is made -------------------------------------------------------------------------------


def test_each_output_is_what_the_engine_makes_of_its_source(run, tree, tmp_path, tiny_package):
    code, out, _ = run("--seed", "5", "--steps", "1")
    assert code == 0 and "synthesis.csv" in out and "done" in out
    source = read_volume(tree / "sub-01/anat/sub-01_T1w.nii.gz")
    output = tmp_path / "out/sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz"
    made = Engine(tiny_package, "cpu").synthesize({"T1w": source}, seed=5, steps=1)
    assert np.array_equal(read_volume(output).array, made.volumes["T2w"].array)
    record = read_marks(output).provenance
    assert (record.source_name, record.seed, record.steps) == ("sub-01_T1w.nii.gz", 5, 1)
    description = json.loads((tmp_path / "out/dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"


def test_a_second_run_keeps_finished_outputs_to_the_byte(run, tmp_path):
    run()
    outputs = sorted((tmp_path / "out").rglob("*.nii.gz"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in outputs}
    assert run()[0] == 0
    assert statuses(tmp_path / "out") == ["finished before"] * 3
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in outputs} == before


def test_a_damaged_output_is_made_again(run, tmp_path):
    run()
    output = tmp_path / "out/sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz"
    whole = output.read_bytes()
    output.write_bytes(whole[:-40])
    assert run()[0] == 0
    assert statuses(tmp_path / "out") == ["done", "finished before", "finished before"]
    assert output.read_bytes() == whole


def test_the_table_names_no_folder_above_the_trees(run, tree, tmp_path):
    (tree / "sub-02/ses-2/anat/sub-02_ses-2_acq-mprage_T1w.nrrd").write_bytes(b"no image")
    run()
    (tmp_path / "out/sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz").write_bytes(b"whose?")
    (tmp_path / "out/sub-01/anat/sub-01_desc-synthetic_T2w.json").unlink()
    assert run("--seed", "1")[0] == 2
    assert str(tmp_path) not in (tmp_path / "out/synthesis.csv").read_text()
    first, second, third = rows(tmp_path / "out")
    assert first["source"] == "sub-01/anat/sub-01_T1w.nii.gz"
    assert first["output"] == "sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz"
    assert [first["status"], second["status"], third["status"]] == [
        "failed", "made otherwise", "failed",
    ]  # fmt: skip


def test_an_error_of_the_system_names_no_folder_in_the_table(run, tree, tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(volumes, "read_source", refuse)
    assert run()[0] == 2
    table = (tmp_path / "out/synthesis.csv").read_text()
    assert "Permission denied" in table and str(tmp_path) not in table


def test_a_result_whose_sidecar_is_of_an_earlier_version_is_finished(run, tmp_path):
    run()
    sidecar = tmp_path / "out/sub-01/anat/sub-01_desc-synthetic_T2w.json"
    record = json.loads(sidecar.read_text())
    del record["VoxelsSHA256"]
    sidecar.write_text(json.dumps(record))
    assert run()[0] == 0 and statuses(tmp_path / "out") == ["finished before"] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed", "was made with seed 0, not 1; add --overwrite"),
        ("steps", "was made with steps 2, not 1; add"),
        ("samples", "was made with samples 1, not 2; add"),
        ("source", "was made from other voxels than sub-01_T1w.nii.gz has now; add"),
        ("affine", "was made on another grid than sub-01_T1w.nii.gz has now; add"),
        ("weights", "was made with other weights (of tiny-t1w-t2w 1.2.3); add"),
        ("card", "was made with another card (of tiny-t1w-t2w 1.2.3); add"),
        ("result", "was made with other voxels than it has now; add"),
        ("sidecar", "was made without the sidecar that belongs to it; add"),
    ],
)
def test_an_output_of_other_input_weights_or_settings_is_kept_unless_told_otherwise(
    run, tree, tmp_path, make_package, tiny_weights, head, change, said
):
    run()
    options = {"seed": ["--seed", "1"], "steps": ["--steps", "1"], "samples": ["--samples", "2"]}
    options = options.get(change, [])
    output = tmp_path / "out/sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz"
    source = tree / "sub-01/anat/sub-01_T1w.nii.gz"
    if change == "source":
        array = head.array.copy()
        array[5, 6, 4] += 1
        write_volume(head.with_array(array), source, overwrite=True)
    elif change == "affine":
        moved = head.affine.copy()
        moved[0, 3] += 5
        write_volume(type(head)(head.array, moved), source, overwrite=True)
    elif change == "weights":
        weights = {name: array * 2 for name, array in tiny_weights.items()}
        package = make_package(tmp_path / "other", weights)
        options = ["--model", str(package.folder)]
    elif change == "card":
        package = make_package(tmp_path / "other", title="Another title")
        options = ["--model", str(package.folder)]
    elif change == "result":  # by a program that keeps the header
        image = nibabel.load(output)
        values = image.get_fdata(dtype=np.float32)
        values[5, 6, 4] += 1
        nibabel.Nifti1Image(values, image.affine, image.header).to_filename(output)
    elif change == "sidecar":
        output.with_name("sub-01_desc-synthetic_T2w.json").unlink()
    before = output.read_bytes()
    code, table, err = run(*options)
    of_one = change in ("source", "affine", "result", "sidecar")
    others = ["finished before" if of_one else "made otherwise"] * 2
    assert code == 2 and "made otherwise" in table and said in err
    assert err.count("made otherwise: ") == (1 if of_one else 3)
    assert statuses(tmp_path / "out") == ["made otherwise", *others]
    assert output.read_bytes() == before
    assert run(*options, "--overwrite")[0] == 0
    others = ["finished before" if of_one else "done"] * 2
    assert statuses(tmp_path / "out") == ["done", *others]
    assert run(*options)[0] == 0
    assert statuses(tmp_path / "out") == ["finished before"] * 3


def test_a_bad_file_fails_alone_with_its_reason(run, tree, tmp_path, head):
    (tree / "sub-01/anat/sub-01_T1w.nii.gz").write_bytes(b"no image")
    constant = head.with_array(np.full(head.shape, 3.0))
    write_volume(constant, tree / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", overwrite=True)
    code, _, err = run()
    assert code == 2 and err.count("failed: ") == 2
    failed = [row for row in rows(tmp_path / "out") if row["status"] == "failed"]
    assert len(failed) == 2 and "sub-01_T1w.nii.gz" in failed[0]["message"]
    made = [path.name for path in (tmp_path / "out").rglob("*.nii.gz")]
    assert made == ["sub-02_ses-2_acq-mprage_desc-synthetic_T2w.nii.gz"]


def test_a_bug_in_one_file_does_not_stop_the_rest_either(run, tmp_path, monkeypatch):
    honest = engine_module.sha256_of
    calls = []

    def broken(source):
        calls.append(source)
        return honest(source) if len(calls) > 1 else 1 / 0

    monkeypatch.setattr("MambaSynthLib.engine.sha256_of", broken)
    assert run()[0] == 2
    assert sorted(statuses(tmp_path / "out")) == ["done", "done", "failed"]
    assert "ZeroDivisionError" in next(r["message"] for r in rows(tmp_path / "out") if r["message"])


def test_a_foreign_file_in_the_place_of_an_output_is_not_replaced(run, tree, tmp_path):
    output = tmp_path / "out/sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz"
    output.parent.mkdir(parents=True)
    shutil.copy(tree / "sub-01/anat/sub-01_T2w.nii.gz", output)
    before = output.read_bytes()
    assert run()[0] == 2
    assert output.read_bytes() == before
    assert statuses(tmp_path / "out") == ["failed", "done", "done"]


def test_synthetic_volumes_are_no_sources(run, tree, tmp_path):
    run()
    made = tmp_path / "out/sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz"
    shutil.copy(made, tree / "sub-01/anat/sub-01_T1w.nii.gz")
    assert run()[0] == 2
    assert "is synthetic already" in rows(tmp_path / "out")[0]["message"]


def test_impossible_settings_are_refused_before_any_file(run, tmp_path, capsys):
    for options in (["--steps", "9"], ["--samples", "0"], ["--jobs", "0"], ["--device", "cuda:9"]):
        assert run(*options)[0] == 2
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(run, tmp_path, monkeypatch):
    honest, calls = volumes.outcome_of, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return honest(*arguments)

    monkeypatch.setattr(volumes, "outcome_of", interrupted)
    code, _, err = run()
    assert code == 130 and "after 1 of 3 files" in err
    assert statuses(tmp_path / "out") == ["done"]
    monkeypatch.undo()
    run()
    assert statuses(tmp_path / "out") == ["finished before", "done", "done"]


def test_json_lists_every_outcome(run):
    code, out, _ = run("--json")
    assert code == 0
    assert [one["status"] for one in json.loads(out)] == ["done"] * 3


# --- processes ----------------------------------------------------------------------------------


def test_jobs_make_the_same_files_as_one_process(run, tmp_path):
    run()
    alone = {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*.nii.gz")}
    shutil.rmtree(tmp_path / "out")
    assert run("--jobs", "2")[0] == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*.nii.gz")} == alone


def test_a_process_that_dies_costs_one_file(tree, tmp_path, tiny_package, monkeypatch):
    tasks = find_tasks(tree, tmp_path / "out", CONTRASTS)
    monkeypatch.setattr(workers, "_load", load_nothing)
    monkeypatch.setattr(workers, "_work", die_at_the_second_session)
    found = outcomes_of_jobs(Model(tiny_package.folder, "cpu", "torch", Settings(1, 1)), tasks, 1)
    assert sorted(outcome.status for outcome in found) == ["done", "done", "failed"]


def load_nothing(model: Model) -> None:
    """The model takes seconds to load and is not what this is about."""


def die_at_the_second_session(task: Task) -> Outcome:
    if "ses-1" in task.source.name:
        os._exit(9)  # as the kernel does when memory runs out
    return Outcome(str(task.source), str(task.output), "done", 0.0)


@pytest.mark.slow
def test_a_killed_run_is_finished_by_the_same_command(tree, tmp_path, tiny_package):
    words = [sys.executable, "-m", "MambaSynthLib", "synthesize-set", str(tree), "-o",
             str(tmp_path / "out"), "--to", "T2w", "--model", str(tiny_package.folder),
             "--force"]  # fmt: skip
    running = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    while running.poll() is None and not list((tmp_path / "out").rglob("*.nii.gz")):
        time.sleep(0.05)
    running.kill()
    running.wait()
    assert subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
    assert set(statuses(tmp_path / "out")) <= {"done", "finished before"}
    assert len(list((tmp_path / "out").rglob("*_T2w.nii.gz"))) == 3
    assert not list((tmp_path / "out").rglob("*.part"))
