"""The slices of a prepared data set, with their names: in pairs, or each contrast on its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from MambaSynthLib.errors import FileError
from MambaSynthTraining.data.prepared import PreparedSubject
from MambaSynthTraining.data.slices import SlicePairs, Slices, StoredSlices, following


def all_paired(subjects: Iterable[PreparedSubject]) -> bool:
    """Whether the slices of each subject correspond, as ``dataset`` noted."""
    return all(subject.attributes.get("paired") is True for subject in subjects)


def side_of(subjects: Iterable[PreparedSubject], contrast: str) -> Slices:
    """All slices of one contrast, of those subjects that have it."""
    people = [subject for subject in subjects if contrast in subject.contrasts]
    names, follows = [], []
    for subject in people:
        places, known = _places(subject, contrast)
        names += [f"{subject.id}, slice {place}" for place in places]
        follows += following(places) if known else [False] * len(places)
    return Slices(StoredSlices([s.slices(contrast) for s in people]), names, follows)


def pairs_of(subjects: Sequence[PreparedSubject], source: str, target: str) -> SlicePairs:
    """The slices that both contrasts of a subject have, matched by where they were cut.

    Raises FileError: it is not known where, and there are more of one contrast.
    """
    kept_a, kept_b, names, follows = [], [], [], []
    for subject in subjects:
        (a, known_a), (b, known_b) = (_places(subject, c) for c in (source, target))
        if not (known_a and known_b) and len(a) != len(b):
            raise FileError(
                f"{subject.id}: is marked as paired, but has {len(a)} slices of {source} and "
                f"{len(b)} of {target}; make the data set again."
            )
        shared = sorted({*a} & {*b})
        kept_a.append([a.index(place) for place in shared])
        kept_b.append([b.index(place) for place in shared])
        names += [f"{subject.id}, slice {place}" for place in shared]
        follows += following(shared) if known_a and known_b else [False] * len(shared)
    first, second = ([s.slices(c) for s in subjects] for c in (source, target))
    return SlicePairs(StoredSlices(first, kept_a), StoredSlices(second, kept_b), names, follows)


def _places(subject: PreparedSubject, contrast: str) -> tuple[list[int], bool]:
    """Where along the volume each slice was cut, and whether that is known; else 0, 1, ..."""
    places = subject.attributes.get("slices", {}).get(contrast)
    if places is None:
        return list(range(subject.slices(contrast).shape[0])), False
    return [int(place) for place in places], True
