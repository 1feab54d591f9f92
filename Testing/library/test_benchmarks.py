"""The benchmarks are run by hand; that they still fit the library is seen here."""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.benchmarks import summary

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_finds_what_it_imports(name):
    importlib.import_module(f"Testing.benchmarks.{name}")


def test_a_small_race_of_the_network_prints_its_table_and_writes_it(tmp_path):
    command = [sys.executable, "-m", "Testing.benchmarks.network", "--rounds", "1", "--ngf", "4"]
    command += ["--size", "32", "32", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parents[1])
    assert done.returncode == 0, done.stderr
    assert "scans of ours" in done.stdout
    (table,) = tmp_path.glob("*.csv")
    assert "scans of ours" in table.read_text()
    assert table.with_suffix(".png").stat().st_size > 0


def write_tables(folder):
    for title, columns in summary.TABLES.items():
        with open(folder / f"{title.replace(' ', '_')}.csv", "w", newline="") as file:
            csv.writer(file).writerows(
                [["what", *columns], ["ours", *["0.12345678"] * len(columns)]]
            )


def test_the_summary_puts_every_table_between_the_marks(tmp_path, capsys, monkeypatch):
    write_tables(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("above\n<!-- bench -->\nformer numbers\n<!-- /bench -->\nbelow\n")
    monkeypatch.setattr(sys, "argv", ["summary", str(tmp_path), "--readme", str(readme)])
    assert summary.main() == 0
    text = readme.read_text()
    assert text.startswith("above\n") and text.endswith("below\n") and "former numbers" not in text
    assert all(f"`{title}`" in text for title in summary.TABLES)
    assert "| ours | 0.123 |" in text
    assert capsys.readouterr().out.strip() in text


def test_the_summary_names_a_table_that_was_not_measured(tmp_path, capsys, monkeypatch):
    write_tables(tmp_path)
    (tmp_path / "startup.csv").unlink()
    monkeypatch.setattr(sys, "argv", ["summary", str(tmp_path)])
    assert summary.main() == 2
    assert "startup.csv" in capsys.readouterr().err
