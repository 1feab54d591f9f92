"""Synthetic images leave Slicer as marked DICOM series, and are refused as a source afterwards."""

from pathlib import Path

import hearts
import numpy as np
import pydicom
import pytest
from panel import dialog_after, head
from slicerstand import dicom

from Testing.library.dicom_slices import dicom_series, of_a_person

slicer = pytest.importorskip("slicer")

SHAPE = (12, 10, 6)


def head_series(folder, patient=of_a_person):
    """A classic MR series of one time, oblique."""
    from panel import oblique

    from MambaSynthLib.image.volume import Volume

    array = np.random.default_rng(3).integers(20, 900, SHAPE).astype(float)
    return dicom_series(folder, [Volume(array, oblique(), "head")], (0.0,), patient)


@pytest.fixture
def loaded(panel, tmp_path):
    """The node of a series that was loaded from the DICOM database."""
    (uid,) = slicer.dicomDatabase.add(head_series(tmp_path / "source"))
    (node_id,) = dicom.load_series([uid])
    node = slicer.mrmlScene.GetNodeByID(node_id)
    panel.ui.sourceSelector.setCurrentNode(node)
    yield node
    slicer.dicomDatabase.forget()


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def files_below(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


def in_hierarchy(node):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    return hierarchy, hierarchy.GetItemByDataNode(node)


def choose(panel, *answers):
    """Prepare what the user answers to dialogs, one after another."""
    panel.stand.record.answers.extend(lambda dialog, a=answer: a for answer in answers)


def reimported(folder):
    """What Slicer shows of a folder, in an empty scene as in another session."""
    slicer.mrmlScene.Clear(0)
    (uid,) = slicer.dicomDatabase.add(folder)
    (node_id,) = dicom.load_series([uid])
    return slicer.mrmlScene.GetNodeByID(node_id)


def refused(panel, node):
    panel.ui.sourceSelector.setCurrentNode(node)
    panel.events()
    return not panel.ui.applyButton.enabled and panel.ui.applyButton.toolTip


# --- Slicer's export dialog -----------------------------------------------------------------------


def test_the_dialog_preselects_us_for_what_is_synthetic_and_nothing_else(panel, loaded):
    output = panel.synthesize()
    chosen = [e.pluginClass for e in dicom.offered(in_hierarchy(output)[1])]
    assert chosen == ["MambaSynthDICOMPlugin", "DICOMScalarVolumePlugin"]
    assert [e.pluginClass for e in dicom.offered(in_hierarchy(loaded)[1])] == [
        "DICOMScalarVolumePlugin"
    ]
    (ours,) = slicer.modules.dicomPlugins["MambaSynthDICOMPlugin"]().examineForExport(
        in_hierarchy(output)[1]
    )
    assert 0.6 < ours.confidence <= 1.0
    assert slicer.modules.dicomPlugins["MambaSynthDICOMPlugin"]().examineForImport([]) == []


def test_an_exported_volume_keeps_patient_study_and_place_and_is_marked(panel, loaded, out):
    output = panel.synthesize()
    assert dicom.export_dialog(output, out) == ""
    files, sources = files_below(out), files_below(out.parent / "source")
    assert len(files) == len(sources) == SHAPE[2]
    for one in files:
        assert one.SyntheticData == "YES" and one.ImageType[3] == "SYNTHETIC"
        assert one.Modality == "MR" and one.SeriesDescription.startswith("SYNTHETIC T2w")
        assert str(one.PatientName) == "Müller^Zoë" and one.PatientID == "007"
        assert one.StudyInstanceUID == sources[0].StudyInstanceUID
        assert one.SeriesInstanceUID != sources[0].SeriesInstanceUID
        (reference,) = one.SourceImageSequence
        (source,) = (s for s in sources
                     if s.SOPInstanceUID == reference.ReferencedSOPInstanceUID)  # fmt: skip
        assert source.ImagePositionPatient == one.ImagePositionPatient
        assert np.array_equal(one.pixel_array, loaded_maximum(sources) - source.pixel_array)


def loaded_maximum(sources):
    return max(int(source.pixel_array.max()) for source in sources)


def test_exported_and_imported_again_it_is_marked_and_refused_as_a_source(panel, loaded, out):
    from MambaSynthSlicer import file_marks, mrml

    output = panel.synthesize()
    assert dicom.export_dialog(output, out) == ""
    node = reimported(out)
    assert node.GetName().startswith("9031: SYNTHETIC T2w from T1w")
    assert mrml.isSynthetic(node)
    assert "is synthetic itself" in refused(panel, node)
    file_marks.readMarks(node)
    assert node.GetAttribute("MambaSynth.model_id") == "inverter"
    assert "SYNTHETIC - NOT FOR DIAGNOSIS" in node.GetDescription()


def test_a_series_that_lost_its_name_is_refused_by_what_its_files_say(panel, loaded, out):
    output = panel.synthesize()
    assert dicom.export_dialog(output, out) == ""
    node = reimported(out)
    node.SetName("renamed")
    assert "renamed is synthetic itself" in refused(panel, node)


def test_a_synthetic_series_of_another_program_is_refused(panel, tmp_path):
    def foreign(dataset, k, f):
        dataset.SyntheticData = "YES"

    node = reimported(head_series(tmp_path / "foreign", foreign))
    assert "SYNTHETIC" not in node.GetName()
    assert "is synthetic itself" in refused(panel, node)
    slicer.dicomDatabase.forget()


def test_the_study_is_kept_when_the_source_is_no_longer_in_the_scene(panel, loaded, out):
    output = panel.synthesize()
    slicer.mrmlScene.RemoveNode(loaded)
    assert dicom.export_dialog(output, out) == ""
    assert {one.PatientID for one in files_below(out)} == {"007"}


def test_several_exports_into_one_folder_overwrite_nothing(panel, loaded, out):
    output = panel.synthesize()
    for _ in range(2):
        assert dicom.export_dialog(output, out) == ""
    assert sorted(f.name for f in out.iterdir()) == ["SYNTHETIC_T2w", "SYNTHETIC_T2w_2"]


def test_who_changes_the_patient_in_the_dialog_is_told_that_it_is_kept(panel, loaded, out):
    output = panel.synthesize()
    for keyword, value in (("PatientName", "Anonymous"), ("PatientID", "1")):
        told = dicom.export_dialog(output, out, {keyword: value})
        assert told.startswith(f"{keyword} was changed to {value}, but a synthetic series keeps")
    assert not any(out.iterdir())


def test_a_series_without_a_patient_name_is_exported_all_the_same(panel, tmp_path, out):
    """The subject hierarchy then says "No name", and Patient- with the study's UID."""
    (uid,) = slicer.dicomDatabase.add(head_series(tmp_path / "source", lambda d, k, f: True))
    (node_id,) = dicom.load_series([uid])
    panel.ui.sourceSelector.setCurrentNode(slicer.mrmlScene.GetNodeByID(node_id))
    assert dicom.export_dialog(panel.synthesize(), out) == ""
    assert not files_below(out)[0].PatientName
    slicer.dicomDatabase.forget()


def moved(node):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.GetTransformToParent().Translate(10, 0, 0)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def test_an_image_that_was_moved_away_from_its_source_is_not_written(panel, loaded, out):
    output = panel.synthesize()
    transform = moved(output)
    assert "is under another transform than its source" in dicom.export_dialog(output, out)
    loaded.SetAndObserveTransformNodeID(transform.GetID())
    assert dicom.export_dialog(output, out) == ""


def test_what_does_not_say_who_made_it_is_no_ct_either(panel, loaded, out):
    """Named synthetic, and all else is lost: better no series than an unmarked one."""
    loaded.SetName("Head SYNTHETIC T2w")
    assert "does not say which model made it" in dicom.export_dialog(loaded, out)
    assert not any(out.iterdir())


def test_a_map_for_looking_at_is_not_archived(panel, loaded, out):
    from MambaSynthSlicer import reading

    output = panel.synthesize()
    acquired = slicer.util.addVolumeFromArray(
        slicer.util.arrayFromVolume(output) * 2.0 + 1, name="acquired"
    )
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    output.GetIJKToRASMatrix(matrix)
    acquired.SetIJKToRASMatrix(matrix)
    node = reading.differenceNode(acquired, output)
    hierarchy, item = in_hierarchy(node)
    hierarchy.SetItemParent(item, hierarchy.GetItemParent(in_hierarchy(output)[1]))
    assert "is no image but a map" in dicom.export_dialog(node, out)


def test_without_a_series_patient_and_study_of_the_data_module_are_taken(panel, out):
    source = head()
    output = panel.synthesize()
    assert dicom.export_dialog(output, out) == "No patient found"
    hierarchy, item = in_hierarchy(output)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Zoë")
    study = hierarchy.CreateStudyItem(patient, "2020")
    for one in (item, in_hierarchy(source)[1]):
        hierarchy.SetItemParent(one, study)
    assert "no patient ID was given" in dicom.export_dialog(output, out)
    person = {"PatientID": "42", "PatientName": "Zoë", "StudyDate": "20200102"}
    assert dicom.export_dialog(output, out, person) == ""
    (first, *_rest) = files_below(out)
    assert (first.PatientID, str(first.PatientName), first.StudyDate) == ("42", "Zoë", "20200102")
    assert first.SyntheticData == "YES" and "SourceImageSequence" not in first
    assert "is synthetic itself" in refused(panel, reimported(out))
    slicer.dicomDatabase.forget()


def under_a_warp(node):
    import vtk

    warp = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for place in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (30, 30, 30)):
        points.InsertNextPoint(*place)
    moved_points = vtk.vtkPoints()
    moved_points.DeepCopy(points)
    moved_points.SetPoint(4, 35, 20, 30)
    warp.SetSourceLandmarks(points)
    warp.SetTargetLandmarks(moved_points)
    warp.SetBasisToR()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(warp)
    node.SetAndObserveTransformNodeID(transform.GetID())


