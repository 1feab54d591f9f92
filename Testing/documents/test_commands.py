"""Every fenced command of the READMEs is run by somebody; most of them here, as printed."""

from __future__ import annotations

import re
import tomllib

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from MambaSynthLib.io.files import write_volume
from Testing.analytic_heads import analytic_head
from Testing.documents.commands import CINE_README, READMES, Shell, commands, fences
from Testing.documents.prose import ROOT
from Testing.library.dicom_slices import dicom_series, of_a_person

USE, DICOM, OWN, TABLES, CINE = "use", "DICOM", "train your own", "full size", "cine steps"
SCENES = (USE, DICOM, OWN, TABLES, CINE)  # of this file
SLICER = "Testing/slicer/test_documents.py::test_the_program_of_the_tutorial_runs"
ENGINE = (
    "Testing/library/server/test_serve_listen.py::"
    "test_a_remote_result_is_that_of_this_computer_to_the_byte_and_leaves_nothing_there"
)
SLICES = 6  # of a made-up person; a data set wants five
RUN_BY = {
    "README.md": {
        "make demo": "make demo",
        "make test": "make test",
        "pip install '.[synthesize,report]'": "make demo",
        "mambasynth synthesize T1.nii.gz": USE,
        "python: from mambasynth import Engine, model_for, read_volume, write_volume": USE,
    },
    "MambaSynthLib/README.md": {
        "mambasynth synthesize SERIES": DICOM,
        "mambasynth dicom T2.nii.gz": DICOM,
        "mambasynth verify T2_DICOM": DICOM,
        "mambasynth mask T1.nii.gz": USE,
        "mambasynth serve --listen": ENGINE,
        "mambasynth synthesize T1.nii.gz": ENGINE,
        "python: from mambasynth import admit, read_volume": USE,
    },
    "MambaSynth/README.md": {"python: from MambaSynth import MambaSynthLogic": SLICER},
    "training/README.md": {
        "pip install '.[train]'": "make test",
        "mambasynth dataset paired": OWN,
        "mambasynth train training/recipes/cravim-compact.yaml": OWN,
        "mambasynth evaluate-set trivial --data PREPARED": OWN,
        "mambasynth evaluate-set RUN": OWN,
        "mambasynth export RUN": OWN,
        "make tables": "make tables",
        "mambasynth dataset ixi": TABLES,
        "mambasynth dataset brats2018": TABLES,
        "mambasynth dataset reggan-npy": TABLES,
        "mambasynth reproduce": TABLES,
        "mambasynth train training/recipes/table1/cravim.yaml": TABLES,
        "torchrun": TABLES,
        "mambasynth evaluate-set runs/cravim": TABLES,
        "mambasynth evaluate-set trivial     --data ixi": TABLES,
        "mambasynth report": TABLES,
        "python -m Testing.benchmarks.neighbors": "make bench-neighbors",
    },
    CINE_README: {
        "make tables-cine": "make tables-cine",
        "mambasynth beating-heart": CINE,
        "mambasynth heart-motion": CINE,
        "mambasynth train": CINE,
        "mambasynth evaluate-set": CINE,
        "mambasynth reproduce": CINE,
        "mambasynth export": CINE,
    },
}  # the beginning of a command -> a scene of this file, a make target, or another test


def runner_of(name: str, command: str) -> str:
    """The longest beginning that fits decides."""
    fitting = [start for start in RUN_BY[name] if command.startswith(start)]
    return RUN_BY[name][max(fitting, key=len)] if fitting else ""


def of_scene(scene: str) -> list[str]:
    return [c for name in READMES for c in commands(name) if runner_of(name, c) == scene]


@pytest.mark.parametrize("name", READMES)
def test_every_fenced_command_is_run_by_somebody(name):
    assert [command for command in commands(name) if not runner_of(name, command)] == []
    unused = [
        start
        for start in RUN_BY[name]
        if not any(
            runner_of(name, c) == RUN_BY[name][start] and c.startswith(start)
            for c in commands(name)
        )
    ]
    assert unused == []


def test_whoever_runs_a_command_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for runner in {runner for table in RUN_BY.values() for runner in table.values()}:
        if runner.startswith("make "):
            assert re.search(rf"^{runner[5:]}:", makefile, re.M), runner
        elif "::" in runner:
            path, _, test = runner.partition("::")
            assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8")
        else:
            assert runner in SCENES


