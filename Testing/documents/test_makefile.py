"""Targets of the Makefile that are resumed: run with a program that only says what it was asked."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from Testing.documents.prose import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")


@pytest.fixture
def asked(tmp_path):
    """Runs a target in an environment of its own; the lines that ``mambasynth`` was given."""
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    (tmp_path / "venv" / "test.done").touch()
    (folder / "activate").write_text(f'PATH="{folder}:$PATH"\n')
    (folder / "mambasynth").write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/asked"\n')
    (folder / "mambasynth").chmod(0o755)

    def run(target, *variables):
        command = ["make", "--old-file", f"{tmp_path}/venv/test.done", target, *variables]
        done = subprocess.run(
            [*command, f"VENV={tmp_path}/venv"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / "asked").read_text().splitlines()
        (tmp_path / "asked").unlink()
        return lines

    return run


def test_the_hearts_of_tables_cine_are_made_once(asked, tmp_path):
    out = tmp_path / "out"
    assert asked("tables-cine", f"OUT={out}") == ["beating-heart", "reproduce"]
    (out / "data").mkdir(parents=True)
    (out / "data" / "dataset.json").touch()
    assert asked("tables-cine", f"OUT={out}") == ["reproduce"]
