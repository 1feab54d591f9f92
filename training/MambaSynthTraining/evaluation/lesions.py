"""Whether lesions can be seen: an expert's mask against white and gray matter, in each image.

| measure      | meaning                                                                         |
|--------------|---------------------------------------------------------------------------------|
| over white   | mean brightness of lesions over that of white matter                            |
| over gray    | the same over gray matter; acquired T2w lesions are brighter than it            |
| auc          | how well brightness alone tells a lesion's voxel from white matter, .5 to 1: the|
|              | area under the ROC curve (Mann & Whitney's U), dark lesions of a T1w turned over |

Gray and white matter are those of ``tissues_of`` outside of lesions. A lesion that the source does
not show cannot be bright in the synthetic image.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MambaSynthLib.errors import FileError
from MambaSynthTraining.data.head_tissues import tissues_of

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
LESIONS = "lesions.csv"
MEASURES = ("over white", "over gray", "auc")


def lesion_rows(
    images: Mapping[str, Floats], t1: Floats, brain: Mask, lesions: Mask
) -> Iterator[dict[str, Any]]:
    """One row for each of the ``images`` (name -> (I,J,K)); all arrays lie on one grid."""
    matter = tissues_of(t1, brain & ~lesions)
    for name, image in images.items():
        lesion, gray, white = (image[m] for m in (lesions, matter["gray"], matter["white"]))
        yield {
            "image": name,
            "over white": float(lesion.mean() / white.mean()),
            "over gray": float(lesion.mean() / gray.mean()),
            "auc": _auc(lesion, white),
        }


def _auc(lesion: Floats, white: Floats) -> float:
    from scipy.stats import mannwhitneyu

    share = mannwhitneyu(lesion, white).statistic / (len(lesion) * len(white))
    return float(max(share, 1 - share))


def write_lesions(folder: Path, rows: list[dict[str, Any]]) -> None:
    with open(folder / LESIONS, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ("head", "person", "image", *MEASURES))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


def read_lesions(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder of ``score-heads --lesions``; [] where there were none.

    Raises FileError for a damaged table.
    """
    path = folder / LESIONS
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return [{k: float(v) if k in MEASURES else v for k, v in row.items()} for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise FileError(f"{path}: is no table of 'mambasynth score-heads --lesions'.") from error