def test_an_image_that_a_warp_bends_has_no_place_in_a_series(panel, out):
    from MambaSynthSlicer import dicom_export

    head()
    output = panel.synthesize()
    under_a_warp(output)
    with pytest.raises(dicom_export.ExportError, match="non-linear transform; harden or remove"):
        dicom_export.namedSeries(output, {"PatientID": "42"})


# --- the panel's button ---------------------------------------------------------------------------


def save(panel):
    panel.widget.results.own.dicomButton.click()
    return panel.ui.statusLabel.text


def test_the_button_is_off_until_there_is_a_result(panel, loaded):
    own = panel.widget.results.own
    assert not own.dicomButton.enabled and not own.pageButton.enabled
    panel.synthesize()
    assert own.dicomButton.enabled and own.pageButton.enabled


def test_the_button_writes_the_series_into_the_folder_that_was_chosen(panel, loaded, out):
    panel.synthesize()
    choose(panel, str(out))
    assert save(panel) == f"Saved as {SHAPE[2]} DICOM files in {out / 'SYNTHETIC_T2w'}."
    assert files_below(out)[0].PatientID == "007"
    choose(panel, "")  # the dialog was cancelled
    save(panel)
    assert [f.name for f in out.iterdir()] == ["SYNTHETIC_T2w"]


