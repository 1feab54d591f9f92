"""The tables at the top of the methods, from a paper's words to our code, name what is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from Testing.documents.prose import ROOT

METHODS = ROOT / "MambaSynthLib/methods"
PAPERS = ("cravim", "mstg")
NAME = re.compile(r"``([\w./]+)``")
PLACES = (METHODS, METHODS.parent, ROOT / "training", ROOT / "training/MambaSynthTraining")


def named(paper: str) -> list[str]:
    """The code names of the second column; a name alone belongs to the file named before it."""
    text = ast.get_docstring(ast.parse((METHODS / paper / "__init__.py").read_text("utf-8")))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [name for row in rows for name in NAME.findall(row.split("|")[2])]


def files_of(paper: str, name: str) -> list[Path]:
    """Where a file of that name may be."""
    beside = [ROOT / "training/MambaSynthTraining" / kind / paper for kind in ("contrast", "cine")]
    return [p / name for p in (METHODS / paper, *beside, *PLACES) if (p / name).is_file()]


@pytest.mark.parametrize("paper", PAPERS)
def test_every_name_of_the_table_is_there(paper):
    sources, missing = [], []
    for name in named(paper):
        if name.endswith((".py", ".yaml")):
            found = files_of(paper, name)
            sources += found
            missing += [] if found else [name]
            continue
        module, *parts = name.split(".")
        found = files_of(paper, f"{module}.py") if parts else sources
        wanted = parts or [module]
        texts = [path.read_text("utf-8") for path in found]
        if not any(all(re.search(rf"\b{part}\b", text) for part in wanted) for text in texts):
            missing.append(name)
    assert missing == []
    assert len(named(paper)) > 8


def test_a_name_that_is_nowhere_would_be_found():
    assert files_of("mstg", "no_such_file.py") == []
    assert files_of("mstg", "losses.py") and files_of("cravim", "evss.py")
