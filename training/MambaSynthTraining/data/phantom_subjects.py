"""Phantom heads as a data set: subject n is computed from the label maps in turn."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from MambaSynthLib.errors import RequestError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.phantom.signal_equations import CONTRASTS
from MambaSynthTraining.data.found import Layout, Reading
from MambaSynthTraining.data.label_map import LabelMap
from MambaSynthTraining.data.phantom import phantom_subject, read_label_map
from MambaSynthTraining.data.phantom_config import PhantomConfig
from MambaSynthTraining.data.phantom_tissues import phantom_tissues


@dataclass(frozen=True)
class PhantomPlan:
    """One phantom, not yet computed. Its patient is the label map: anatomy must not leak."""

    id: str
    label_map: Path
    seed: tuple[int, int]
    contrasts: tuple[str, ...]
    config: PhantomConfig
    site: str = ""
    split: str | None = None

    @property
    def patient(self) -> str:
        return self.label_map.name.split(".")[0]

    def sources(self) -> list[Path]:
        return [self.label_map]

    def settings(self) -> dict[str, Any]:
        return {"phantom": asdict(self.config), "seed": list(self.seed)}

    def read(self, reading: Reading) -> dict[str, Volume]:
        """Raises FileError or VolumeError for a label map that cannot be used."""
        labels, affine = read_label_map(self.label_map)
        rng = np.random.default_rng(self.seed)
        return phantom_subject(labels, affine, rng, self.contrasts, self.config)

    def read_mask(self, reading: Reading) -> Volume | None:
        return None

    def read_labels(self, reading: Reading) -> LabelMap | None:
        """The tissues that the contrasts were computed from."""
        rng = np.random.default_rng(self.seed)
        return phantom_tissues(*read_label_map(self.label_map), rng, self.config)


def find(
    folder: Path,
    subjects: int,
    seed: int,
    contrasts: tuple[str, ...],
    config: PhantomConfig,
    skull: float,
) -> Layout:
    """``subjects`` phantoms from the label maps in ``folder``; phantom n has the seed (seed, n).

    ``skull`` is the share of them that keep their skull, spread evenly over the label maps.
    Raises RequestError where there is no label map, or a number that makes no sense.
    """
    maps = sorted(folder.glob("*.nii*"))
    if not maps:
        raise RequestError(f"{folder}: holds no label map (*.nii, *.nii.gz); name another folder.")
    if unknown := [contrast for contrast in contrasts if contrast not in CONTRASTS]:
        raise RequestError(
            f"phantoms have no {', '.join(unknown)}; choose among {', '.join(CONTRASTS)}."
        )
    if subjects < 1 or not 0 <= skull <= 1:
        raise RequestError(
            f"{subjects} phantoms with a share of {skull:g} skulls make no sense; give at least 1 "
            "phantom and a share from 0 to 1."
        )
    plans = []
    for n in range(subjects):
        whole = int((n + 1) * skull + 1e-9) > int(n * skull + 1e-9)
        plans.append(
            PhantomPlan(
                f"phantom-{seed}-{n:04d}", maps[n % len(maps)], (seed, n), contrasts,
                replace(config, skull=whole),
            )
        )  # fmt: skip
    return Layout(plans)
