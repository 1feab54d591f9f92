"""The benchmarks are run by hand; that they still fit the library is seen here."""

from __future__ import annotations

import csv
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from MambaSynthTraining.evaluation.marked_text import blocks_of
from Testing.benchmarks import summary

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_finds_what_it_imports(name):
    importlib.import_module(f"Testing.benchmarks.{name}")


def test_a_small_race_of_the_network_prints_its_table_and_writes_it(tmp_path):
    command = [sys.executable, "-m", "Testing.benchmarks.network", "--rounds", "1", "--ngf", "4"]
    command += ["--size", "32", "32", "--out", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", cwd=FOLDER.parents[1],
        env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "scans of ours" in done.stdout
    (table,) = tmp_path.glob("*.csv")
    assert "scans of ours" in table.read_text(encoding="utf-8")
    assert table.with_suffix(".png").stat().st_size > 0


@pytest.mark.parametrize("table", summary.TABLES, ids=lambda table: table.title)
def test_the_columns_that_the_summary_shows_are_columns_of_its_benchmark(table):
    """Without running it: each is a text in the benchmark, or one that every race has."""
    program = (FOLDER / f"{table.command.split()[0]}.py").read_text(encoding="utf-8")
    texts = program + (FOLDER / "race.py").read_text(encoding="utf-8")
    ratios = {name for name in table.columns if name.startswith("times ")}
    assert [name for name in table.columns if f'"{name}"' not in texts and name not in ratios] == []


def write_table(folder, table):
    with open(folder / f"{table.title.replace(' ', '_')}.csv", "w", newline="") as file:
        rows = [["what", *table.columns], ["ours", *["0.12345678"] * len(table.columns)]]
        csv.writer(file).writerows(rows)


def run_summary(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["summary", *map(str, words)])
    return summary.main()


def test_the_summary_writes_the_measured_table_and_leaves_the_others(tmp_path, capsys, monkeypatch):
    former = summary.TABLES_README.read_text(encoding="utf-8")
    readme = tmp_path / "README.md"
    readme.write_text(former)
    table = next(table for table in summary.TABLES if table.title == "startup")
    write_table(tmp_path, table)
    assert run_summary(monkeypatch, tmp_path, "--readme", readme) == 0
    before, after = (
        {block.source: block.text for block in blocks_of(text, "README.md")}
        for text in (former, readme.read_text())
    )
    changed = {source for source in before if before[source] != after[source]}
    assert changed == {summary.source_of(table)}
    assert "| ours | 0.123 |" in after[summary.source_of(table)]
    assert capsys.readouterr().out.strip() == after[summary.source_of(table)]


def test_the_benchmarks_readme_has_a_block_for_every_table():
    text = summary.TABLES_README.read_text(encoding="utf-8")
    sources = [block.source for block in blocks_of(text, "README.md")]
    assert sources == [summary.source_of(table) for table in summary.TABLES]


def test_make_bench_runs_the_command_of_every_table():
    lines = (FOLDER.parents[1] / "Makefile").read_text(encoding="utf-8").replace("\\\n\t  ", "")
    run = lines + lines.replace("$$threads", "1") + lines.replace("$$threads", "2")
    for table in summary.TABLES:
        module, *words = table.command.split()
        assert module in run and " ".join(words) in run


def test_a_folder_without_tables_and_a_readme_without_blocks_are_told(
    tmp_path, capsys, monkeypatch
):
    assert run_summary(monkeypatch, tmp_path) == 2
    assert "make bench" in capsys.readouterr().err
    write_table(tmp_path, summary.TABLES[-1])
    (tmp_path / "README.md").write_text("no marks")
    assert run_summary(monkeypatch, tmp_path, "--readme", tmp_path / "README.md") == 2
    assert "holds 0 blocks of" in capsys.readouterr().err


def test_the_headline_is_made_of_the_tables(tmp_path):
    text = summary.TABLES_README.read_text(encoding="utf-8")
    readme = tmp_path / "README.md"
    cell = "| textbook | "
    assert cell in text
    readme.write_text(text.replace(cell, cell + "777"))
    assert "777" not in summary.headline() and "777" in summary.headline(readme)
