"""Marks outlive Slicer's Save: in the file, beside it, in the name, and back in the scene."""

import json
import zipfile

import hearts
import numpy as np
import pytest
from panel import head, oblique

from MambaSynthLib.errors import FileError
from MambaSynthLib.io.files import read_marks, read_volume

slicer = pytest.importorskip("slicer")

FORMATS = ("nii.gz", "nii", "nrrd", "mha")
MARK = "SYNTHETIC - NOT FOR DIAGNOSIS"


@pytest.fixture
def watched(panel):
    """The panel in a Slicer that has completed its start-up."""
    instance = slicer.modules.MambaSynthInstance
    instance.onStartup()
    yield panel
    instance.annotations.stop()
    instance.fileMarks.stop()


def loaded(panel, path):
    """In an empty scene, as in another session."""
    slicer.mrmlScene.Clear(0)
    node = slicer.util.loadVolume(str(path))
    panel.events()
    return node


def refused(panel, node):
    panel.ui.sourceSelector.setCurrentNode(node)
    panel.events()
    return not panel.ui.applyButton.enabled and panel.ui.applyButton.toolTip


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("sidecar", [True, False], ids=["with its sidecar", "alone"])
def test_a_saved_result_is_marked_and_is_no_source_when_it_is_loaded_again(
    watched, tmp_path, suffix, sidecar
):
    head("Head T1", affine=oblique())
    output = watched.synthesize()
    seen, path = slicer.util.arrayFromVolume(output).copy(), tmp_path / f"result.{suffix}"
    assert slicer.util.saveNode(output, str(path))
    mark = read_marks(path)
    assert mark.certain and mark.provenance.model_id == "inverter"
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["Synthetic"] is True and record["Warning"] == MARK
    if not sidecar:
        (tmp_path / "result.json").unlink()
    node = loaded(watched, path)
    assert node.GetAttribute("MambaSynth.mark") == MARK and MARK in node.GetDescription()
    assert node.GetAttribute("MambaSynth.model_id") == "inverter"
    assert "result is synthetic itself" in refused(watched, node)
    read = slicer.util.arrayFromVolume(node)
    assert read.dtype == seen.dtype and np.array_equal(np.sort(read, None), np.sort(seen, None))
    assert read_volume(path, allow_synthetic=True).shape == (20, 24, 16)


