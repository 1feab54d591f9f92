"""The cine model that comes with MambaSynth: its card, its table, and a real short-axis stack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from MambaSynthLib.cine.engine import CineEngine
from MambaSynthLib.cli import main
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.methods.mstg.warp import jacobian_determinant
from MambaSynthLib.model.package import read_package, shipped_models
from MambaSynthLib.model.registry import cine_model

ROOT = Path(__file__).resolve().parents[2]
ID = "mstg-cine-compact"
OURS = "MSTG+ compact (ours)"


def _is_row(line: str) -> bool:
    return line.startswith("|") and " ± " in line


@pytest.fixture(scope="module")
def package():
    return read_package(shipped_models() / ID)


@pytest.fixture(scope="module")
def rows(package):
    (score,) = package.card.scores
    return {row["name"]: row for row in score["rows"]}


def test_the_command_line_lists_it_and_takes_it_for_cines(capsys):
    assert main(["models", "list", "--json"]) == 0
    assert ID in capsys.readouterr().out
    assert cine_model().card.id == ID


def test_its_weights_are_small_and_in_half_precision(package):
    assert (package.folder / "weights.safetensors").stat().st_size < 3_000_000


def test_its_table_has_every_method_and_is_that_of_the_training_folder(rows):
    readme = (ROOT / "training/MambaSynthTraining/cine/README.md").read_text(encoding="utf-8")
    own = readme.partition("### On the hearts before them")[2].partition("\n## ")[0]
    lines = {line.split("|")[1].strip(): line for line in own.splitlines() if _is_row(line)}
    assert set(rows) == set(lines) and len(rows) == 9
    for name, row in rows.items():
        cells = [cell.strip() for cell in lines[name].split("|")[2:]]
        assert cells[0].startswith(f"{row['psnr']:.2f} ±"), name
        assert cells[1].startswith(f"{row['ssim']:.4f} ±"), name
        assert cells[2].startswith(f"{row['nmse']:.4f} ±"), name


@pytest.mark.parametrize("other", ["no motion", "linear blend", "VoxelMorph", "MSTG"])
def test_it_beats_doing_nothing_blending_and_the_published_methods(rows, other):
    for score in ("psnr", "ssim"):
        assert rows[OURS][score] > rows[other][score]
        assert rows[other][f"p_{score}"] < 0.05
    assert rows[OURS]["folding_percent"] < 0.1


def test_it_is_3_db_better_than_plain_mstg(rows):
    assert rows[OURS]["psnr"] > rows["MSTG"]["psnr"] + 3


def test_its_card_says_that_the_motion_was_made(package):
    assert "not acquired" in package.card.trained_on
    assert "Sunnybrook" in " ".join(package.card.extra["attribution"])
    assert "diagnosis" in package.card.intended_use
    assert "not on patients" in package.card.extra["limits"]


@pytest.fixture(scope="module")
def stack() -> Path:
    folder = ROOT / "../shared/data/heart_sax_dicom/DicomData"
    if not folder.is_dir():
        pytest.skip("needs the real short-axis stack in ../shared")
    return folder


def test_a_real_stack_becomes_a_cine_on_its_grid_with_its_times(stack, tmp_path, capsys):
    out = tmp_path / "cine.nii.gz"
    assert main(["cine", str(stack), "--frames", "5", "-o", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    acquired, made = read_cine(stack), read_cine(out, allow_synthetic=True)
    assert len(made.frames) == 5 and record["acquired"] == [1, 5]
    np.testing.assert_allclose(made.frames[0].affine, acquired.frames[0].affine, atol=1e-3)
    assert set(np.round(acquired.times_ms, 1)) <= set(np.round(record["times_ms"], 1))
    assert all(np.isfinite(frame.array).all() for frame in made.frames)


def test_the_wall_of_a_real_stack_moves_and_does_not_fold(package, stack):
    ed, es = read_cine(stack).frames[:2]
    fields = CineEngine(package, "cpu").synthesize(ed, es, [0.5, 1], with_fields=True).fields
    assert np.abs(fields).max() > 1  # voxels
    folded = jacobian_determinant(torch.from_numpy(fields)) <= 0
    assert folded.float().mean() < 1e-3
