"""The table of nasty inputs: one row each, one column a reader, and a summary above."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from Testing.nasty.case import BAD, NOT_READ, REFUSED, SILENT, WARNED, WORKS, Case

OURS = "MambaSynth"
WORDS = (WORKS, WARNED, REFUSED, *BAD)
MISSING = "not installed"

Row = tuple[Case, Mapping[str, str]]  # heading -> outcome word


def table_of(rows: Sequence[Row], versions: Mapping[str, str], headings: Sequence[str]) -> str:
    """Markdown. ``versions`` of those readers that were here."""
    titles = [f"{name} {versions.get(name, '')}".strip() for name in headings]
    lines = [
        f"{len(rows)} inputs. Of those that are files of images, to each reader:",
        "",
        _line(["", *titles]),
        _line(["---"] * (len(titles) + 1)),
        *(_line([word, *counts]) for word, counts in _summary(rows, versions, headings)),
        "",
    ]
    for group in dict.fromkeys(case.group for case, _ in rows):
        mine = [(case, words) for case, words in rows if case.group == group]
        shown = [n for n in headings if n == OURS or any(w[n] != NOT_READ for _, w in mine)]
        lines += [f"**{group}**", "", _line([f"{len(mine)} inputs", *shown])]
        lines += [_line(["---"] * (len(shown) + 1))]
        for case, words in mine:
            lines.append(_line([_plain(case.what), *(_strong(words[n]) for n in shown)]))
        lines.append("")
    return "\n".join(lines).strip()


def _summary(
    rows: Sequence[Row], versions: Mapping[str, str], headings: Sequence[str]
) -> list[tuple[str, list[str]]]:
    files = [words for case, words in rows if case.rivals]
    counts = {name: Counter(words[name] for words in files) for name in headings}
    found = []
    for word in (*WORDS, NOT_READ):
        cells = [
            str(counts[name][word]) if name == OURS or name in versions else MISSING
            for name in headings
        ]
        if word in (WORKS, WARNED, REFUSED, SILENT) or any(c not in ("0", MISSING) for c in cells):
            found.append((_strong(word) if word != NOT_READ else "not its format", cells))
    return found


def _strong(word: str) -> str:
    return f"**{word}**" if word in BAD else word


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
