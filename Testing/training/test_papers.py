"""What the papers print, and the recipes: each row has its recipe, and its numbers beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from MambaSynthTraining.evaluation.papers import MISSING, cell, papers, printed
from MambaSynthTraining.evaluation.table import to_markdown
from MambaSynthTraining.recipe_file import read_recipe
from MambaSynthTraining.recipe_folder import recipes_folder

TABLES = {name: table for paper in papers().values() for name, table in paper["tables"].items()}
PATHS = [path for name in TABLES for path in sorted((recipes_folder() / name).glob("*.yaml"))]
DIRECTIONS = {
    "ixi": {"T1w -> T2w", "T2w -> T1w"},
    "brats2018": {"T1w -> T2w", "T2w -> T1w"},
    "acdc": {"ED -> ES"},
}
NAMES = {"ixi": "IXI", "brats2018": "BraTS 2018"}  # in the headers of recipes
CLAIM = re.compile(r"(?P<data>IXI|BraTS 2018) (?P<way>\w+ -> \w+), paper: SSIM (?P<ssim>[\d.]+) %")


def identity(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("table", TABLES)
def test_every_recipe_of_a_table_is_a_row_of_its_paper_or_named_as_none(table):
    rows = [stem for row in TABLES[table]["rows"] for stem in row["recipes"]]
    known = [*rows, *TABLES[table]["not printed"]]
    assert len(known) == len(set(known))
    assert {path.stem for path in PATHS if path.parent.name == table} == {*known}


@pytest.mark.parametrize("path", PATHS, ids=identity)
def test_a_recipe_has_the_title_that_the_papers_row_names(path):
    titles = {
        stem: title for row in TABLES[path.parent.name]["rows"]
        for stem, title in row["recipes"].items()
    }  # fmt: skip
    if path.stem in titles:
        title = read_recipe(path).expected["row"].replace(" compact", "")
        assert title == titles[path.stem]


@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_every_data_set_direction_and_column_and_says_what_is_missing(table):
    rows, columns = TABLES[table]["rows"], TABLES[table]["columns"]
    sets = {data for row in rows for data in row if data in DIRECTIONS}
    for row in rows:
        for data in sets:
            assert set(row[data]) == DIRECTIONS[data], (row["row"], data)
            for numbers in row[data].values():
                assert list(numbers) == columns
                assert all(n == MISSING or isinstance(n, float) for n in numbers.values())


@pytest.mark.parametrize("path", PATHS, ids=identity)
def test_what_the_header_of_a_recipe_says_of_the_paper_is_what_the_paper_prints(path):
    text = " ".join(path.read_text("utf-8").replace("\n# ", " ").split())
    for claim in CLAIM.finditer(text):
        data = next(key for key, name in NAMES.items() if name == claim["data"])
        numbers = printed(path.name, data, claim["way"])
        assert numbers is not None and f"{numbers['ssim']:.2f}" == claim["ssim"]


def test_the_headline_rows_state_their_number_in_their_header():
    claimed = {p.stem for p in PATHS if CLAIM.search(" ".join(p.read_text("utf-8").split()))}
    assert {"cravim", "cravim-cycle", "syndiff"} <= claimed


def test_numbers_are_those_of_the_data_set_and_direction_alone():
    assert printed("cravim.yaml", "ixi", "T2w -> T1w")["ssim"] == 81.94
    assert printed("mstg-small", "acdc", "ED -> ES") == printed("mstg.yaml", "acdc", "ED -> ES")
    assert printed("cravim.yaml", "brats2018", "T1w -> T2w")["ssim"] == 92.43
    assert printed("cravim-cycle.yaml", "ixi", "T1w -> T2w") == {"ssim": 75.28}
    for data, way in (("miniature", "T1w -> T2w"), ("ixi", "T1w -> PDw")):
        assert printed("cravim.yaml", data, way) is None
    assert printed("cravim-plus.yaml", "ixi", "T1w -> T2w") is None


def test_a_cell_has_a_dash_for_what_is_missing():
    columns = ("ssim", "nmi", "lpips", "mse")
    assert cell(printed("cravim", "ixi", "T1w -> T2w"), columns) == "78.59 / 1.228 / 0.124 / 0.165"
    assert cell(printed("syndiff", "ixi", "T2w -> T1w"), columns) == "80.18 / - / - / -"
    assert cell(None, columns) == "-"


class Scored:
    """What the table asks of a result."""

    def __init__(self, name: str, recipe: str, data: str, way: tuple[str, str]) -> None:
        self.name, self.subjects = name, ["p1"]
        self.record = {
            "about": {"recipe": recipe}, "seeds": [0], "lpips": "no",
            "slices": {"scored": 3, "canvas": 3},
            "data": {"name": data, "split": "test", "contrasts": list(way)},
        }  # fmt: skip

    def of_subjects(self, measure: str) -> dict[str, float]:
        return {"p1": 0.5}


@pytest.mark.parametrize(("data", "shown"), [("ixi", True), ("miniature", False)])
def test_a_table_shows_the_papers_numbers_for_the_data_set_that_they_belong_to(data, shown):
    rows = [Scored("CRAViM", "cravim.yaml", data, ("T2w", "T1w")),
            Scored("ours", "cravim-plus.yaml", data, ("T2w", "T1w"))]  # fmt: skip
    text = to_markdown(rows, rows[0])
    assert ("81.94 / 1.265 / 0.098 / 0.083" in text) == shown == ("paper: SSIM %" in text)