@pytest.mark.parametrize("name", READMES)
def test_what_a_readme_installs_a_make_target_installs_too(name):
    """All of an extra's packages are in what make demo or make test puts into its environment."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]

    def closure(names: list[str]) -> set[str]:
        found = set()
        for extra in names:
            for line in extras[extra]:
                inner = re.fullmatch(r"mambasynth\[(.+)\]", line)
                found |= closure(inner[1].split(",")) if inner else {line}
        return found

    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    made = closure([e for found in re.findall(r"-e '\.\[(.+?)\]'", makefile)
                    for e in found.split(",")])  # fmt: skip
    for command in commands(name):
        for found in re.findall(r"^pip install '\.\[(.+?)\]'", command):
            assert closure(found.split(",")) <= made


# --- scenes -------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def save_head(path, contrast, seed):
    """A stripped head of ellipsoids with 24 slices of 192 x 160 pixels, 1 x 1 x 4 mm."""
    from made_up_heads import LAS, head

    small = head(contrast, seed, stripped=True).array[..., 4:28]
    array = ndimage.zoom(small, (4, 4, 1), order=0).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, LAS @ np.diag([0.25, 0.25, 1, 1])), path)


def test_the_lines_that_use_the_library_run_as_printed(shell):
    write_volume(analytic_head()["T1w"], shell.folder / "T1.nii.gz")
    for line in of_scene(USE):
        if not line.startswith("python: "):
            shell.type(line)
    for name in ("README.md", "MambaSynthLib/README.md"):
        (program,) = (code for language, code in fences(name) if language == "python")
        (shell.folder / "program.py").write_text(program)
        shell.type("python program.py")
    for name in ("T2_synthetic.nii.gz", "report.png", "T2.nii.gz", "BRAIN.nii.gz", "HEAD.nii.gz"):
        assert (shell.folder / name).is_file()


def test_the_lines_about_dicom_run_as_printed(shell):
    head = analytic_head()["T1w"]
    scaled = head.with_array(head.array * (1000 / head.array.max()))
    dicom_series(shell.folder / "SERIES", [scaled], change=of_a_person)
    for line in of_scene(DICOM):
        shell.type(line)
    folders = [shell.folder / name for name in ("T2_DICOM", "T2_LATER")]
    first, second = ([path.read_bytes() for path in sorted(f.iterdir())] for f in folders)
    assert first == second and len(first) == head.shape[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_lines_that_train_your_own_run_as_printed(shell):
    for n in range(6):
        for contrast in ("T1w", "T2w"):
            save_head(shell.folder / f"DATA/{n}/{contrast[:2]}.nii.gz", contrast, n)
    for line in of_scene(OWN):
        shell.type(line)
    assert (shell.folder / "models/my-model/model.json").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_lines_of_the_tables_at_full_size_run_as_printed(shell):
    layouts = {"ixi": ixi_folder, "brats2018": brats_folder, "reggan-npy": reggan_folder}
    for line in of_scene(TABLES):
        for layout, write in layouts.items():
            if line.startswith(f"mambasynth dataset {layout} "):
                write(shell.folder / "FOLDER")
        shell.type(line)
    assert (shell.folder / "tables-ixi/table1/table.md").is_file()
    assert (shell.folder / "report/table.md").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_lines_of_the_cine_steps_run_as_printed(shell):
    write_stacks(shell.folder / "scd_lvsegs.npz")
    for line in of_scene(CINE):
        shell.type(line)
    assert "(ours)" in (shell.folder / "OUT/cine/table.md").read_text(encoding="utf-8")
    assert (shell.folder / "FOLDER/model.json").is_file()


def ixi_folder(folder):
    for n in range(6):
        for kind in ("T1", "T2"):
            name = f"IXI{n + 2:03}-Guys-08{n:02}-{kind}.nii.gz"
            save_head(folder / f"IXI-{kind}" / name, f"{kind}w", n)


def brats_folder(folder):
    names = {"T1w": "t1", "T2w": "t2", "FLAIR": "flair", "PDw": "t1ce"}
    for n in range(6):
        subject = f"Brats18_TCIA01_{n + 100}_1"
        for contrast, name in names.items():
            place = folder / "MICCAI_BraTS_2018_Data_Training/HGG" / subject
            save_head(place / f"{subject}_{name}.nii.gz", contrast, n)


def reggan_folder(folder):
    for split, subjects in (("train2D", range(4)), ("test2D", range(4, 6))):
        for side in "AB":
            (folder / split / side).mkdir(parents=True, exist_ok=True)
            for n in subjects:
                tissue = np.random.default_rng(n).uniform(-0.8, 1, (SLICES, 140, 130))
                stack = np.full((SLICES, 256, 256), -1.0, np.float32)
                stack[:, 60:200, 60:190] = tissue
                for k, image in enumerate(stack, start=50):
                    np.save(folder / split / side / f"{n}_{k}.npy", image)


def write_stacks(path):
    """Made-up ventricles in the layout of the file of Sunnybrook stacks."""
    y, x = np.mgrid[:64, :64] - 31.5
    distance = np.hypot(y, x)
    images, walls, ranges = [], [], []
    for patient in range(45):
        first = len(images)
        for radius in np.linspace(13, 7, 8):
            wall = (distance >= radius) & (distance < radius + 6)
            noise = np.random.default_rng([patient, len(images)]).random((64, 64))
            pool = 400.0 * (distance < radius)
            images.append(
                np.maximum(300 * ndimage.gaussian_filter(noise, 2) + pool - 100 * wall, 0)
            )
            walls.append(wall)
        ranges.append((first, len(images)))
    np.savez(path, images=np.float32(images), segs=np.uint8(walls), caseIndices=ranges,
             caseVoxelSize=np.tile([1.4, 1.4, 8.0], (len(images), 1)))  # fmt: skip
