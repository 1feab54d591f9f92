"""Where the gate is asked: by every command, and by Slicer's child process; what is recorded."""

import csv
import json

import numpy as np
import pytest

from MambaSynthLib.engine import Engine
from MambaSynthLib.errors import RefusedInput
from MambaSynthLib.gate.admission import admit
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import read_marks, write_volume
from MambaSynthLib.server.answers import Run, synthesize
from MambaSynthLib.server.exchange import InFolder, save_volume
from MambaSynthLib.server.server import Server
from Testing.analytic_heads import analytic_head
from Testing.library.cli.command_line import called, refused

LOOKS = "shows something of"
REMEDY = "correct the voxel size in its header, or give a whole head or brain"


def ten_times_too_large():
    """A head by a header that has the wrong unit."""
    volume = analytic_head((2, 2, 4))["T1w"]
    return Volume(volume.array, np.diag([10.0, 10, 10, 1]) @ volume.affine, volume.name)


@pytest.fixture
def wrong(tmp_path):
    path = tmp_path / "sub-1" / "sub-1_T1w.nii.gz"
    path.parent.mkdir()
    write_volume(ten_times_too_large(), path)
    return path


@pytest.fixture
def thin():
    volume = analytic_head()["T1w"]
    middle = volume.shape[2] // 2
    return Volume(volume.array[:, :, middle : middle + 8], volume.affine, "thin.nii")


def synthesized(capsys, path, package, *options):
    return called(capsys, "synthesize", path, "--to", "T2w", "--steps", 1, "--slices", "20:22",
                  "-o", path.with_name("out.nii.gz"), "--model", package.folder,
                  *options)  # fmt: skip


def test_a_refused_file_ends_in_one_sentence_with_its_remedies(wrong, tiny_package, capsys):
    result = synthesized(capsys, wrong, tiny_package)
    refused(result, f"sub-1_T1w.nii.gz: {LOOKS}", f"; {REMEDY}, or add --force.")
    assert [path.name for path in wrong.parent.iterdir()] == [wrong.name]


def test_by_force_it_is_synthesized_and_the_sidecar_says_so(wrong, tiny_package, capsys):
    code, _, error = synthesized(capsys, wrong, tiny_package, "--force")
    note = f"gate, refused but forced: {LOOKS}"
    assert code == 0 and f"warning: sub-1_T1w.nii.gz: {note}" in error
    out = wrong.with_name("out.nii.gz")
    assert any(text.startswith(note) for text in read_marks(out).provenance.warnings)
    sidecar = json.loads(wrong.with_name("out.json").read_text())
    assert any(text.startswith(note) for text in sidecar["Warnings"])


def test_of_several_files_the_refused_one_fails_and_force_lets_it_in(wrong, tiny_package, capsys):
    out = wrong.parent.parent / "out"
    words = ["synthesize-set", wrong.parent, "--to", "T2w", "--steps", 1, "--model",
             tiny_package.folder]  # fmt: skip
    code, said, _ = called(capsys, *words, "--status", out, "--json")
    assert code == 3 and LOOKS in json.loads(said)[0]["message"]
    assert called(capsys, *words, "-o", out)[0] == 2
    with open(out / "synthesis.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["status"] == "failed" and row["message"].endswith("or add --force.")
    assert called(capsys, *words, "-o", out, "--force")[0] == 0
    with open(out / "synthesis.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["status"] == "done" and row["message"].startswith("gate, refused but forced")


def test_what_is_doubtful_passes_with_a_note(thin, tiny_package):
    admitted = admit(thin, "T1w")
    assert len(admitted.notes) == 1 and admitted.notes[0].startswith("gate, doubtful: shows")
    made = Engine(tiny_package, "cpu").synthesize({"T1w": admitted}, steps=1).provenance
    assert admitted.notes[0] in made.warnings


def test_what_fits_passes_as_it_is():
    volume = analytic_head()["T1w"]
    assert admit(volume, "T1w") is volume


def test_without_a_way_to_insist_the_sentence_offers_none():
    with pytest.raises(RefusedInput, match=rf"computed T1w: {LOOKS} .*; {REMEDY}\.$"):
        admit(ten_times_too_large(), "T1w")


@pytest.fixture
def answered(tmp_path, tiny_package):
    """answered(**keys) -> the last event of a server that is asked to take such a head."""
    file = save_volume(ten_times_too_large(), tmp_path / "T1w.npz")

    def answer(**keys):
        request = {"do": "synthesize", "id": 1, "model": str(tiny_package.folder), "steps": 1,
                   "device": "cpu", "sources": {"T1w": str(file)}, "slices": [20, 22],
                   "folder": str(tmp_path), **keys}  # fmt: skip
        events = []
        server = Server(lambda event, *_: events.append(event),
                        lambda *_: Engine(tiny_package, "cpu"), list, lambda *_: None)  # fmt: skip
        server._answer(request, [])
        return events[-1]

    return answer


def test_slicers_process_is_refused_in_words_and_told_that_it_may_insist(answered):
    event = answered()
    assert event["event"] == "failed" and event["refused"] is True
    assert event["message"].startswith(f"computed T1w: {LOOKS}")
    assert "--force" not in event["message"] and event["details"] == ""


def test_with_force_it_goes_on_and_the_record_says_so(answered):
    event = answered(force=True)
    assert event["event"] == "done"
    assert any("refused but forced" in text for text in event["provenance"]["Warnings"])


def test_another_failure_is_not_called_a_refusal(tmp_path):
    request = {"sources": {"T1w": str(tmp_path / "none.npz")}, "model": "m"}
    run = Run(request, InFolder(tmp_path), None, None, None, None)
    with pytest.raises(Exception, match="missing or damaged") as caught:
        synthesize(run)
    assert not isinstance(caught.value, RefusedInput)
