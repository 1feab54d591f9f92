"""What the gate says of every case, as a table by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from MambaSynthLib.gate.network import Gate
from MambaSynthLib.gate.verdict import DOUBTFUL, FITS, REFUSED, examine
from MambaSynthTraining.gate.cases import Case

ANSWERS = (FITS, DOUBTFUL, REFUSED)


@dataclass
class Scores:
    """How often each answer was given, by kind of case; and each wrong answer in words."""

    counts: dict[tuple[str, bool], Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def __add__(self, other: Scores) -> Scores:
        counts = {kind: Counter(own) for kind, own in self.counts.items()}
        for kind, own in other.counts.items():
            counts.setdefault(kind, Counter()).update(own)
        return Scores(counts, [*self.wrong, *other.wrong])

    def total(self, fits: bool) -> int:
        """The number of cases that do (not) fit."""
        return sum(own.total() for (_, own_fits), own in self.counts.items() if own_fits == fits)

    def share_let_in(self, fits: bool) -> float:
        """Of all cases that do (not) fit, the share that passed without a word."""
        let_in = sum(own[FITS] for (_, own_fits), own in self.counts.items() if own_fits == fits)
        return let_in / max(self.total(fits), 1)

    def summary(self) -> str:
        """The two shares that count, in a sentence."""
        alarms, caught = 1 - self.share_let_in(True), 1 - self.share_let_in(False)
        return (
            f"Caught: {caught:.1%} of {self.total(False)} unsuitable volumes; "
            f"false alarms: {alarms:.1%} of {self.total(True)} suitable ones."
        )


def score(cases: Iterable[Case], gate: Gate) -> Scores:
    """The answers to all cases."""
    scores = Scores()
    for case in cases:
        verdict = examine(case.volume, case.contrast, gate)
        counts = scores.counts.setdefault((case.kind, case.fits), Counter())
        counts[verdict.answer] += 1
        if (verdict.answer == FITS) != case.fits:
            scores.wrong.append(f"{case.kind}: {case.volume.name}: {verdict.sentence()}")
    return scores


def table(scores: Scores) -> str:
    """Markdown: one row a kind, those that fit first, and the two shares that count."""
    lines = ["| given | n | fits | doubtful | refused |", "|---|---|---|---|---|"]
    for (kind, _), counts in sorted(scores.counts.items(), key=lambda item: not item[0][1]):
        answers = " | ".join(str(counts[answer]) for answer in ANSWERS)
        lines.append(f"| {kind} | {counts.total()} | {answers} |")
    return "\n".join([*lines, "", scores.summary()])
