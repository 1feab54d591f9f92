"""Each nasty input does what it must: it works, is warned of, or is refused in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.nasty.case import Case
from Testing.nasty.ours import Models, run_ours
from Testing.nasty.suite import all_cases

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models.made_in(tmp_path_factory.mktemp("models"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name[:60])
def test_a_nasty_input_ends_as_it_must(
    case: Case, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user-data"))
    outcome = run_ours(case, folder, models)
    assert outcome.word == case.wanted, outcome.said


@pytest.mark.timeout(120)
def test_the_table_is_made_where_several_threads_compute() -> None:
    """Each input runs in a forked child, which must not wait for threads of its parent."""
    done = subprocess.run(
        [sys.executable, "-m", "Testing.nasty", "--only", "a qform alone"],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
