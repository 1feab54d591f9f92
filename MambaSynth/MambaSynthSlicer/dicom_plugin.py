"""The export of synthetic nodes in Slicer's own dialog (Data module, *Export to DICOM...*).

What the dialog does: Slicer/Slicer, Modules/Scripted/DICOMLib/Widgets/qSlicerDICOMExportDialog.cxx,
``examineSelectedItem`` (each plugin is asked, the one with the highest confidence is preselected)
and ``exportSeries`` (``export`` returns an error message, "" for success; what it raises is told as
"Error occurred in exporter"). Without this plugin a synthetic volume would be written by
DICOMScalarVolumePlugin, with confidence 0.5, or DICOMVolumeSequencePlugin, 0.6: unmarked, as CT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from DICOMLib import DICOMPlugin
from slicer.i18n import tr as _

from MambaSynthLib.errors import MambaSynthError
from MambaSynthLib.io.dicom_bare import PATIENT, STUDY
from MambaSynthLib.io.dicom_series import Series

from . import dicom_export

KEY = "MambaSynthDICOMPlugin"
PLACEHOLDERS = ("", "No name")  # what the subject hierarchy says of a patient without a name


class MambaSynthDICOMPluginClass(DICOMPlugin):
    """Exports what is marked as synthetic; imports nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.loadType = "Synthetic MR series (MambaSynth)"

    def examineForExport(self, itemID: int) -> list[Any]:
        if not dicom_export.isExportable(nodeOf(itemID)):
            return []
        exportable = slicer.qSlicerDICOMExportable()
        exportable.name = self.loadType
        exportable.tooltip = _(
            "Marked as synthetic in every file, in the study of the series it was made from"
        )
        exportable.subjectHierarchyItemID = itemID
        exportable.pluginClass = KEY
        exportable.confidence = 1.0
        return [exportable]

    def export(self, exportables: list[Any]) -> str:
        """Why it could not be exported, in one sentence; '' when it was."""
        for exportable in exportables:
            node = nodeOf(exportable.subjectHierarchyItemID)
            try:
                series = dicom_export.sourceSeries(node)
                if series is None:
                    series = dicom_export.namedSeries(node, identityFrom(exportable))
                else:
                    checkIdentity(exportable, series)
                dicom_export.export(node, Path(exportable.directory), series)
            except MambaSynthError as error:
                return str(error)
        return ""


def nodeOf(itemID: int) -> Any:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemDataNode(itemID)


def identityFrom(exportable: Any) -> dict[str, str]:
    """What the dialog's table of tags says of patient and study."""
    return {keyword: exportable.tag(keyword) or "" for keyword in (*PATIENT, *STUDY)}


def checkIdentity(exportable: Any, series: Series) -> None:
    """Nobody must think to have made a series anonymous that is not. Raises ExportError."""
    image = series.stacks[0][0].image
    stated = {"PatientName": (), "PatientID": (f"Patient-{image.StudyInstanceUID}",)}
    for keyword, replacements in stated.items():
        kept = str(image.get(keyword, ""))
        told = exportable.tag(keyword) or ""
        if told not in (kept, *PLACEHOLDERS, *replacements):
            message = _(
                "{keyword} was changed to {told}, but a synthetic series keeps the patient of the "
                "series that it was made from; anonymize that series, and synthesize again."
            )
            raise dicom_export.ExportError(message.format(keyword=keyword, told=told))


def register() -> None:
    """As Slicer's plugins do: the DICOM module may be loaded later than this one."""
    if not hasattr(slicer.modules, "dicomPlugins"):
        slicer.modules.dicomPlugins = {}
    slicer.modules.dicomPlugins[KEY] = MambaSynthDICOMPluginClass
