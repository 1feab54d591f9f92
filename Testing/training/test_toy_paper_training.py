"""A new paper is a folder and a line: its training, its package and its use; nothing knows it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from MambaSynthLib.cli import main
from MambaSynthLib.io.files import read_marks, write_volume
from MambaSynthLib.methods import METHODS, MethodSpec
from MambaSynthTraining.data import kinds
from MambaSynthTraining.methods import METHODS as TRAINED
from MambaSynthTraining.methods import Entry
from MambaSynthTraining.record import read_record
from Testing.analytic_heads import analytic_head
from Testing.toy_paper.training.images import FILE

RECIPE = """
method: toy
seed: 3
network: {width: 4}
optimization: {learning_rates: {network: 2.0e-2}}
stages: [{iterations: 120, batch: 4}]
every: {log: 10, save: 60, validate: 120}
"""
DESCRIPTION = ["--id", "toy", "--title", "A toy", "--trained-on", "numbers", "--license", "CC0-1.0"]


@pytest.fixture(autouse=True)
def toy_in_the_catalogues(monkeypatch):
    """What the author of a paper writes outside of its folder."""
    place = "Testing.toy_paper"
    monkeypatch.setitem(METHODS, "toy", MethodSpec("A toy", "Nobody", "contrast", place))
    entry = Entry(f"{place}.training.method:ToyTraining", f"{place}.training.card")
    monkeypatch.setitem(TRAINED, "toy", entry)
    monkeypatch.setitem(kinds.KINDS, "toy", f"{place}.training.images")
    monkeypatch.setitem(kinds.MADE_BY, "toy", "a text editor")


@pytest.fixture
def data(tmp_path):
    """Eight images whose targets are functions of both sources."""
    rng = np.random.default_rng(0)
    sources = rng.uniform(-1, 1, (8, 2, 16, 16)).astype(np.float32)
    first, second = sources[:, 0], sources[:, 1]
    targets = np.stack([-first, (first + second) / 2], axis=1)
    np.savez(tmp_path / FILE, sources=sources, targets=targets)
    (tmp_path / "toy.yaml").write_text(RECIPE)
    return tmp_path


def train(data) -> int:
    run = ["--data", str(data), "--out", str(data / "run"), "--accelerator", "cpu"]
    return main(["train", str(data / "toy.yaml"), *run])


def test_a_paper_with_two_sources_is_trained_exported_used_and_verified(data, capsys):
    assert train(data) == 0
    losses = (data / "run/losses.csv").read_text().splitlines()
    first, last = (float(row.split(",")[-1]) for row in (losses[1], losses[-1]))
    assert last < 0.1 < first
    package = data / "toy"
    assert main(["export", str(data / "run"), str(package), *DESCRIPTION]) == 0
    card = json.loads((package / "model.json").read_text())
    assert card["source_contrasts"] == ["T1w", "PDw"] and card["network"] == {"width": 4}
    assert float(card["scores"][0]["rows"][0]["l1"]) == pytest.approx(last)
    assert main(["card", str(package)]) == 0
    head, output = analytic_head(), data / "sub-1_FLAIR.nii.gz"
    for contrast, computed in (("T1w", "T1w"), ("PDw", "T2w")):
        write_volume(head[computed], data / f"sub-1_{contrast}.nii.gz")
    capsys.readouterr()
    sources = [str(data / "sub-1_T1w.nii.gz"), "--with", f"PDw={data / 'sub-1_PDw.nii.gz'}"]
    used = ["--model", str(package), "--to", "FLAIR", "-o", str(output), "--device", "cpu"]
    assert main(["synthesize", *sources, *used, "--force"]) == 0
    assert main(["verify", str(output)]) == 0
    assert "FLAIR synthesized from T1w + PDw" in capsys.readouterr().out
    assert read_marks(output).provenance.target_contrast == "FLAIR"


def test_a_run_of_it_that_was_cut_short_goes_on_to_the_same_weights(data):
    import torch

    assert train(data) == 0
    whole = torch.load(data / "run/last.ckpt", weights_only=True)["networks"]
    (data / "run").rename(data / "former")
    (data / "run").mkdir()
    for name in ("run.json",):
        (data / "run" / name).write_text((data / "former" / name).read_text())
    record = json.loads((data / "run/run.json").read_text())
    (data / "run/run.json").write_text(json.dumps(record | {"finished": False, "iterations": 60}))
    (data / "run/last.ckpt").write_bytes((data / "former/previous.ckpt").read_bytes())
    assert train(data) == 0
    again = torch.load(data / "run/last.ckpt", weights_only=True)["networks"]
    assert read_record(data / "run")["finished"]
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_its_data_and_the_data_of_others_are_told_apart(data, capsys):
    """The sentence names the new kind by itself."""
    (data / "cravim.yaml").write_text(
        RECIPE.replace("toy", "cravim")
        .replace("network: {width: 4}", "")
        .replace("{network: 2.0e-2}", "{generators: 1.0e-3, discriminators: 1.0e-3}")
        .replace("batch: 4}", "batch: 4, crop: [64, 64]}")
    )
    arguments = ["--data", str(data), "--out", str(data / "run"), "--accelerator", "cpu"]
    assert main(["train", str(data / "cravim.yaml"), *arguments]) == 2
    assert (
        "is a toy data set, but the method cravim learns from contrast" in capsys.readouterr().err
    )


def test_a_value_that_its_own_method_refuses_names_the_recipe(data, capsys):
    (data / "toy.yaml").write_text(RECIPE.replace("width: 4", "width: 0"))
    assert train(data) == 2
    assert "network.width is 0; give at least 1" in capsys.readouterr().err
