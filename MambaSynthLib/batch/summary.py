"""What became of many files: a table on the screen, and one row for each file in a CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from MambaSynthLib.batch.volumes import Outcome
from MambaSynthLib.io.atomic import write_whole
from MambaSynthLib.io.payload import printable

MOST_NAMED = 20  # files; a long list would hide what comes before it
COLUMNS = ("source", "output", "status", "seconds", "message")


def write_summary(path: Path, outcomes: Sequence[Outcome], folder: Path) -> None:
    """One row for each outcome: sources below ``folder``, outputs below that of ``path``.

    What lies above them may name a person, and tables are passed on. Raises FileError where the
    file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for outcome in outcomes:
        source = Path(outcome.source).relative_to(folder).as_posix()
        output = Path(outcome.output).relative_to(path.parent).as_posix()
        writer.writerow(outcome.to_dict() | {"source": source, "output": output})
    write_whole(path, text.getvalue().encode("utf-8", "backslashreplace"))


def print_counts(outcomes: Sequence[Outcome]) -> None:
    """How many of each status, and their seconds."""
    from rich.console import Console
    from rich.table import Table

    table = Table("outcome", "files", "seconds", title="synthesize-set")
    for status, count in sorted(Counter(outcome.status for outcome in outcomes).items()):
        seconds = sum(outcome.seconds for outcome in outcomes if outcome.status == status)
        table.add_row(status, str(count), f"{seconds:.1f}")
    Console().print(table)


def print_unfinished(unfinished: Sequence[Outcome], total: int) -> None:
    """Each file that is missing or otherwise not finished, up to a number, and how many are."""
    for outcome in unfinished[:MOST_NAMED]:
        print(f"{outcome.status}: {printable(outcome.message or outcome.output)}")
    if len(unfinished) > MOST_NAMED:
        print(f"and {len(unfinished) - MOST_NAMED} more; --json lists all")
    print(f"{len(unfinished)} of {total} files are not finished")