def test_a_source_from_a_file_is_asked_for_its_series(panel, tmp_path, out):
    import qt

    folder = head_series(tmp_path / "source")
    from MambaSynthLib.io.files import read_volume

    volume = read_volume(folder)
    node = dicom.slicer.util.addVolumeFromArray(
        np.ascontiguousarray(volume.array.transpose(2, 1, 0)),
        ijkToRAS=slicer.util.vtkMatrixFromArray(volume.affine),
        name="from a file",
    )
    panel.ui.sourceSelector.setCurrentNode(node)
    panel.synthesize()
    choose(panel, qt.QMessageBox.Yes, str(folder), str(out))
    assert save(panel).startswith(f"Saved as {SHAPE[2]} DICOM files")
    assert "patient and study are unknown" in panel.stand.record.dialogs[-3].text
    assert files_below(out)[0].PatientID == "007"
    choose(panel, qt.QMessageBox.No)
    assert save(panel) == "Nothing was saved: a DICOM series needs a patient and a study."
    choose(panel, qt.QMessageBox.Yes, "")
    assert save(panel).startswith("Nothing was saved")


def test_another_series_than_the_sources_is_told(panel, tmp_path, out):
    import qt

    head()
    panel.synthesize()
    choose(panel, qt.QMessageBox.Yes, str(head_series(tmp_path / "other")), str(out))
    dialog = dialog_after(panel, panel.widget.results.own.dicomButton.click)
    assert "does not lie on the grid" in dialog.text
    assert not any(out.iterdir())


