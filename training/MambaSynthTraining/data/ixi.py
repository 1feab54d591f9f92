"""IXI: IXI002-Guys-0828-T1.nii.gz, healthy people of three London sites, not registered.

Sites: Guys (Philips 1.5 T), HH (Philips 3 T), IOP (GE 1.5 T). T1 is stored sagittal, T2 and PD
axial. A subject is the first three parts of the name, a patient the first. CC BY-SA 3.0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.found import Layout, VolumeFiles
from MambaSynthTraining.data.globbed import Glob, complete, with_masks

SUFFIX = {"T1w": "T1", "T2w": "T2", "PDw": "PD"}
NAME = re.compile(
    r"(?P<id>(?P<patient>IXI\d+)-(?P<site>[^-]+)-[^-]+)-(?P<kind>T1|T2|PD)\.nii(\.gz)?"
)


def find(folder: Path, contrasts: Sequence[str], masks: Glob | None = None) -> Layout:
    """The people under ``folder`` (at any depth) who have all ``contrasts``.

    Raises RequestError for a contrast that IXI lacks, and where there is no image at all.
    """
    if unknown := [contrast for contrast in contrasts if contrast not in SUFFIX]:
        raise RequestError(f"IXI has no {', '.join(unknown)}; choose among {', '.join(SUFFIX)}.")
    wanted = {SUFFIX[contrast]: contrast for contrast in contrasts}
    files: dict[str, dict[str, list[Path]]] = {}
    about: dict[str, re.Match[str]] = {}
    for path in sorted(folder.rglob("IXI*")):
        match = NAME.fullmatch(path.name)
        if match and match["kind"] in wanted:
            files.setdefault(match["id"], {}).setdefault(wanted[match["kind"]], []).append(path)
            about[match["id"]] = match
    if not files:
        raise RequestError(
            f"{folder}: holds no image such as IXI002-Guys-0828-T1.nii.gz; unpack IXI-T1.tar and "
            "IXI-T2.tar there."
        )
    found, skipped = complete(files, contrasts)
    brains, without = with_masks(found, masks)
    subjects = [
        VolumeFiles(id, found[id], about[id]["patient"], about[id]["site"], mask=mask)
        for id, mask in brains.items()
    ]
    return Layout(subjects, skipped + without)