@pytest.mark.parametrize("suffix", FORMATS)
def test_without_nibabel_which_slicer_lacks_the_marks_are_read_all_the_same(
    watched, tmp_path, suffix, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    head()
    path = tmp_path / f"result.{suffix}"
    slicer.util.saveNode(watched.synthesize(), str(path))
    (tmp_path / "result.json").unlink()
    assert loaded(watched, path).GetAttribute("MambaSynth.model_id") == "inverter"


def test_a_saved_cine_is_marked_and_is_no_source_when_it_is_loaded_again(watched, tmp_path):
    hearts.choose_cine(watched, hearts.sequence())
    output = hearts.synthesize(watched)
    path = tmp_path / "beating.seq.nrrd"
    assert slicer.util.saveNode(output, str(path))
    assert read_marks(path).provenance.model_id == "blender"
    assert json.loads((tmp_path / "beating.seq.json").read_text())["Synthetic"] is True
    slicer.mrmlScene.Clear(0)
    again = slicer.util.loadSequence(str(path))
    watched.events()
    hearts.choose_cine(watched, again)
    assert "is synthetic itself" in watched.ui.applyButton.toolTip
    assert "SYNTHETIC" in again.GetDescription() and set(hearts.kinds_of(again)) == {
        "acquired",
        "synthetic",
    }


def test_the_files_of_a_saved_scene_are_marked(watched, tmp_path):
    head()
    watched.synthesize()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    with zipfile.ZipFile(tmp_path / "scene.mrb") as archive:
        archive.extractall(tmp_path / "unpacked")
    (file,) = (tmp_path / "unpacked").rglob("*SYNTHETIC*.nrrd")
    assert read_marks(file).where.startswith("NRRD")
    (acquired,) = (tmp_path / "unpacked").rglob("Head.nrrd")
    assert read_marks(acquired) is None
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    watched.events()
    output = slicer.util.getNode("Head SYNTHETIC T2w")
    assert output.GetAttribute("MambaSynth.mark") == MARK
    assert "is synthetic itself" in refused(watched, output)
    assert slicer.util.saveNode(output, str(tmp_path / "later.nrrd"))  # a storage node of a file
    assert read_marks(tmp_path / "later.nrrd").provenance.model_id == "inverter"


def test_an_acquired_volume_is_saved_as_it_is(watched, tmp_path):
    source = head()
    watched.synthesize()
    slicer.util.saveNode(source, str(tmp_path / "acquired.nrrd"))
    assert read_marks(tmp_path / "acquired.nrrd") is None
    assert [file.name for file in tmp_path.glob("acquired*")] == ["acquired.nrrd"]


def test_a_second_save_replaces_the_marks_of_the_first(watched, tmp_path):
    head()
    path = tmp_path / "result.nii"
    for seed in (1, 2):
        watched.ui.seedSpinBox.value = seed
        output = watched.synthesize()
        watched.ui.outputSelector.setCurrentNode(output)
        slicer.util.saveNode(output, str(path))
    assert path.read_bytes()[:4096].count(b'"Synthetic"') == 1
    assert read_marks(path).provenance.seed == 2
    assert json.loads((tmp_path / "result.json").read_text())["Seed"] == 2


def test_the_sidecar_of_an_acquired_image_is_not_taken_over(watched, tmp_path):
    source = head()
    slicer.util.saveNode(source, str(tmp_path / "Head.nii.gz"))
    slicer.util.saveNode(watched.synthesize(), str(tmp_path / "Head.nrrd"))
    assert not (tmp_path / "Head.json").exists()
    (tmp_path / "Other.json").write_text('{"RepetitionTime": 2}')
    slicer.util.saveNode(slicer.util.getNode("Head SYNTHETIC T2w"), str(tmp_path / "Other.nrrd"))
    assert (tmp_path / "Other.json").read_text() == '{"RepetitionTime": 2}'
    for name in ("Head.nrrd", "Other.nrrd"):
        assert read_marks(tmp_path / name).provenance.model_id == "inverter"


def test_a_file_that_cannot_be_marked_is_told_to_who_saves_it(watched, tmp_path, monkeypatch):
    from MambaSynthSlicer import file_marks

    def fail(path, provenance):
        raise FileError("result.nrrd: cannot be written (No space left on device)")

    monkeypatch.setattr(file_marks, "mark_file", fail)
    head()
    output = watched.synthesize()
    slicer.util.saveNode(output, str(tmp_path / "result.nrrd"))
    messages = output.GetStorageNode().GetUserMessages()
    told = messages.GetAllMessagesAsString()
    assert "could not be marked as synthetic: result.nrrd: cannot be written" in told


def test_the_word_in_a_name_counts_where_every_other_mark_is_lost(watched, stand):
    import vtk

    node = head("Head SYNTHETIC T2w_1")
    told = "Head SYNTHETIC T2w_1 is named SYNTHETIC; select an acquired volume, or rename it."
    assert refused(watched, node) == told
    slicer.util.setSliceViewerLayers(background=node)
    annotations = slicer.modules.MambaSynthInstance.annotations._annotations
    assert annotations["Red"].GetText(vtk.vtkCornerAnnotation.UpperEdge) == MARK
    node.SetName("Head T1w")
    watched.events()
    assert refused(watched, node) is False


def test_a_mark_of_another_program_is_kept_as_a_mark(watched, tmp_path):
    slicer.util.saveNode(head(), str(tmp_path / "foreign.nrrd"))
    (tmp_path / "foreign.json").write_text('{"Synthetic": true}')
    node = loaded(watched, tmp_path / "foreign.nrrd")
    assert node.GetAttribute("MambaSynth.mark") == MARK
    slicer.util.saveNode(node, str(tmp_path / "again.mha"))
    mark = read_marks(tmp_path / "again.mha")
    assert mark.certain and mark.provenance is None
