"""DICOM in Slicer: the database, the plugins' base, loading, and the export dialog.

Read in Slicer/Slicer at the commits named here; functions are named as there.

| here                   | behaves as                                                              |
|------------------------|-------------------------------------------------------------------------|
| ``Database``           | commontk/CTK, Libs/DICOM/Core/ctkDICOMDatabase.h: file names and values |
|                        | by UID, "" for what is unknown; patients, studies, series               |
| ``DICOMPlugin``,       | Modules/Scripted/DICOMLib/DICOMPlugin.py (1d64077a):                    |
| ``DICOMLoadable``      | ``defaultSeriesNodeName`` ("<number>: <description>"),                  |
|                        | ``addSeriesInSubjectHierarchy`` ("No name" and "Patient-" with the      |
|                        | study's UID where these are missing)                                    |
| ``ScalarVolumePlugin`` | Modules/Scripted/DICOMPlugins/DICOMScalarVolumePlugin.py (9e56d075; in  |
|                        | Slicer 5.13 l. 654: Modality CT, "No series description"):              |
|                        | ``cleanNodeName``, ``loadFilesWithSeriesReader`` (vtkITK with GDCM,     |
|                        | spacing 1 and origin 0 of the image, no storage node),                  |
|                        | ``setVolumeNodeProperties`` (attribute ``DICOM.instanceUIDs``, window   |
|                        | of the last file), ``examineForExport`` (confidence 0.5)                |
| ``VolumeSequence-``    | DICOMVolumeSequencePlugin.py (e09415ba), ``examineForExport``: the proxy|
| ``Plugin``             | of a sequence of several frames, confidence 0.6                         |
| ``Exportable``         | DICOMLib/Widgets/qSlicerDICOMExportable.cxx (1d64077a); an unset tag is |
|                        | ""                                                                      |
| ``export_dialog``      | DICOMLib/Widgets/qSlicerDICOMExportDialog.cxx (651e6d9a):               |
|                        | ``examineSelectedItem`` (plugins by mean confidence in a map, where one |
|                        | of two equals overwrites the other; the first is selected) and          |
|                        | ``exportSeries`` (what raises leaves no message);                       |
|                        | qSlicerDICOMTagEditorWidget.cxx ``setExportables``: "No study found",   |
|                        | "No patient found", and the tags of both in each exportable             |
| ``load_series``        | DICOMLib/DICOMUtils.py, ``loadSeriesByUID``: IDs of the loaded nodes,   |
|                        | OSError where the database is closed                                    |
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pydicom
import slicer
import vtk

from .qt_module import qt
from .standins import properties

DESCRIPTION, NUMBER = "0008,103E", "0020,0011"


class Database:
    """Headers of the files that were added."""

    def __init__(self) -> None:
        self.isOpen = True
        self._headers: dict[str, Any] = {}

    def add(self, folder: Path) -> list[str]:
        """What ctkDICOMIndexer::addDirectory does; returns the UIDs of the series."""
        found = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            header = self._headers[str(path)] = pydicom.dcmread(path, stop_before_pixels=True)
            found[str(header.SeriesInstanceUID)] = None
        return list(found)

    def forget(self) -> None:
        self._headers = {}

    def fileForInstance(self, uid: str) -> str:
        return next((f for f, h in self._headers.items() if uid and h.SOPInstanceUID == uid), "")

    def instanceForFile(self, file: str) -> str:
        return str(self._headers[file].SOPInstanceUID) if file in self._headers else ""

    def fileValue(self, file: str, tag: str) -> str:
        """As text, several values between backslashes."""
        group, element = (int(part, 16) for part in tag.split(","))
        value = self._headers[file].get((group, element)) if file in self._headers else None
        if value is None or value.value is None:
            return ""
        several = isinstance(value.value, (list, pydicom.multival.MultiValue))
        return "\\".join(map(str, value.value)) if several else str(value.value)

    def _values(self, keyword: str, of: str = "", equal: str = "") -> list[str]:
        chosen = (h for h in self._headers.values() if not of or str(h.get(of, "")) == equal)
        return list(dict.fromkeys(str(h.get(keyword, "")) for h in chosen))

    def patients(self) -> list[str]:
        return self._values("PatientID")

    def studiesForPatient(self, patient: str) -> list[str]:
        return self._values("StudyInstanceUID", "PatientID", patient)

    def seriesForStudy(self, study: str) -> list[str]:
        return self._values("SeriesInstanceUID", "StudyInstanceUID", study)

    def filesForSeries(self, series: str) -> list[str]:
        return [f for f, h in self._headers.items() if h.SeriesInstanceUID == series]

    def nameForPatient(self, patient: str) -> str:
        return self._values("PatientName", "PatientID", patient)[0]

    def descriptionForStudy(self, study: str) -> str:
        return self._values("StudyDescription", "StudyInstanceUID", study)[0]

    def descriptionForSeries(self, series: str) -> str:
        return self._values("SeriesDescription", "SeriesInstanceUID", series)[0]


class DICOMLoadable:
    def __init__(self) -> None:
        self.files: list[str] = []
        self.name, self.confidence, self.selected = "Unknown", 0.5, False


class DICOMPlugin:
    def __init__(self) -> None:
        self.loadType = "Generic DICOM"
        self.tags = {"seriesDescription": DESCRIPTION, "seriesNumber": NUMBER}

    def examineForImport(self, fileLists: Any) -> list[Any]:
        return []

    def load(self, loadable: Any) -> Any:
        return True

    def examineForExport(self, itemID: int) -> list[Any]:
        return []

    def export(self, exportables: Any) -> str:
        return ""

    def defaultSeriesNodeName(self, seriesUID: str) -> str:
        files = slicer.dicomDatabase.filesForSeries(seriesUID)
        if not files:
            return "Unnamed Series"
        name = slicer.dicomDatabase.fileValue(files[0], DESCRIPTION) or "Unnamed Series"
        number = slicer.dicomDatabase.fileValue(files[0], NUMBER)
        return f"{number}: {name}" if number else name

    def addSeriesInSubjectHierarchy(self, loadable: Any, node: Any) -> None:
        hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
        names = slicer.vtkMRMLSubjectHierarchyConstants
        uid, first = names.GetDICOMUIDName(), loadable.files[0]
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        value = slicer.dicomDatabase.fileValue
        series, study = value(first, "0020,000E"), value(first, "0020,000D")
        hierarchy.SetItemUID(item, uid, series)
        patient = value(first, "0010,0020") or f"Patient-{study}"
        slicer.vtkSlicerSubjectHierarchyModuleLogic.InsertDicomSeriesInHierarchy(
            hierarchy, patient, study, series
        )
        patient_item = hierarchy.GetItemByUID(uid, patient)
        told = {"PatientName": value(first, "0010,0010") or "No name", "PatientID": patient}
        told["PatientBirthDate"] = value(first, "0010,0030")
        for keyword, text in told.items():
            hierarchy.SetItemAttribute(patient_item, f"DICOM.{keyword}", text)
        hierarchy.SetItemName(patient_item, f"{told['PatientName']} ({patient})")
        study_item = hierarchy.GetItemByUID(uid, study)
        description = value(first, "0008,1030") or "No study description"
        hierarchy.SetItemAttribute(study_item, "DICOM.StudyDescription", description)
        hierarchy.SetItemAttribute(study_item, "DICOM.StudyDate", value(first, "0008,0020"))


class ScalarVolumePlugin(DICOMPlugin):
    def __init__(self) -> None:
        super().__init__()
        self.loadType = "Scalar Volume"

    def examineForImport(self, fileLists: Iterable[list[str]]) -> list[Any]:
        return [self._loadable(files) for files in fileLists]

    def _loadable(self, files: list[str]) -> DICOMLoadable:
        loadable, value = DICOMLoadable(), slicer.dicomDatabase.fileValue
        name = self.defaultSeriesNodeName(value(files[0], "0020,000E"))
        for bad, good in (("|", "-"), ("/", "-"), ("\\", "-"), ("*", "(star)")):
            name = name.replace(bad, good)
        loadable.files, loadable.name, loadable.selected = along_normal(files), name, True
        return loadable

    def load(self, loadable: Any) -> Any:
        node = read_volume(loadable.files, loadable.name)
        self.addSeriesInSubjectHierarchy(loadable, node)
        instances = (slicer.dicomDatabase.fileValue(f, "0008,0018") for f in loadable.files)
        node.SetAttribute("DICOM.instanceUIDs", " ".join(instances))
        last = loadable.files[-1]
        window = [slicer.dicomDatabase.fileValue(last, tag) for tag in ("0028,1051", "0028,1050")]
        if all(window):
            node.GetDisplayNode().SetAutoWindowLevel(False)
            node.GetDisplayNode().SetWindowLevel(*map(float, window))
        return node

    def examineForExport(self, itemID: int) -> list[Any]:
        node = slicer.mrmlScene.GetSubjectHierarchyNode().GetItemDataNode(itemID)
        if node is None or not node.IsA("vtkMRMLScalarVolumeNode"):
            return []
        return [stock_exportable(itemID, "DICOMScalarVolumePlugin", 0.5)]


class VolumeSequencePlugin(DICOMPlugin):
    def examineForExport(self, itemID: int) -> list[Any]:
        node = slicer.mrmlScene.GetSubjectHierarchyNode().GetItemDataNode(itemID)
        browser = node and slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node)
        if not browser or browser.GetMasterSequenceNode().GetNumberOfDataNodes() <= 1:
            return []
        return [stock_exportable(itemID, "DICOMVolumeSequencePlugin", 0.6)]


def along_normal(files: list[str]) -> list[str]:
    """DICOMUtils.getSortedImageFiles: by place along the scan axis."""
    value = slicer.dicomDatabase.fileValue

    def place(file: str) -> float:
        x, y, z, *down = map(float, value(file, "0020,0037").split("\\"))
        normal = [y * down[2] - z * down[1], z * down[0] - x * down[2], x * down[1] - y * down[0]]
        origin = map(float, value(file, "0020,0032").split("\\"))
        return sum(a * b for a, b in zip(normal, origin, strict=True))

    return sorted(files, key=place)


def read_volume(files: list[str], name: str) -> Any:
    """loadFilesWithSeriesReader("GDCM", files, name)."""
    from slicer_core.vtkITK import vtkITKArchetypeImageSeriesScalarReader

    reader = vtkITKArchetypeImageSeriesScalarReader()
    reader.SetArchetype(files[0])
    for file in files:
        reader.AddFileName(file)
    reader.SetSingleFile(0)
    reader.SetOutputScalarTypeToNative()
    reader.SetDesiredCoordinateOrientationToNative()
    reader.SetUseNativeOriginOn()
    reader.SetDICOMImageIOApproachToGDCM()
    reader.Update()
    plain = vtk.vtkImageChangeInformation()
    plain.SetInputConnection(reader.GetOutputPort())
    plain.SetOutputSpacing(1, 1, 1)
    plain.SetOutputOrigin(0, 0, 0)
    plain.Update()
    unique = slicer.mrmlScene.GenerateUniqueName(name)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", unique)
    node.SetAndObserveImageData(plain.GetOutputDataObject(0))
    node.SetRASToIJKMatrix(reader.GetRasToIjkMatrix())
    node.CreateDefaultDisplayNodes()
    return node


def load_series(uids: list[str]) -> list[str]:
    """IDs of the nodes, of the scalar volume plugin."""
    if not slicer.dicomDatabase.isOpen:
        raise OSError("DICOM module or database cannot be accessed")
    plugin = slicer.modules.dicomPlugins["DICOMScalarVolumePlugin"]()
    found = plugin.examineForImport([slicer.dicomDatabase.filesForSeries(uid) for uid in uids])
    return [plugin.load(loadable).GetID() for loadable in found]


class Exportable(qt.QObject):
    vars().update(
        properties(
            name=(str, "Unknown exporter"),
            tooltip=(str, "Creates a DICOM file from the selected data"),
            pluginClass=(str, ""),
            directory=(str, ""),
            subjectHierarchyItemID=(int, 0),
            confidence=(float, 0.0),
        )
    )

    def tag(self, name: str) -> str:
        return self.__dict__.get("_tags", {}).get(name, "")

    def setTag(self, name: str, value: str) -> None:
        self.__dict__.setdefault("_tags", {})[name] = value


def stock_exportable(itemID: int, plugin: str, confidence: float) -> Any:
    exportable = slicer.qSlicerDICOMExportable()
    exportable.subjectHierarchyItemID = itemID
    exportable.pluginClass = plugin
    exportable.confidence = confidence
    exportable.setTag("Modality", "CT")
    exportable.setTag("SeriesDescription", "No series description")
    return exportable


def offered(itemID: int) -> list[Any]:
    """One exportable of each plugin that offers one, the preselected first."""
    by_plugin: dict[str, list[Any]] = {}
    for key in slicer.modules.dicomPlugins:
        for exportable in slicer.modules.dicomPlugins[key]().examineForExport(itemID):
            by_plugin.setdefault(exportable.pluginClass, []).append(exportable)
    by_confidence = {}
    for key in sorted(by_plugin):
        mean = sum(e.confidence for e in by_plugin[key]) / len(by_plugin[key])
        by_confidence[1.0 - mean] = by_plugin[key]
    return [by_confidence[rank][0] for rank in sorted(by_confidence)]


def fill_in_tags(exportable: Any, edited: Mapping[str, str]) -> str:
    """The tag editor: patient and study from the hierarchy, then what the user changes."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.GetItemParent(exportable.subjectHierarchyItemID)
    if not study:
        return "No study found"
    patient = hierarchy.GetItemParent(study)
    if not patient:
        return "No patient found"
    for item in (patient, study):
        for name in hierarchy.GetItemAttributeNames(item):
            if name.startswith("DICOM."):
                text = hierarchy.GetItemAttribute(item, name)
                exportable.setTag(name.removeprefix("DICOM."), text)
    for name, text in edited.items():
        exportable.setTag(name, text)
    return ""


