"""All nasty inputs, in the order of the table."""

from __future__ import annotations

from Testing.nasty import (
    cine_cases,
    dicom_cases,
    gate_cases,
    nifti_cases,
    program_cases,
    text_cases,
)
from Testing.nasty.case import Case

PARTS = (nifti_cases, text_cases, dicom_cases, cine_cases, gate_cases, program_cases)


def all_cases() -> list[Case]:
    """Raises ValueError where two have one name."""
    found = [case for part in PARTS for case in part.cases()]
    names = [case.name for case in found]
    if len(set(names)) < len(names):
        raise ValueError(f"twice: {sorted({n for n in names if names.count(n) > 1})}")
    return found