def test_the_patient_of_the_data_module_is_asked_for_before_it_is_taken(panel, out):
    import qt

    head()
    output = panel.synthesize()
    hierarchy, item = in_hierarchy(output)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Zoë")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientID", "42")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientName", "Zoë")
    hierarchy.SetItemParent(item, hierarchy.CreateStudyItem(patient, "2020"))
    choose(panel, qt.QMessageBox.No)
    assert save(panel).startswith("Nothing was saved")
    assert "Zoë (42)" in panel.stand.record.dialogs[-1].text
    choose(panel, qt.QMessageBox.Yes, str(out))
    assert save(panel).startswith("Saved as 16 DICOM files")
    assert files_below(out)[0].PatientID == "42"


# --- cines ----------------------------------------------------------------------------------------


@pytest.fixture
def cine(panel, tmp_path):
    """A cine as DICOMImageSequencePlugin loads a series of one slice."""
    from slicerstand import dicom_plugins

    from MambaSynthLib.image.volume import Volume

    affine = np.diag([-1.0, -1.0, 8.0, 1.0])
    arrays = [array[:, :, :1].round() for array in hearts.beat()]
    times = tuple(100.0 * n for n in range(len(arrays)))
    frames = [Volume(array, affine, "beat") for array in arrays]
    folder = dicom_series(tmp_path / "cine", frames, times, of_a_person)
    slicer.dicomDatabase.add(folder)
    by_time = sorted(files_below(folder), key=lambda one: float(one.TriggerTime))
    sequence = dicom_plugins.image_sequence(
        [(a, affine, str(t)) for a, t in zip(arrays, times, strict=True)]
    )
    for number, one in enumerate(by_time):
        frame = sequence.GetNthDataNode(number)
        frame.SetAttribute("DICOM.instanceUIDs", str(one.SOPInstanceUID))
    hearts.choose_cine(panel, sequence)
    yield sequence
    slicer.dicomDatabase.forget()


def test_a_cine_becomes_one_series_whose_acquired_frames_are_copies(panel, cine, out):
    output = hearts.synthesize(panel)
    choose(panel, str(out))
    assert save(panel).startswith("Saved as 12 DICOM files")
    files = sorted(files_below(out), key=lambda one: float(one.TriggerTime))
    assert [float(f.TriggerTime) for f in files] == pytest.approx(hearts.times_of(output), abs=1e-3)
    said = {"NO": "acquired", "YES": "synthetic"}
    assert [said[f.SyntheticData] for f in files] == hearts.kinds_of(output)
    assert {f.PatientID for f in files} == {"007"}
    originals = {f.SOPInstanceUID: f.pixel_array for f in files_below(Path(out.parent / "cine"))}
    kept = next(f for f in files if f.SyntheticData == "NO")
    (reference,) = kept.SourceImageSequence
    assert np.array_equal(kept.pixel_array, originals[reference.ReferencedSOPInstanceUID])


def test_what_shows_an_acquired_frame_of_a_synthetic_cine_exports_the_whole_cine(panel, cine, out):
    """Slicer's own plugin would write all frames of it, as CT and unmarked."""
    output = hearts.synthesize(panel)
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(output)
    browser.SetPlaybackActive(False)
    browser.SetSelectedItemNumber(0)
    proxy = browser.GetProxyNode(output)
    hierarchy, item = in_hierarchy(proxy)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Zoë")
    hierarchy.SetItemParent(item, hierarchy.CreateStudyItem(patient, "2020"))
    assert dicom.offered(item)[0].pluginClass == "MambaSynthDICOMPlugin"
    assert dicom.export_dialog(proxy, out) == ""
    assert len(files_below(out)) == 12
