"""The same files through the readers that others use, each in a process that may die."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import re
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from Testing.nasty.case import (
    CRASH,
    HANG,
    NOT_READ,
    REFUSED,
    SILENT,
    WARNED,
    WORKS,
    Case,
    Image,
    same,
)

MOST_SECONDS = 40.0  # altogether, on a machine that others use, too
MOST_MEMORY = 12 * 2**30  # bytes
NOT_OF_FILES = (DeprecationWarning, FutureWarning)
OF_ITSELF = re.compile("nvim", re.IGNORECASE)  # a decoder that MONAI misses, whatever it reads
TO_RAS = np.diag([-1.0, -1, 1, 1])

Read = Callable[[Path], Image | None]  # None: not a format of this reader


def read_with_simpleitk(path: Path) -> Image:
    import SimpleITK

    if path.is_dir():
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        image = reader.Execute()
    else:
        image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    n = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (n, n))
    affine[:3, :3] = direction[:3, :3] * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    values = SimpleITK.GetArrayFromImage(image).T
    return Image(_three(values), TO_RAS @ affine)


def read_with_nibabel(path: Path) -> Image | None:
    import nibabel

    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    image = nibabel.load(path)
    return Image(_three(np.asanyarray(image.dataobj)), image.affine)


def read_with_torchio(path: Path) -> Image:
    import torchio

    image = torchio.ScalarImage(path)
    return Image(image.data.numpy()[0], np.asarray(image.affine))


def read_with_monai(path: Path) -> Image | None:
    from monai.transforms import LoadImage

    if path.suffix in (".mha", ".mhd"):
        return None  # only with itk, which is no part of it
    image = LoadImage(image_only=True, dtype=None)(path)
    return Image(_three(np.asarray(image)), np.asarray(image.affine, dtype=float))


READERS: dict[str, tuple[str, Read]] = {  # heading -> distribution, reader
    "SimpleITK": ("SimpleITK", read_with_simpleitk),
    "nibabel": ("nibabel", read_with_nibabel),
    "TorchIO": ("torchio", read_with_torchio),
    "MONAI": ("monai", read_with_monai),
}


def installed() -> dict[str, str]:
    """Heading -> version of those readers that are here; imported, so that children are quick."""
    found = {}
    with contextlib.suppress(ImportError):
        importlib.import_module("nrrd")  # MONAI's reader of NRRD
    for heading, (distribution, _) in READERS.items():
        try:
            importlib.import_module(distribution)
            found[heading] = importlib.metadata.version(distribution)
        except ImportError:
            continue
    return found


def run_rivals(headings: Sequence[str], case: Case, path: Path) -> dict[str, str]:
    """Heading -> outcome word, from one child; where that dies, from one for each reader."""
    if not case.rivals:
        return dict.fromkeys(headings, NOT_READ)

    def read(*some: str) -> str:
        return in_child(lambda: " ".join(_outcome(READERS[h][1], case, path) for h in some))

    words = read(*headings).split()
    if len(words) < len(headings) or not {CRASH, HANG}.isdisjoint(words):
        words = [read(heading) for heading in headings]
    return dict(zip(headings, words, strict=True))


def in_child(work: Callable[[], str]) -> str:
    """What ``work`` returns in a process of its own; CRASH or HANG where it does not."""
    with tempfile.TemporaryFile("w+") as told:
        child = os.fork()
        if not child:
            try:
                _limit_memory()
                told.write(work())
                told.flush()
                os._exit(0)
            finally:
                os._exit(1)
        end = time.monotonic() + MOST_SECONDS
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return HANG
            time.sleep(0.01)
        told.seek(0)
        return told.read() if done[1] == 0 else CRASH


def _limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))


def _outcome(read: Read, case: Case, path: Path) -> str:
    with tempfile.TemporaryFile() as printed:
        for stream in (1, 2):
            os.dup2(printed.fileno(), stream)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                image = read(path)
            except Exception:
                return REFUSED
        if image is None:
            return NOT_READ
        printed.seek(0)
        told = [str(w.message) for w in caught if not issubclass(w.category, NOT_OF_FILES)]
        told += printed.read().decode("utf-8", "replace").splitlines()
        warned = any(line.strip() and not OF_ITSELF.search(line) for line in told)
    if case.truth is not None and same(image, case.truth):
        return WARNED if warned else WORKS
    return WARNED if warned else SILENT


def _three(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Without trailing axes of size 1."""
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    return values
