"""Checkpoints are whole: kills, full disks and damage leave one that can be read."""

from __future__ import annotations

import pytest
import torch

from MambaSynthLib.errors import FileError
from MambaSynthTraining.engine import checkpoint as checkpoint_module
from MambaSynthTraining.engine.checkpoint import latest_checkpoint, write_checkpoint
from MambaSynthTraining.run_folder import LAST, PREVIOUS


def test_a_kill_while_saving_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / LAST, {"iteration": 1})

    def killed(old, new) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path / LAST, {"iteration": 2})
    assert latest_checkpoint(tmp_path) == {"iteration": 1}
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_a_full_disk_is_told_and_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / LAST, {"iteration": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module.os, "fsync", full)
    with pytest.raises(FileError, match="last.ckpt: cannot be written .No space left"):
        write_checkpoint(tmp_path / LAST, {"iteration": 2})
    assert latest_checkpoint(tmp_path) == {"iteration": 1}
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


@pytest.mark.parametrize("damage", ["empty", "text", "half", "one bit"])
def test_a_damaged_last_checkpoint_is_told_and_the_previous_taken(tmp_path, damage):
    for iteration in (1, 2):
        content = {"iteration": iteration, "w": torch.full((999,), float(iteration))}
        write_checkpoint(tmp_path / LAST, content)
    whole = (tmp_path / LAST).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damaged = {"empty": b"", "text": b"no checkpoint", "half": whole[: len(whole) // 2]}
    (tmp_path / LAST).write_bytes(damaged.get(damage, bytes(flipped)))
    with pytest.warns(UserWarning, match="last.ckpt: is no whole .*Continuing from previous.ckpt"):
        assert latest_checkpoint(tmp_path)["iteration"] == 1
    (tmp_path / PREVIOUS).write_bytes(b"")
    with (
        pytest.raises(FileError, match="previous.ckpt: is no whole checkpoint"),
        pytest.warns(UserWarning),
    ):
        latest_checkpoint(tmp_path)
