"""The models that the panel offers: their cards as text, and deletion.

Cards are only shown here, so ``model.json`` is read without its schema (which needs a package
that Slicer may not have yet); the child process checks card and weights before every use.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MambaSynthLib.errors import ModelError
from MambaSynthLib.model.package import CARD, README, shipped_models
from MambaSynthLib.model.registry import chosen_models, model_folders, user_models

NEEDED = ("id", "title", "version", "source_contrasts", "target_contrasts", "grid")
MEASURES = {"ssim": "SSIM", "psnr": "PSNR"}  # of those in a card; the rest is in its README


@dataclass(frozen=True)
class ModelEntry:
    """What the panel knows of a model package."""

    folder: Path
    card: dict[str, Any]

    @property
    def key(self) -> str:
        return self.card["id"]

    @property
    def title(self) -> str:
        return self.card["title"]

    @property
    def version(self) -> str:
        return self.card["version"]

    @property
    def sources(self) -> list[str]:
        return self.card["source_contrasts"]

    @property
    def targets(self) -> list[str]:
        return self.card["target_contrasts"]

    @property
    def task(self) -> str:
        """``cine`` for the frames between ED and ES, ``mask`` for brain and head, ``contrast`` for
        another contrast.
        """
        return {("cine",): "cine", ("brain", "head"): "mask"}.get(tuple(self.targets), "contrast")

    @property
    def direction(self) -> str:
        """As the library says it."""
        return f"{' + '.join(self.sources)} -> {' + '.join(self.targets)}"

    @property
    def axisCodes(self) -> str:
        return self.card["grid"]["axis_codes"]

    @property
    def allPlanes(self) -> bool:
        """Whether it has learned slices of all three planes."""
        return self.card["grid"].get("planes") == "all"

    @property
    def intervals(self) -> bool:
        """Whether it says of each value how wrong it may be, without noise draws."""
        return bool(self.card.get("network", {}).get("interval"))

    @property
    def deletable(self) -> bool:
        """Imported or downloaded by the user, not part of the extension."""
        return self.folder.parent == user_models()

    @property
    def origin(self) -> str:
        """Who put it there, for people."""
        if self.deletable:
            return _("installed by you")
        shipped = self.folder.parent == shipped_models()
        return _("part of MambaSynth") if shipped else _("in a folder of models")


def available(task: str = "contrast") -> list[ModelEntry]:
    """Every readable card for a task (contrast, cine) in the folders that the library searches,
    each id once, those that were chosen as default first.
    """
    entries: dict[str, ModelEntry] = {}
    for root in model_folders():
        for path in sorted(root.glob(f"*/{CARD}")):
            entry = readEntry(path)
            if entry is not None:
                entries.setdefault(entry.key, entry)
    fitting = [entry for entry in entries.values() if entry.task == task]
    chosen = chosenDefaults()
    return sorted(fitting, key=lambda entry: chosen.get(entry.direction) != entry.key)


def chosenDefaults() -> dict[str, str]:
    """Direction -> id of the model that was chosen for it; none where the choice is damaged."""
    try:
        return chosen_models()
    except ModelError:
        return {}


def readEntry(path: Path) -> ModelEntry | None:
    """None where the file is no card at all: then there is nothing to show."""
    if path.parent.name.startswith("."):
        return None  # being imported at this moment
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    complete = isinstance(card, dict) and all(key in card for key in NEEDED)
    return ModelEntry(path.parent, card) if complete else None


def bytesOnDisk(entry: ModelEntry) -> int:
    return sum(file.stat().st_size for file in entry.folder.rglob("*") if file.is_file())


# ---------------------------------------------------------------------------- cards as text


def cardHtml(entry: ModelEntry) -> str:
    """Title, training data, scores, licence and intended use, for a narrow rich-text label."""
    card = entry.card
    lines = [f"<b>{html.escape(entry.title)}</b>"]
    for label, key in (
        (_("Trained on"), "trained_on"),
        (_("Intended use"), "intended_use"),
        (_("Limits"), "limits"),
        (_("License"), "license"),
    ):
        if card.get(key):
            lines.append(f"<i>{label}:</i> {html.escape(str(card[key]))}")
    scores = "".join(scoresHtml(block) for block in card.get("scores", []))
    return "<br>".join(lines) + scores


def limitsOf(entry: ModelEntry) -> str:
    """What the model cannot do and was not made for, in plain words for a dialog."""
    limits = entry.card.get("limits") or _("Its card states no limits: expect the worst.")
    parts = [str(limits)]
    for label, key in ((_("Trained on"), "trained_on"), (_("Intended use"), "intended_use")):
        if entry.card.get(key):
            parts.append(f"{label}: {entry.card[key]}")
    parts.append(_("A synthetic image can miss a lesion or invent one. Not for diagnosis."))
    return "\n\n".join(parts)


def wholeCard(entry: ModelEntry) -> str:
    """Everything that is told of a model, as Markdown; what it cannot do comes first."""
    try:
        readme = (entry.folder / README).read_text(encoding="utf-8")
    except (OSError, ValueError):
        readme = _("This package has no card to read.")
    title = _("What this cannot do")
    return f"## {title}\n\n{limitsOf(entry)}\n\n---\n\n{readme}"


def scoresHtml(block: dict[str, Any]) -> str:
    """One measurement as a table: the model's rows and those of the trivial baselines."""
    rows = [row for row in block.get("rows", []) if isinstance(row, dict)]
    columns = {key: title for key, title in MEASURES.items() if any(key in row for row in rows)}
    head = "".join(f"<th align='right'>&nbsp;{title}</th>" for title in columns.values())
    body = "".join(rowHtml(row, list(columns)) for row in rows)
    label, data = _("Scores on"), html.escape(str(block.get("data", "")))
    return (
        f"<p><i>{label} {data}:</i></p>"
        f"<table cellspacing='2'><tr><th></th>{head}</tr>{body}</table>"
    )


def rowHtml(row: dict[str, Any], columns: list[str]) -> str:
    cells = "".join(f"<td align='right'>&nbsp;{number(row.get(key))}</td>" for key in columns)
    return f"<tr><td>{html.escape(str(row.get('name', '')))}</td>{cells}</tr>"


def number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) else ""


def noneHtml() -> str:
    return _("No model is installed. Import a model package under <b>Models</b>.")


def noCineHtml() -> str:
    return _("No cine model is installed. Import a model package under <b>Models</b>.")
