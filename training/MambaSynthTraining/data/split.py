"""Who trains, who validates, who tests: people, never slices.

Everything of one patient (sessions, phantoms of one label map) stays together. The split is drawn
among the people that were found, before any image is read, so that it does not depend on which of
them turn out to be unusable.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from MambaSynthLib.errors import FileError, RequestError
from MambaSynthTraining.data.dataset_files import SPLITS

Split = dict[str, list[str]]  # split -> patients
PAPER_SIZES = (25, 5, 10)  # train, validation, test of CRAViM and SynDiff


def first_in_order(patients: Sequence[str]) -> Split:
    """SynDiff's split, icon-lab/SynDiff issue 13: the first 40 in alphabetical order, 25:5:10.

    Fewer than 40 are divided in the same proportion, still in order.
    """
    used = sorted(patients)[: sum(PAPER_SIZES)]
    train, validation, _ = _sizes(len(used))
    return {
        "train": used[:train],
        "validation": used[train : train + validation],
        "test": used[train + validation :],
    }


def at_random(patients: Sequence[str], seed: int, sites: Mapping[str, str] | None = None) -> Split:
    """All patients, shuffled by ``seed`` and divided 25:5:10.

    With ``sites`` (patient -> site) each site is spread over the splits in the same proportion,
    to within one patient.
    """
    shuffled = sorted(patients)
    random.Random(seed).shuffle(shuffled)
    if sites is not None:
        shuffled.sort(key=lambda patient: sites[patient])  # stable: random within a site
    _, validation, test = _sizes(len(shuffled))
    tested = _every(len(shuffled), test)
    split: Split = {"train": [], "validation": [], "test": []}
    split["test"] = [p for p, chosen in zip(shuffled, tested, strict=True) if chosen]
    others = [p for p, chosen in zip(shuffled, tested, strict=True) if not chosen]
    for patient, chosen in zip(others, _every(len(others), validation), strict=True):
        split["validation" if chosen else "train"].append(patient)
    return split


def _every(length: int, count: int) -> list[bool]:
    """``count`` times True, spread evenly over ``length`` places."""
    return [(k + 1) * count // length > k * count // length for k in range(length)]


def _sizes(count: int) -> tuple[int, int, int]:
    """``count`` in the proportion 25:5:10, nobody left without one. Raises RequestError below 3."""
    if count < 3:
        raise RequestError(
            f"{count} usable patient{'s' * (count != 1)} cannot be divided into train, validation "
            "and test; add patients, or put all in one split with --split train."
        )
    whole = sum(PAPER_SIZES)
    validation, test = (max(1, round(count * size / whole)) for size in PAPER_SIZES[1:])
    return count - validation - test, validation, test


def from_file(path: Path, patient_of: Mapping[str, str]) -> Split:
    """The split in a JSON file {"train": [...], "validation": [...], "test": [...]}.

    Entries are patients or subjects (``patient_of`` knows both), or what ``splits.json`` of another
    prepared data set holds. Patients that it does not name are left out.

    Raises
    ------
    FileError: no such JSON, or an unknown patient.
    RequestError: a patient is in two splits.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        split = {
            name: [one["subject"] if isinstance(one, dict) else str(one) for one in data[name]]
            for name in SPLITS
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path}: is no split (JSON with the lists train, validation, test; {error}); correct "
            "it or use --split first40, random, train, validation or test."
        ) from error
    strangers = sorted({one for named in split.values() for one in named} - set(patient_of))
    if strangers:
        raise FileError(
            f"{path}: names {', '.join(strangers[:5])}, of which there are no images; correct the "
            "split or name another folder of images."
        )
    split = {
        name: list(dict.fromkeys(patient_of[one] for one in named))  # two sessions, one patient
        for name, named in split.items()
    }
    check_disjoint(split)
    return split


def check_disjoint(split: Mapping[str, Sequence[str]]) -> None:
    """Raises RequestError when a patient is named in two splits, or twice in one."""
    seen: dict[str, str] = {}
    for name in SPLITS:
        for patient in split.get(name, ()):
            if patient in seen:
                raise RequestError(
                    f"{patient}: is in the splits {seen[patient]} and {name}; a person may be in "
                    "one only, remove the other."
                )
            seen[patient] = name
