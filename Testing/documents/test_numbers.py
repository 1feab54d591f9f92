"""A number in a README was printed by a command, and the README says by which."""

from __future__ import annotations

import importlib.util
import re
import shlex

import pytest

from MambaSynthLib.cli import build_parser
from MambaSynthLib.errors import FileError
from MambaSynthLib.model.package import read_package, shipped_models
from MambaSynthTraining.evaluation.marked_text import (
    FROM,
    MADE,
    blocks_of,
    check_block,
    put_into_block,
)
from MambaSynthTraining.package_card import MADE_BY, readme_of, worth
from Testing.benchmarks import summary
from Testing.documents.prose import ROOT, markdown_files, stray_numbers

FILES = markdown_files()
PACKAGES = sorted(path.parent for path in shipped_models().glob("*/model.json"))
MADE_BLOCKS = [
    (path.relative_to(ROOT).as_posix(), block.source)
    for path in FILES
    for block in blocks_of(path.read_text(encoding="utf-8"), path.name)
    if block.kind == MADE
]


def block(name: str, command: str) -> str:
    blocks = blocks_of((ROOT / name).read_text(encoding="utf-8"), name)
    (found,) = (block.text for block in blocks if (block.kind, block.source) == (MADE, command))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_measured_number_stands_outside_a_mark(path):
    assert stray_numbers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("name", "command"), MADE_BLOCKS)
def test_the_command_of_every_mark_exists(name, command):
    program, *words = shlex.split(command.partition(" (table")[0])
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    elif program == "mambasynth":
        (commands,) = (a for a in build_parser([])._actions if a.dest == "command")
        assert words[0] in commands.choices
    else:
        assert (program, words[0]) == ("python", "-m")
        assert importlib.util.find_spec(words[1]) is not None


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_the_readme_of_a_model_is_what_the_command_makes_of_its_card(folder):
    assert (folder / "README.md").read_text(encoding="utf-8") == readme_of(read_package(folder))


def test_the_models_of_the_readme_are_worth_what_their_cards_say():
    assert block("README.md", MADE_BY) == worth([read_package(folder) for folder in PACKAGES])


def test_the_speed_in_the_readme_is_that_of_the_benchmarks_tables():
    assert block("README.md", summary.HEADLINE) == summary.headline()


@pytest.mark.parametrize(
    "text",
    ["It reaches 36.2 dB.", "in 7 minutes", "3 to 7 minutes", "SSIM of 0.936", "Dice 0.79",
     "1.3 MB", "34.8 ms", "35.3 times faster", "20x", "12 % of it",
     "a table | 0.1934 |", "3 s a head"],
)  # fmt: skip
def test_a_measured_number_is_seen(text):
    assert stray_numbers(text)
    assert not stray_numbers(f"<!-- made by: make bench -->\n{text}\n<!-- /made -->")
    assert not stray_numbers(f"see `{text}`")


@pytest.mark.parametrize(
    "text",
    ["1 mm voxels", "Python 3.11", "128 x 128 pixels", "two cores", "11,765,711 parameters",
     "version 1.1.0", "doi:10.1007/s12021-017-9348-7", "10 x 20", "exit code 2",
     "SSIM, PSNR and 3"],
)  # fmt: skip
def test_settings_and_names_need_no_mark(text):
    assert stray_numbers(text) == []


@pytest.mark.parametrize(
    "text",
    ["<!-- made by: make x -->", "<!-- /made -->", "<!-- from: a paper -->1 %<!-- /made -->",
     "<!-- made by: a -->\n<!-- made by: b -->\n<!-- /made -->"],
)  # fmt: skip
def test_a_mark_without_its_partner_is_refused(text):
    with pytest.raises(FileError, match="mark"):
        blocks_of(text, "README.md")


def test_a_source_is_named_where_numbers_are_not_ours():
    (found,) = blocks_of("<!-- from: Table 1 -->SSIM 78.59<!-- /from -->", "README.md")
    assert (found.kind, found.source, found.text) == (FROM, "Table 1", "SSIM 78.59")


@pytest.mark.parametrize(("name", "command"), MADE_BLOCKS)
def test_a_command_finds_its_block_once(name, command):
    check_block(ROOT / name, command)


def test_numbers_quoted_from_a_command_are_no_block_that_it_writes(tmp_path):
    quoted = "<!-- from: make x -->took 7 minutes<!-- /from -->"
    file = tmp_path / "README.md"
    file.write_text(f"{quoted}\n<!-- made by: make x -->\nold\n<!-- /made -->\n")
    put_into_block(file, "make x", "new")
    assert file.read_text() == f"{quoted}\n<!-- made by: make x -->\nnew\n<!-- /made -->\n"
