"""``synthesize-set`` as clusters start it, and what is missing afterwards."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from MambaSynthLib.backends import torch_backend
from MambaSynthLib.commands import synthesize_set
from MambaSynthLib.io.files import write_volume
from Testing.library.cli.command_line import called, unchanged
from Testing.library.clusters import batch, slurm_array, srun, torchrun

COUNT = 7


@pytest.fixture
def tree(tmp_path, head) -> Path:
    """A BIDS tree of seven heads."""
    tree = tmp_path / "bids"
    for n in range(COUNT):
        folder = tree / f"sub-{n:02}/anat"
        folder.mkdir(parents=True)
        write_volume(head.with_array(head.array + (head.array > 0) * n), folder / "x_T1w.nii.gz")
    return tree


@pytest.fixture
def run(tree, tmp_path, tiny_package, capsys, monkeypatch):
    """run(*options, environment={}, what="-o") -> (exit code, stdout, stderr)."""

    def run(*options, environment=None, what="-o"):
        with monkeypatch.context() as patch:
            for name, value in (environment or {}).items():
                patch.setenv(name, value)
            words = [tree, what, tmp_path / "out", "--to", "T2w", "--steps", "1", "--force"]
            words += options
            return called(capsys, "synthesize-set", *words, "--model", tiny_package.folder)

    return run


def rows(folder: Path) -> list[dict[str, str]]:
    """Of all summaries."""
    found = []
    for path in sorted(folder.glob("synthesis*.csv")):
        with open(path, newline="") as file:
            found += list(csv.DictReader(file))
    return found


@pytest.mark.parametrize(
    "processes",
    [[batch(4)], srun(4), slurm_array(range(1, 5)), slurm_array(range(7)), torchrun(2)],
    ids=["sbatch without srun", "srun", "array of 4", "array of 7", "torchrun"],
)
def test_all_processes_together_make_each_file_once(run, tmp_path, processes):
    for environment in processes:
        code, _, err = run(environment=environment)
        assert code == 0 and f" of {COUNT}" in err.splitlines()[0]
    made = rows(tmp_path / "out")
    assert [row["status"] for row in made] == ["done"] * COUNT
    assert len({row["output"] for row in made}) == COUNT
    assert run(what="--status")[0] == 0


@pytest.mark.parametrize(
    ("visible", "devices"),
    [(1, ["cuda", "cuda:0", "cuda:0", "cuda:0"]), (4, ["cuda", "cuda:1", "cuda:2", "cuda:3"]),
     (2, ["cuda", "cuda:1", "cuda:0", "cuda:1"])],
)  # fmt: skip
def test_each_process_of_a_machine_takes_a_gpu_that_it_sees(run, monkeypatch, visible, devices):
    """``srun --gpus-per-task=1`` shows each task one GPU, as number 0; without it, all of them."""
    taken = []
    monkeypatch.setattr(torch_backend, "available_devices", lambda: {"cuda": "", "cpu": ""})
    monkeypatch.setattr(torch_backend, "gpu_count", lambda: visible)

    def outcomes(model, tasks, jobs):
        taken.append(model.device)
        return iter(())

    monkeypatch.setattr(synthesize_set, "_outcomes", outcomes)
    for environment in srun(4):
        assert run(environment=environment)[0] == 0
    assert taken == devices


def test_a_share_can_be_asked_for_and_has_its_own_summary(run, tmp_path):
    code, _, err = run("--share", "2/3")
    assert code == 0 and err.startswith("files 3-4 of 7, share 2 of 3\n")
    assert len(rows(tmp_path / "out")) == 2
    assert (tmp_path / "out/synthesis-2-of-3.csv").exists()


def test_the_status_names_what_is_missing_damaged_or_made_otherwise(run, tree, tmp_path):
    assert run()[0] == 0
    code, said, _ = run(what="--status")
    assert code == 0 and "0 of 7 files are not finished" in said
    out = tmp_path / "out"
    results = sorted(out.rglob("*.nii.gz"))
    shutil.rmtree(results[0].parent)
    results[1].write_bytes(results[1].read_bytes()[:-30])
    (tree / "sub-02/anat/x_T1w.nii.gz").write_bytes(b"no image")
    shutil.copy(tree / "sub-03/anat/x_T1w.nii.gz", tree / "sub-04/anat/x_T1w.nii.gz")
    with unchanged(tmp_path):
        code, said, _ = run(what="--status")
        listed = json.loads(run("--json", what="--status")[1])
    assert code == 3 and "4 of 7 files are not finished" in said
    assert f"missing: {results[0]}" in said and "damaged: " in said and "failed: " in said
    assert "made otherwise: " in said and "from other voxels" in said
    assert [one["status"] for one in listed] == [
        "missing", "damaged", "failed", "finished", "made otherwise", "finished", "finished",
    ]  # fmt: skip


def test_the_status_is_of_the_whole_tree_in_an_array_too_unless_a_share_is_asked_for(run):
    first, second = slurm_array(range(2))
    assert run(environment=first)[0] == 0
    assert run(environment=first, what="--status")[0] == 3
    assert run("--share", "1/2", what="--status")[0] == 0
    assert run("--share", "2/2", "--jobs", "2", what="--status")[0] == 3
    assert run(environment=second)[0] == 0
    assert run(environment=first, what="--status")[0] == 0


def test_the_status_of_an_empty_folder_is_that_all_is_missing_and_nothing_is_made(run, tmp_path):
    code, said, _ = run(what="--status")
    assert code == 3 and "7 of 7 files are not finished" in said
    assert not (tmp_path / "out").exists()


def test_where_results_go_and_whose_status_is_asked_is_one_of_two_options(run, tmp_path):
    assert run("--status", tmp_path)[0] == 2
