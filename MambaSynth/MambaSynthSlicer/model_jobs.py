"""Runs that change the models on this computer, in the child process, which checks each package.

They leave the scene alone. A download may take minutes: like a synthesis it shows its progress and
can be cancelled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MambaSynthLib.errors import RequestError
from MambaSynthLib.model.package import CARD

from . import models
from .worker import Event


class ModelJob:
    """A ``run.Job``: what to ``do`` (fetch, remove, default), with its keys of the protocol."""

    def __init__(self, do: str, **request: Any):
        self.do, self._request = do, request

    def write(self, folder: Path) -> dict[str, Any]:
        return self._request

    def loss(self, atEnd: bool) -> str | None:
        return None

    def place(self, event: Event) -> dict[str, Any]:
        """``told``: the event itself."""
        return {"told": event, "warnings": ()}


class ImportJob(ModelJob):
    """``path``: a folder or a zip file."""

    question = _("{why}\n\nReplace the installed version by this one?")

    def __init__(self, path: Path, replace: bool = False):
        super().__init__("import", path=str(path), replace=replace)

    def insisting(self) -> ImportJob:
        """The same, of a model of which another version is installed."""
        self._request["replace"] = True
        return self

    def place(self, event: Event) -> dict[str, Any]:
        """``model``: the new entry."""
        entry = models.readEntry(Path(event["installed"]) / CARD)
        if entry is None:
            raise RequestError(_("The imported model was removed again; import it once more."))
        return {"model": entry, "warnings": ()}
