"""A small part of what ``make fuzz``, ``make kills`` and ``make canaries`` do for minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from Testing.nasty import canaries
from Testing.nasty.fuzz import run_round
from Testing.nasty.fuzz_targets import TARGETS
from Testing.nasty.kills import KilledRuns, KilledTrainings, kill
from Testing.nasty.ours import Models

posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and forks of POSIX")


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.timeout(120)
def test_nonsense_gives_a_result_or_one_sentence(name: str, tmp_path: Path) -> None:
    run_round(*TARGETS[name](tmp_path), number=17, examples=60)


def test_an_answer_of_two_lines_would_be_found(tmp_path: Path) -> None:
    strategy, _ = TARGETS["serve"](tmp_path)

    def check(value: object) -> None:
        raise KeyError("two\nlines")

    with pytest.raises(KeyError):
        run_round(strategy, check, number=17, examples=5)


@posix
@pytest.mark.timeout(240)
def test_runs_that_are_killed_leave_whole_files_and_the_next_one_clears_up(tmp_path: Path) -> None:
    assert kill(KilledRuns(tmp_path), seed=17, kills=8).killed == 8


@posix
@pytest.mark.timeout(240)
def test_a_training_that_is_killed_again_and_again_ends_with_the_same_weights(
    tmp_path: Path,
) -> None:
    assert kill(KilledTrainings(tmp_path), seed=17, kills=2).finished >= 1


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models.made_in(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("run", range(12))
def test_a_patient_is_named_nowhere(run: int, tmp_path: Path, models: Models) -> None:
    assert canaries.leaks_of(run, tmp_path, models) == []


def test_a_patient_who_is_named_would_be_found(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    def telling(source: Path, out: Path, models: Models) -> list[str]:
        (out / "table.csv").write_text(canaries.NUMBER)
        return ["verify", "x.nii"]

    monkeypatch.setattr(canaries, "COMMANDS", (telling,))
    assert canaries.leaks_of(0, tmp_path, models) == ["in out/table.csv of verify"]
