"""BraTS 2018: {HGG,LGG}/Brats18_X/Brats18_X_{t1,t1ce,t2,flair,seg}.nii.gz, people with gliomas.

240 x 240 x 155 voxels of 1 mm, registered and skull-stripped by the organizers, so nothing is
registered here; a subject whose contrasts differ in their grid is refused. The last number of the
name counts visits, the word after ``Brats18_`` is the institution. May not be passed on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.found import Layout, VolumeFiles
from MambaSynthTraining.data.globbed import complete

SEGMENTATION = "seg"
TUMOR = {1: "core without enhancement", 2: "edema", 4: "enhancing tumor"}  # of the organizers
SUFFIX = {"T1w": "t1", "T1ce": "t1ce", "T2w": "t2", "FLAIR": "flair"}
NAME = re.compile(r"(?P<patient>Brats18_(?P<site>[^_]+).*?)(_\d+)?")


def find(folder: Path, contrasts: Sequence[str]) -> Layout:
    """The subjects below the HGG and LGG folders in ``folder`` (or one folder further down).

    Raises RequestError for a contrast that BraTS lacks, and where there is no subject at all.
    """
    if unknown := [contrast for contrast in contrasts if contrast not in SUFFIX]:
        raise RequestError(f"BraTS has no {', '.join(unknown)}; choose among {', '.join(SUFFIX)}.")
    places = [*folder.glob("[HL]GG/Brats18_*"), *folder.glob("*/[HL]GG/Brats18_*")]
    places = sorted(place for place in places if place.is_dir())
    if not places:
        raise RequestError(
            f"{folder}: holds no folder such as HGG/Brats18_2013_2_1; name the folder that holds "
            "HGG and LGG."
        )
    folders = {place.name: place for place in places}
    files: dict[str, dict[str, list[Path]]] = {}
    for place in places:
        for contrast in contrasts:
            named = sorted(place.glob(f"{place.name}_{SUFFIX[contrast]}.nii*"))
            files.setdefault(place.name, {}).setdefault(contrast, []).extend(named)
    found, skipped = complete(files, contrasts)
    subjects = []
    for id, images in found.items():
        match = NAME.fullmatch(id)
        patient, site = (match["patient"], match["site"]) if match else (id, "")
        labels = next(iter(sorted(folders[id].glob(f"{id}_{SEGMENTATION}.nii*"))), None)
        subjects.append(
            VolumeFiles(id, images, patient, site, stripped=True, labels=labels, names=TUMOR)
        )
    return Layout(subjects, skipped)
