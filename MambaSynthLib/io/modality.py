"""Which kind of machine made an image, where a file says so.

Source: DICOM PS3.3 C.7.3.1.1.1 (Modality); dcm2niix keeps it in the sidecar of a NIfTI file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.payload import printable

NOT_MR = ("CR", "CT", "DX", "IO", "IVUS", "MG", "NM", "OCT", "OPT", "PT", "PX", "RF", "RTDOSE",
          "RTIMAGE", "SC", "SEG", "SM", "US", "XA")  # fmt: skip


def check_modality(modality: str, name: str) -> tuple[str, ...]:
    """Refuse what another machine made; note a modality that says nothing, such as a workstation's.

    Raises FileError.
    """
    if modality.upper() in NOT_MR:
        raise FileError(
            f"{name}: is no MR image (its modality is {modality.upper()}); use an acquired MR "
            "series, or correct the modality where it is wrong."
        )
    if modality.upper() == "MR":
        return ()
    return (f"modality: the series says {printable(modality[:16])}, not MR",)


def check_record(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """``check_modality`` of what the sidecar of the image ``name`` says, if anything."""
    modality = record.get("Modality")
    if not isinstance(modality, str) or not modality:
        return ()
    return check_modality(modality, name)
