"""A person's T1w and T2w volumes from their public home, for ``mambasynth demo --real``.

Patient 19 of the cross-sectional part of the open MS data set, registered to each other and to MNI
space, bias-corrected, skull-stripped, 1 mm; license CC-BY, Laboratory of Imaging Technologies,
University of Ljubljana. The sizes and hashes are those of the files at the commit named here.
"""

from __future__ import annotations

from pathlib import Path

from MambaSynthLib.install.download import PinnedFile, Progress, fetch
from MambaSynthLib.model.registry import user_models

CITATION = (
    "Lesjak Z, Pernus F, Likar B, Spiclin Z. A Novel Public MR Image Dataset of Multiple Sclerosis "
    "Patients With Lesion Segmentations Based on Multi-rater Consensus. Neuroinformatics (2017), "
    "doi:10.1007/s12021-017-9348-7; images under CC-BY."
)
PERSON = "patient 19 of the open MS data set"
HOME = (
    "https://raw.githubusercontent.com/muschellij2/open_ms_data/"
    "65704901f60650824565aa5a4818611aa89716f4/cross_sectional/MNI/patient19/"
)
ENDING = "_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
PAIR = {
    "T1w": PinnedFile(
        f"{HOME}T1{ENDING}",
        4068809,
        "24ea608f6817c9799888491988f9ec9464f0f2faa02f512e8c2e07466f705781",
    ),
    "T2w": PinnedFile(
        f"{HOME}T2{ENDING}",
        4006276,
        "585d38f7c3714594be60d5ebb13b4b20a9294d6804ce2d6e0e8f170f530a87e2",
    ),
}


def pair_folder() -> Path:
    """Where the pair is kept, beside the user's models."""
    return user_models().parent / "heads" / "open-ms-19"


def pair_file(contrast: str) -> Path:
    """Where the T1w or T2w volume is kept."""
    return pair_folder() / f"sub-19_{contrast}.nii.gz"


def fetch_pair(progress: Progress) -> dict[str, Path]:
    """T1w and T2w, fetched where they are not here yet. Raises FileError as ``fetch`` does."""
    return {
        contrast: fetch(pinned, pair_file(contrast), progress) for contrast, pinned in PAIR.items()
    }
