"""What is no MR image of the model's contrast is refused or warned of, where a fact says so."""

import json

import numpy as np
import pytest

from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import FileError
from MambaSynthLib.image.suitability import doubts, name_doubts
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_volume, write_volume


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sub-01_T2w.nii.gz", "T2w"),
        ("sub-01_ses-2_flair.nii", "FLAIR"),
        ("sub-01_ct.nii.gz", "ct"),
        ("T2w", "T2w"),  # as a node is called
        ("T2_MNI.nii.gz", "T2w"),
        ("chris_PD.nii", "PDw"),
        ("t2.nii", "T2w"),
        ("IXI012-HH-1211-T2.nii.gz", "T2w"),
    ],
)
def test_a_name_with_the_suffix_of_another_contrast_is_doubted(name, said):
    (doubt,) = name_doubts(name, "T1w")
    assert doubt == f"contrast: the name says {said}, but the model synthesizes from T1w"


@pytest.mark.parametrize(
    "name", ["sub-01_T1w.nii.gz", "sub-01_t1w.nii", "head.nii.gz", "T1_in_T2_space.nii", "", "x_",
             "IXI012-HH-1211-T1.nii.gz", "CT2 of somebody"],
)  # fmt: skip
def test_a_name_without_another_contrasts_suffix_is_not_doubted(name):
    assert name_doubts(name, "T1w") == ()


def test_values_on_the_scale_of_ct_are_doubted_and_negative_mr_values_are_not(head):
    share = np.where(head.array > 0, head.array / 10, -1000)
    assert "as air does in CT" in doubts(head.with_array(share), "T1w")[0]
    for array in (head.array, head.array - 200, head.array * -1, (head.array - 300) / 100):
        assert doubts(head.with_array(array), "T1w") == ()


def test_the_doubts_reach_the_provenance_after_the_notes_of_reading(tiny_package, head):
    source = Volume(head.array, head.affine, "sub-1_T2w.nii", ("a note",))
    made = Engine(tiny_package, "cpu").synthesize({"T1w": source}, steps=1).provenance
    assert made.warnings[0] == "a note" and made.warnings[1].startswith("contrast: the name says")


def beside(folder, head, **record):
    path = folder / "head.nii.gz"
    write_volume(head, path)
    (folder / "head.json").write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("modality", ["CT", "pt", "US"])
def test_a_sidecar_that_says_another_modality_refuses_the_image(tmp_path, head, modality):
    path = beside(tmp_path, head, Modality=modality)
    with pytest.raises(FileError, match=f"head.nii.gz: is no MR image .*{modality.upper()}"):
        read_volume(path)


@pytest.mark.parametrize("record", [{"Modality": "MR"}, {}, {"Modality": 7}, {"Modality": ""}])
def test_a_sidecar_that_says_mr_or_nothing_is_fine(tmp_path, head, record):
    assert read_volume(beside(tmp_path, head, **record)).notes == ()


def test_a_modality_that_names_no_machine_is_noted(tmp_path, head):
    (note,) = read_volume(beside(tmp_path, head, Modality="OT\n")).notes
    assert note.startswith("modality: the series says OT") and note.isprintable()
