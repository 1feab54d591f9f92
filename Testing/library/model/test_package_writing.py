"""A model package is written complete or not at all, and the same each time."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from MambaSynthLib.backends import torch_backend
from MambaSynthLib.errors import ModelError
from MambaSynthLib.model.card import WEIGHTS
from MambaSynthLib.model.package import CARD, read_package, shipped_models, write_package


@pytest.mark.parametrize("existing", ["folder", "file", "dangling link"])
def test_a_folder_that_exists_is_not_replaced(existing, tmp_path, make_package):
    folder = tmp_path / "p"
    if existing == "folder":
        folder.mkdir()
    elif existing == "file":
        folder.write_text("mine")
    else:
        folder.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"p: exists already"):
        make_package(folder)
    assert os.path.lexists(folder) and (existing != "file" or folder.read_text() == "mine")


@pytest.mark.parametrize("failing", [WEIGHTS, CARD, "README.md", "replace", "interrupt"])
def test_a_failure_in_the_middle_of_writing_leaves_nothing(
    failing, tmp_path, make_package, monkeypatch
):
    def refuse(self, *args, **kwargs):
        if failing == "replace" or self.name == failing:
            raise OSError(28, "No space left on device")
        if failing == "interrupt":
            raise KeyboardInterrupt
        return original[0](self, *args, **kwargs)

    place = os if failing == "replace" else Path
    name = {WEIGHTS: "write_bytes", "replace": "replace", "interrupt": "write_bytes"}.get(
        failing, "write_text"
    )
    original = [getattr(place, name)]
    monkeypatch.setattr(place, name, refuse)
    home = tmp_path / "home"
    with pytest.raises((ModelError, KeyboardInterrupt), match="No space left|^$"):
        make_package(home / "p")
    assert list(home.iterdir()) == []


def test_a_package_cannot_be_written_where_a_file_is_in_the_way(tmp_path, make_package):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match=r"cannot be written \(.+\)"):
        make_package(tmp_path / "file" / "p")


def test_a_card_that_breaks_the_schema_is_not_written(tmp_path, make_package, card, tiny_weights):
    with pytest.raises(ModelError, match="does not describe a model package"):
        make_package(tmp_path / "p", id="../p")
    with pytest.raises(ModelError, match="NaN"):
        write_package(tmp_path / "p", card | {"training": {"rate": float("nan")}}, tiny_weights, "")
    assert not (tmp_path / "p").exists()


def test_the_same_weights_give_the_same_bytes(tmp_path, make_package):
    first, second = make_package(tmp_path / "a"), make_package(tmp_path / "b")
    assert first.weights_sha256 == second.weights_sha256
    assert (first.folder / CARD).read_bytes() == (second.folder / CARD).read_bytes()


def test_arrays_of_any_memory_layout_are_written_as_they_read(tmp_path, make_package, tiny_weights):
    weights = {n: np.array(a, order="F") for n, a in tiny_weights.items()}
    package = make_package(tmp_path / "p", weights)
    read = load((package.folder / WEIGHTS).read_bytes())
    assert all(np.array_equal(read[n], tiny_weights[n]) for n in tiny_weights)


def test_every_shipped_package_is_sound():
    folders = sorted(path.parent for path in shipped_models().glob(f"*/{CARD}"))
    if not folders:
        pytest.skip("models/ holds no package yet")
    for folder in folders:
        package = read_package(folder)
        assert package.card.id == folder.name and package.describe()
        assert json.loads((folder / CARD).read_text())["files"][WEIGHTS]["bytes"] == (
            (folder / WEIGHTS).stat().st_size
        )
        torch_backend.load_network(package, "cpu")
