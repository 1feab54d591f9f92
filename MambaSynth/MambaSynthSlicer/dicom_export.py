"""A synthetic node of the scene as a DICOM series, by the library's own writer.

It runs in Slicer's process: pydicom comes with Slicer, the export dialog waits for an answer, and
a series is written in seconds. The series goes to the study and the patient of the series that its
source was loaded from; where there was none, to those that somebody names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MambaSynthLib.errors import FileError, MambaSynthError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.dicom_bare import bare_series
from MambaSynthLib.io.dicom_series import Series, open_series, series_of
from MambaSynthLib.io.dicom_writing import write_dicom
from MambaSynthLib.provenance import UNCERTAINTY, Provenance

from . import dicom_source, mrml, sequences


class ExportError(MambaSynthError):
    """The node cannot become a DICOM series."""


def exported(node: Any) -> Any:
    """What is exported for ``node``: the whole cine for what shows one of its frames."""
    sequence = sequences.sequenceOf(node)
    marked = sequence is not None and mrml.isSynthetic(sequence)
    return sequence if marked else node


def isExportable(node: Any) -> bool:
    """Whether it is synthetic, so that no other exporter should have it."""
    return node is not None and mrml.isSynthetic(exported(node))


def sourceSeries(node: Any) -> Series | None:
    """The series of the DICOM database that ``node`` was synthesized from, or None.

    Raises FileError where it is there but cannot be used.
    """
    files = dicom_source.filesOf(exported(node))
    return series_of(files, node.GetName(), allow_synthetic=False) if files else None


def chosenSeries(folder: Path) -> Series:
    """The series in a folder that the user names. Raises FileError."""
    return open_series(folder, allow_synthetic=False)


def namedSeries(node: Any, identity: Mapping[str, str]) -> Series:
    """No series, but a patient and a study by name. Raises FileError where the ID is missing, and
    ExportError as ``placeOf``.
    """
    shape = framesOf(exported(node))[0].GetImageData().GetDimensions()
    return bare_series(placeOf(node), shape, identity, node.GetName())


def export(node: Any, parent: Path, series: Series) -> list[Path]:
    """Write ``node`` into a new folder in ``parent``; returns its files.

    Raises ExportError (it is no image of ours, or was moved), VolumeError (other grid than the
    series) or FileError (cannot be written).
    """
    whole = exported(node)
    provenance = recordOf(whole)
    if series.in_files:
        checkUnmoved(node)
    affine = mrml.ijkToRas(framesOf(whole)[0]) if series.in_files else placeOf(node)
    images = [volumeOf(frame, affine, node.GetName()) for frame in framesOf(whole)]
    try:
        return write_dicom(images, freshFolder(parent, provenance), series, provenance)
    except ImportError as error:
        message = _("{name} cannot be written as DICOM: Slicer lacks the package {package}.")
        told = message.format(name=node.GetName(), package=error.name or "pydicom")
        raise ExportError(told) from error


def framesOf(whole: Any) -> tuple[Any, ...]:
    return sequences.framesOf(whole) if whole.IsA("vtkMRMLSequenceNode") else (whole,)


def volumeOf(frame: Any, affine: Any, name: str) -> Volume:
    return Volume(slicer.util.arrayFromVolume(frame).transpose(2, 1, 0), affine, name)


def placeOf(node: Any) -> Any:
    """(4,4) voxel -> world RAS, with the transform that the node, or its proxy, is under.

    Raises ExportError where that is not linear.
    """
    whole = exported(node)
    shown = sequences.shownFor(whole)
    transform = shown.GetParentTransformNode() if shown is not None else None
    if transform is not None and not transform.IsTransformToWorldLinear():
        message = _("{name} is under a non-linear transform; harden or remove it.")
        raise ExportError(message.format(name=node.GetName()))
    return mrml.worldAffine(framesOf(whole)[0], shown)


def recordOf(whole: Any) -> Provenance:
    """What made it. Raises ExportError for what is no image, or does not say who made it."""
    try:
        provenance = mrml.provenanceOf(whole)
    except FileError as error:
        message = _(
            "{name} does not say which model made it, as a synthetic DICOM series must; export the "
            "volume that MambaSynth made, or load it again with its sidecar."
        )
        raise ExportError(message.format(name=whole.GetName())) from error
    if provenance.quantity and not provenance.quantity.startswith(UNCERTAINTY):
        message = _("{name} is no image but a map for looking at; save it as .nrrd.")
        raise ExportError(message.format(name=whole.GetName()))
    return provenance


def checkUnmoved(node: Any) -> None:
    """Its slices go where those of the source lie: both must be under the same transform."""
    whole = exported(node)
    source = whole.GetNodeReference(mrml.SOURCE_ROLE)
    shown = filter(None, map(sequences.shownFor, (whole, source)))
    under = [node.GetTransformNodeID() for node in shown]
    if len(set(under)) > 1 or (len(under) == 1 and under[0] is not None):
        message = _(
            "{name} is under another transform than its source, but would be written at the place "
            "of its source; remove the transform."
        )
        raise ExportError(message.format(name=node.GetName()))


def freshFolder(parent: Path, provenance: Provenance) -> Path:
    """A name that is free, and says what lies there but not of whom."""
    what = "uncertainty" if provenance.quantity else provenance.target_contrast
    name = f"SYNTHETIC_{what}"
    number, folder = 1, parent / name
    while folder.exists():
        number += 1
        folder = parent / f"{name}_{number}"
    return folder
