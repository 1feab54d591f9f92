"""The heads of a data set one by one: kept where an earlier run has made them, else made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from MambaSynthLib.commands.console import note
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume
from MambaSynthTraining.data.found import Reading
from MambaSynthTraining.data.heads_list import HeadPair
from MambaSynthTraining.data.heads_set import (
    LESION_SHARE,
    LIST,
    BrainMask,
    Entry,
    make_lesioned,
    make_neck,
    make_pair,
    make_phantom,
    make_transplant,
    read_list_of,
    write_pair,
)
from MambaSynthTraining.data.phantom_subjects import PhantomPlan

if TYPE_CHECKING:
    from MambaSynthTraining.source_model import SourceModel


def known(folder: Path) -> dict[str, Entry]:
    """What an earlier run has made there, by id. Raises FileError: its list is damaged."""
    if not (folder / LIST).exists():
        return {}
    entries = read_list_of(folder)[1]
    return {entry.id: entry for entry in entries if (folder / f"{entry.id}.npz").exists()}


def person_of(plan: PhantomPlan) -> str:
    return f"phantom of {plan.patient}"


@dataclass(frozen=True)
class HeadsMaking:
    """Every method returns entries of ``heads.json``, whose files are in ``folder`` then.

    A head without target needs a ``teacher``, one without source a ``model``: who calls has seen to
    that. Raises FileError, VolumeError: a volume cannot be used.
    """

    folder: Path
    data: Path  # that the list's paths start from
    teacher: BrainMask | None
    model: SourceModel | None
    known: dict[str, Entry]

    def pair(self, pair: HeadPair) -> list[Entry]:
        """A line of the list, with and without its skull."""
        if not pair.target:
            return [self._neck(pair)]
        if not pair.source:
            return self._from_target(pair)
        mask = self.teacher if pair.has_skull else None
        if found := self._kept(pair, mask, ""):
            return found
        note(f"{pair.id}: making")
        return make_pair(self.folder, self.data, pair, mask)

    def lesioned(self, pair: HeadPair, shapes: list[Volume]) -> list[Entry]:
        """A brain once more, with lesions of other people."""
        if not pair.is_brain:
            return []
        if all(name in self.known for name in pair.lesioned_ids):
            made = [self.known[name] for name in pair.lesioned_ids]
        elif made := make_lesioned(self.folder, self.data, pair, shapes):
            note(f"{pair.id}: made {len(made)} times with other people's lesions")
        return [replace(e, **pair.about | {"share": LESION_SHARE * pair.share}) for e in made]

    def transplant(self, pair: HeadPair, host: HeadPair, share: float) -> Entry:
        """A brain in another head."""
        name = pair.transplant_id(host)
        if name in self.known:
            return replace(self.known[name], person=pair.person, host=host.person, share=share)
        assert self.teacher is not None
        note(f"{name}: making")
        return make_transplant(self.folder, self.data, pair, host, self.teacher, share)

    def phantom(self, plan: PhantomPlan, share: float) -> Entry:
        if plan.id in self.known:
            return replace(self.known[plan.id], share=share)
        note(f"{plan.id}: making")
        volumes, whole = plan.read(Reading()), bool(plan.settings()["phantom"]["skull"])
        return make_phantom(self.folder, plan.id, person_of(plan), share, volumes, whole)

    def _neck(self, pair: HeadPair) -> Entry:
        """A head without target."""
        if pair.id in self.known:
            return replace(self.known[pair.id], **pair.about)
        assert self.teacher is not None
        note(f"{pair.id}: making")
        return make_neck(self.folder, self.data, pair, self.teacher)

    def _from_target(self, pair: HeadPair) -> list[Entry]:
        """A head without source. Of a slice alone no brain is found, so that it keeps its skull."""
        assert self.model is not None
        target = read_volume(self.data / pair.target)
        mask = self.teacher if pair.has_skull and min(target.shape) > 1 else None
        if found := self._kept(pair, mask, self.model.name):
            return found
        note(f"{pair.id}: making, T1w by {self.model.name}")
        volumes = self.model.make(target), target
        return write_pair(self.folder, self.data, pair, volumes, mask, self.model.name)

    def _kept(self, pair: HeadPair, mask: BrainMask | None, model: str) -> list[Entry]:
        """What is known of a pair whose source ``model`` made, '' where it was acquired; nothing
        where some of it is missing.
        """
        names = [pair.id, pair.stripped_id] if mask else [pair.id]
        found = [self.known[name] for name in names if name in self.known]
        if len(found) < len(names) or any(entry.source_model != model for entry in found):
            return []
        return [replace(entry, **pair.about) for entry in found]
