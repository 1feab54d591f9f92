"""The commands beside synthesis: models, info and help."""

import json
import shutil

import numpy as np
import pytest

from MambaSynthLib.cli import COMMANDS
from MambaSynthLib.model.registry import find_model, user_models
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
    assert f"package sha256: {tiny_package.sha256}" in said
    code, said, _ = called(capsys, "models", "verify", "tiny-t1w-t2w")
    assert code == 0 and "tiny-t1w-t2w 1.2.3: sound, 3" in said


def test_verifying_a_model_of_an_unknown_method_says_so(make_package, tmp_path, capsys):
    card = make_package(tmp_path / "p").folder / "model.json"
    card.write_text(card.read_text().replace('"cravim"', '"clairvoyance"'))
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


def test_a_package_with_the_id_of_a_shipped_model_is_not_hidden_but_refused(tmp_path, capsys):
    shipped = find_model("cravim-t1w-t2w-compact").folder
    shutil.copytree(shipped, tmp_path / "copy")
    refused(called(capsys, "models", "import", tmp_path / "copy"), "would hide this one")
    assert not user_models().exists()


def test_an_imported_model_becomes_the_default_only_by_choice_and_can_be_removed(
    tiny_package, capsys
):
    def defaults():
        record = json.loads(called(capsys, "models", "list", "--json")[1])
        return [model["id"] for model in record["models"] if model["default"]]

    others = ["brain-mask", "cravim-head-t2w-t1w", "mstg-cine-compact"]
    shipped = sorted(["cravim-head-t1w-t2w", *others])
    assert defaults() == shipped
    assert called(capsys, "models", "import", tiny_package.folder)[0] == 0
    assert defaults() == shipped
    code, said, _ = called(capsys, "models", "default", "tiny-t1w-t2w")
    assert (code, said) == (0, "tiny-t1w-t2w is now the default for T1w -> T2w\n")
    assert sorted(defaults()) == [*others, "tiny-t1w-t2w"]
    marked = [
        line for line in called(capsys, "models", "list")[1].splitlines() if "(default)" in line
    ]
    assert [line.split()[0] for line in marked] == [*others, "tiny-t1w-t2w"]
    code, said, _ = called(capsys, "models", "remove", "tiny-t1w-t2w")
    assert (code, said) == (0, f"removed {user_models() / 'tiny-t1w-t2w'}\n")
    assert defaults() == shipped


def test_a_default_that_is_gone_is_told_and_the_list_still_works(tiny_package, capsys):
    called(capsys, "models", "import", tiny_package.folder)
    called(capsys, "models", "default", "tiny-t1w-t2w")
    (user_models() / "tiny-t1w-t2w").rename(user_models() / ".away")
    code, said, err = called(capsys, "models", "list")
    assert code == 0 and "cravim-t1w-t2w-compact" in said
    assert "tiny-t1w-t2w: is the default model for T1w -> T2w and is not installed" in err


def test_shipped_and_unknown_models_are_not_removed(capsys):
    refused(called(capsys, "models", "remove", "mstg-cine-compact"), "and only models in")
    refused(called(capsys, "models", "remove", "nonsense"), "nonsense: is no model in")
    refused(called(capsys, "models", "default", "mstg-cine-compac"), "did you mean mstg-cine")
    assert find_model("mstg-cine-compact").folder.is_dir()


def test_info_says_what_is_here(capsys, make_package):
    make_package(user_models() / "tiny")
    code, said, _ = called(capsys, "info", "--json")
    record = json.loads(said)
    assert code == 0 and "tiny-t1w-t2w" in record["models"] and "cpu" in record["devices"]
    assert record["packages"]["numpy"] == np.__version__
    assert record["scan"]["cpu"] == "torch"
    assert str(user_models()) in called(capsys, "info")[1]


def test_info_names_the_scan_that_each_device_would_run(monkeypatch):
    from MambaSynthLib.commands.info import _scan
    from MambaSynthLib.layers import selective_scan

    devices = {"cuda": "torch: A GPU; onnxruntime: X", "cpu": "torch: 2 threads"}
    monkeypatch.setattr(selective_scan, "_mamba_ssm_scan", lambda: None)
    monkeypatch.setattr(selective_scan, "_triton_scan", lambda: print)
    assert _scan(devices) == {"cuda": "triton", "cpu": "torch"}
    monkeypatch.setattr(selective_scan, "_triton_scan", lambda: None)
    assert _scan(devices)["cuda"] == "torch"


@pytest.mark.parametrize("command", [[], *([c] for c in COMMANDS), ["models", "import"]])
def test_each_command_has_help(command, capsys):
    code, said, err = called(capsys, *command, "--help")
    assert code == 0 and "usage: mambasynth" in said and err == ""
