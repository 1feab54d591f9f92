"""A run that imports a model package. The child process checks it: that needs PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MambaSynthLib.errors import RequestError
from MambaSynthLib.model.package import CARD

from . import models
from .worker import Event


class ImportJob:
    """A ``run.Job`` that leaves the scene alone. ``path``: a folder or a zip file."""

    do = "import"

    def __init__(self, path: Path):
        self.path = path

    def write(self, folder: Path) -> dict[str, Any]:
        return {"path": str(self.path)}

    def loss(self, atEnd: bool) -> str | None:
        return None

    def place(self, event: Event) -> dict[str, Any]:
        """``model``: the new entry."""
        entry = models.readEntry(Path(event["installed"]) / CARD)
        if entry is None:
            raise RequestError(_("The imported model was removed again; import it once more."))
        return {"model": entry, "warnings": ()}
