"""Are the voxels of an image those that were written? Its sidecar keeps their hash.

Formats without a checksum of their own take a flipped bit for a voxel, and so does a program that
changes an image but not its marks.
"""

from __future__ import annotations

from pathlib import Path

from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.files import VOXELS, hash_of_frames, read_volume, sha256_of
from MambaSynthLib.io.formats import suffix_of
from MambaSynthLib.io.marks import read_record, sidecar_of


def voxels_are_as_written(path: Path) -> bool | None:
    """None where no sidecar beside the image keeps their hash.

    Raises FileError for an image that cannot be read to its last voxel.
    """
    record = read_record(sidecar_of(path)) if suffix_of(path) else {}
    kept = record.get(VOXELS)
    if not isinstance(kept, str):
        return None
    times = record.get("TriggerTimesMs")
    if isinstance(times, list) and len(times) > 1:
        return kept == hash_of_frames(map(sha256_of, read_cine(path).frames))
    return kept == sha256_of(read_volume(path))
