"""A model that makes T1w for heads of which T2w alone is known.

Such a pair has a synthetic source and an acquired target: whoever learns T1w -> T2w from it sees
true T2w of further people and scanners, and what the model got wrong is in the input, where it does
little harm (back-translation; Sennrich et al., ACL 2016). T2w -> T1w learns nothing from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthTraining.data.heads_list import HeadPair
from MambaSynthTraining.export import engine_of
from MambaSynthTraining.run_folder import RUN
from MambaSynthTraining.runs import open_run

DIRECTION = ("T2w",), ("T1w",)


@dataclass(frozen=True)
class SourceModel:
    """T2w -> T1w, and the ids of the heads that its run learned from; of a package nobody knows."""

    name: str
    engine: Engine
    learned: frozenset[str] = frozenset()

    def make(self, target: Volume) -> Volume:
        """T1w on the grid of a T2w volume. Raises VolumeError: it cannot be used."""
        return self.engine.synthesize({"T2w": target}, pixel_mark=False).volumes["T1w"]

    def check_unseen(self, pairs: Iterable[HeadPair], left_out: Iterable[str]) -> None:
        """Raises RequestError: it learned from a person who is left out, of whom its T1w could
        tell.
        """
        missing = set(left_out)
        for pair in pairs:
            names = {pair.id, pair.stripped_id, *pair.lesioned_ids}
            if pair.person in missing and names & self.learned:
                raise RequestError(
                    f"--source-model: {self.name} learned from {pair.person}, who is left out; "
                    "give a run that did not."
                )


def source_model(folder: Path, drafts: Path) -> SourceModel:
    """Of a package, or of a run, whose draft is written into the folder ``drafts``.

    Raises
    ------
    FileError, ModelError: it is damaged.
    RequestError: the folder is neither, or the model has another direction.
    """
    engine = engine_of(folder, drafts / "draft")
    if engine is None:
        raise RequestError(f"--source-model {folder}: give a model package or a run of 'train'.")
    card = engine.card
    if (card.source_contrasts, card.target_contrasts) != DIRECTION:
        raise RequestError(
            f"--source-model {folder}: synthesizes {card.direction}; give one of T2w -> T1w."
        )
    if not (folder / RUN).exists():
        return SourceModel(f"{card.id} {card.version}", engine)
    run = open_run(folder)
    name = f"run {folder.name} ({run.checkpoint_sha256[:12]})"
    return SourceModel(name, engine, frozenset(run.record["heads"]))
