"""Who the subjects of a data set are: no name and no image twice, each person in one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from MambaSynthLib.errors import RequestError
from MambaSynthTraining.data.dataset_files import SPLITS
from MambaSynthTraining.data.found import Found, hash_of_file
from MambaSynthTraining.data.split import at_random, check_disjoint, first_in_order, from_file

if TYPE_CHECKING:
    from MambaSynthTraining.data.set_options import SetOptions


def check_names(found: Sequence[Found]) -> None:
    seen = set()
    for one in found:
        if one.id in seen:
            raise RequestError(f"{one.id}: is the name of two subjects; rename one of them.")
        seen.add(one.id)


def hash_sources(found: Sequence[Found]) -> dict[str, dict[str, str]]:
    """Subject -> folder/file -> sha256 of its bytes; '' for a file that cannot be read."""
    with ThreadPoolExecutor(4) as pool:
        listed = pool.map(
            lambda one: {f"{p.parent.name}/{p.name}": hash_of_file(p) for p in one.sources()}, found
        )
        return {one.id: hashes for one, hashes in zip(found, listed, strict=True)}


def leave_copies_out(
    found: Sequence[Found], hashes: Mapping[str, Mapping[str, str]]
) -> tuple[list[Found], list[tuple[str, str]]]:
    """Without subjects one of whose files is, byte for byte, that of another patient.

    Raises RequestError where the layout itself has put the two into different splits.
    """
    owner: dict[str, Found] = {}
    kept, copies = [], []
    for one in found:
        others = [owner[sha] for sha in hashes[one.id].values() if sha in owner]
        other = next((o for o in others if o.patient != one.patient), None)
        if other is None:
            kept.append(one)
            owner |= {sha: one for sha in hashes[one.id].values() if sha}
        elif other.split != one.split:
            raise RequestError(
                f"{one.id} in {one.split} and {other.id} in {other.split} are the same image; a "
                "person may be in one split only, remove the copy."
            )
        else:
            copies.append((one.id, f"is a copy of {other.id}"))
    return kept, copies


def split_people(found: Sequence[Found], request: SetOptions) -> dict[str, str]:
    """Patient -> split: the layout's, or by the rule. Who lacks a contrast can only train."""
    given = {one.patient: one.split for one in found if one.split}
    found = [one for one in found if not one.split][: request.limit or None]
    if not found:
        return given
    whole = {one.patient for one in found if set(request.contrasts) <= set(one.contrasts)}
    partial = {one.patient for one in found} - whole
    if request.split in SPLITS:
        split = {request.split: sorted(whole | partial)}
    elif request.split == "first40":
        split = first_in_order(sorted(whole))
    elif request.split == "random":
        sites = {one.patient: one.site for one in found} if request.by_site else None
        split = at_random(sorted(whole), request.seed, sites)
    else:
        patient_of = {key: one.patient for one in found for key in (one.id, one.patient)}
        split = from_file(Path(request.split), patient_of)
        partial = set()
    if request.split in ("first40", "random"):
        split["train"] = [*split["train"], *sorted(partial)]
    check_disjoint(split)
    return given | {patient: name for name, patients in split.items() for patient in patients}