def export_dialog(node: Any, folder: Path, edited: Mapping[str, str] | None = None) -> str:
    """Press Export with what is preselected; returns what the error label says."""
    item = slicer.mrmlScene.GetSubjectHierarchyNode().GetItemByDataNode(node)
    exportable = offered(item)[0]
    error = fill_in_tags(exportable, edited or {})
    if error:
        return error
    exportable.directory = str(folder)
    try:
        return slicer.modules.dicomPlugins[exportable.pluginClass]().export([exportable])
    except Exception:  # noqa: BLE001 - evalScript prints it and goes on
        return "Error occurred in exporter"


def install() -> types.ModuleType:
    """``DICOMLib``, ``slicer.dicomDatabase`` and the plugins that Slicer brings."""
    library = types.ModuleType("DICOMLib")
    library.__spec__ = ModuleSpec("DICOMLib", None)
    library.DICOMPlugin, library.DICOMLoadable = DICOMPlugin, DICOMLoadable
    library.DICOMUtils = types.SimpleNamespace(loadSeriesByUID=load_series)
    slicer.dicomDatabase = Database()
    slicer.qSlicerDICOMExportable = Exportable
    slicer.modules.dicomPlugins = {
        "DICOMScalarVolumePlugin": ScalarVolumePlugin,
        "DICOMVolumeSequencePlugin": VolumeSequencePlugin,
    }
    return library
