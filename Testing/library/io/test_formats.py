"""The table of formats: each file is opened once, and another format is one more row."""

import builtins
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from MambaSynthLib.errors import FileError
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.cine_files import read_cine
from MambaSynthLib.io.cine_writing import write_cine
from MambaSynthLib.io.decoded import Decoded, Words
from MambaSynthLib.io.files import read_marks, read_volume, write_volume
from MambaSynthLib.io.formats import FORMATS, WRITABLE, Format
from Testing.provenance_records import CINE_RECORD, RECORD

HEAD = Volume(np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.diag([2.0, 1, 3, 1]), "head")


@pytest.fixture
def openings(monkeypatch):
    """The names of the files that were opened for reading."""
    names = []
    true_open = io.open

    def counting(file, *args, **options):
        names.append(str(file).rpartition("/")[2])
        return true_open(file, *args, **options)

    monkeypatch.setattr(builtins, "open", counting)
    monkeypatch.setattr(io, "open", counting)
    return names


@pytest.mark.parametrize("suffix", WRITABLE)
def test_an_image_and_its_sidecar_are_opened_once(suffix, tmp_path, openings):
    path = tmp_path / f"x{suffix}"
    write_volume(HEAD, path, provenance=RECORD)
    openings.clear()
    assert read_volume(path).notes[-1].startswith("synthetic source: ")
    assert openings == [path.name, "x.json"]


def test_a_cine_and_its_sidecar_are_opened_once(tmp_path, openings):
    path = tmp_path / "x.nii.gz"
    record = replace(CINE_RECORD, times_ms=(0.0, 30.0, 70.0), acquired=(1, 3))
    write_cine([HEAD] * 3, path, record)
    openings.clear()
    assert read_cine(path).times_ms == record.times_ms
    assert openings == [path.name, "x.json"]


def decode_json(stream, path, asked):
    content = json.load(stream)
    values = np.array(content["voxels"], np.float32)
    return Decoded(values, np.eye(4), "LPS", Words({"the text": content["text"]}))


def words_of_json(stream, name):
    return Words({"the text": json.load(stream)["text"]})


def encode_json(values, affine, provenance):
    text = json.dumps(provenance.to_bids()) if provenance else ""
    return json.dumps({"voxels": values.tolist(), "text": text}).encode()


@pytest.fixture
def toy_format(monkeypatch):
    monkeypatch.setitem(FORMATS, ".toy", Format(decode_json, words_of_json, encode_json))
    monkeypatch.setattr("MambaSynthLib.io.output.WRITABLE", (*WRITABLE, ".toy"))


def test_one_row_makes_a_format_that_is_read_written_and_marked(tmp_path, toy_format):
    path = tmp_path / "head.toy"
    volume = HEAD.with_array(HEAD.array)
    lps = Volume(volume.array, np.diag([-1.0, -1, 1, 1]), "head.toy")
    assert [file.name for file in write_volume(lps, path, provenance=RECORD)] == [
        "head.toy",
        "head.json",
    ]
    again = read_volume(path)
    assert np.array_equal(again.array, lps.array) and np.array_equal(again.affine, lps.affine)
    assert read_marks(path).provenance == RECORD and read_marks(path).where == "the text"
    with pytest.raises(FileError, match="is synthetic already"):
        read_volume(path, allow_synthetic=False)


def test_the_writing_of_a_new_format_is_checked_like_that_of_the_others(tmp_path, toy_format):
    with pytest.raises(FileError, match="the geometry differs"):
        write_volume(HEAD, tmp_path / "head.toy")  # this toy keeps no affine
    assert list(tmp_path.iterdir()) == []
