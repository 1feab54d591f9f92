"""Every nasty input through our command and, where it is a file of an image, through the readers
that others use: a table.

    python -m Testing.nasty [--readme Testing/nasty/README.md] [--only WORDS]

Exits with 1 where ours does not do what it must.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from MambaSynthTraining.evaluation.marked_text import check_block, put_into_block
from Testing.nasty.case import Case
from Testing.nasty.ours import Models, Outcome, run_ours
from Testing.nasty.rivals import READERS, in_child, installed, run_rivals
from Testing.nasty.suite import all_cases
from Testing.nasty.table import MISSING, OURS, table_of

COMMAND = "make nasty"
FIRST = ("NIfTI: a qform alone", "cine: four frames with times in a 4-D file")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--readme", type=Path)
    parser.add_argument("--only", default="", help="a part of the names of the inputs")
    options = parser.parse_args()
    if options.readme:
        check_block(options.readme, COMMAND)
    torch.set_num_threads(1)  # a forked child waits for ever for its parent's pool of threads
    cases = [case for case in all_cases() if options.only in case.name]
    versions = installed()
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_DATA_HOME"] = f"{name}/user-data"
        models = Models.made_in(Path(name) / "models")
        for case in (case for case in all_cases() if case.name in FIRST):
            run_ours(case, _fresh(Path(name) / case.command), models)  # children need not import
        for number, case in enumerate(cases):
            folder = Path(name) / str(number)
            ours = _ours(case, folder / "ours", models)
            words = {OURS: ours.word} | _rivals(case, folder / "theirs", versions)
            rows.append((case, words))
            if ours.word != case.wanted:
                wrong += 1
                print(f"{case.name}: {ours.word}, not {case.wanted}: {ours.said}", file=sys.stderr)
    text = table_of(rows, versions, (OURS, *READERS))
    print(text)
    if options.readme:
        put_into_block(options.readme, COMMAND, text)
    print(f"{len(rows) - wrong} of {len(rows)} as they must be", file=sys.stderr)
    return int(wrong > 0)


def _ours(case: Case, folder: Path, models: Models) -> Outcome:
    """In a child, for the day when one of these crashes or hangs us."""
    folder.mkdir(parents=True)

    def work() -> str:
        outcome = run_ours(case, folder, models)
        return json.dumps([outcome.word, outcome.said])

    told = in_child(work)
    return Outcome(*json.loads(told)) if told.startswith("[") else Outcome(told)


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _rivals(case: Case, folder: Path, versions: Mapping[str, str]) -> dict[str, str]:
    path = case.make(_fresh(folder)) if case.rivals else folder
    here = [heading for heading in READERS if heading in versions]
    return dict.fromkeys(READERS, MISSING) | run_rivals(here, case, path)


if __name__ == "__main__":
    sys.exit(main())
