"""Checkpoints, written whole or not at all; the one before the last is kept in case of damage."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.atomic import telling
from MambaSynthTraining.run_folder import LAST, PREVIOUS

DIGEST = 32  # bytes of SHA-256 after the checkpoint; torch reads past them


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Replace the checkpoint at ``path``; a kill at any moment leaves the old or the new one.

    Raises FileError when the disk does not take it; then the old one is still there.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue()
    temporary = path.with_suffix(".part")
    try:
        with telling(path):
            with open(temporary, "wb") as file:
                file.write(data + hashlib.sha256(data).digest())
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.exists():
                os.replace(path, path.with_name(PREVIOUS))
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU. Raises FileError when one byte of it is damaged."""
    try:
        data = path.read_bytes()
        if hashlib.sha256(data[:-DIGEST]).digest() != data[-DIGEST:]:
            raise ValueError("its checksum is wrong")
        content: dict[str, Any] = torch.load(
            io.BytesIO(data[:-DIGEST]), map_location="cpu", weights_only=True
        )
        return content
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        reason = str(error).partition("\n")[0]
        raise FileError(
            f"{path}: is no whole checkpoint ({type(error).__name__}: {reason}); remove it to "
            "start anew."
        ) from error


def latest_checkpoint(run: Path) -> dict[str, Any] | None:
    """What to continue from, or None for a new run.

    A damaged last checkpoint is told and the one before it taken. Raises FileError when both are.
    """
    present = [run / name for name in (LAST, PREVIOUS) if (run / name).exists()]
    for n, path in enumerate(present):
        try:
            return read_checkpoint(path)
        except FileError as error:
            if n + 1 == len(present):
                raise
            warnings.warn(f"{error} Continuing from {present[n + 1].name}.", stacklevel=2)
    return None
