"""The commands beside synthesis: models, info and help."""

import json

import numpy as np
import pytest

from MambaSynthLib.cli import COMMANDS
from MambaSynthLib.model.registry import user_models
from Testing.library.cli.command_line import called, refused


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
