"""A record of origin goes into files and comes back unchanged, or is refused."""

import json
from dataclasses import replace

import pytest

from MambaSynthLib import __version__
from MambaSynthLib.errors import FileError
from MambaSynthLib.provenance import MARK, Provenance
from Testing.provenance_records import RECORD

FULL = replace(
    RECORD,
    slices=(3, 9),
    created="2025-01-02T03:04:05Z",
    warnings=("slight shear: 1e-5", 'quotes " and \\ and\nnewline'),
    source_name="Kopf ü 頭.nii",
    taken_for="a whole head, 250 cm2 at its largest axial section, 3.5 l in all",
)


@pytest.mark.parametrize("record", [RECORD, FULL], ids=["least", "full"])
def test_the_bids_record_comes_back_unchanged_through_json(record):
    assert Provenance.from_bids(json.loads(json.dumps(record.to_bids()))) == record


@pytest.mark.parametrize("record", [RECORD, FULL], ids=["least", "full"])
def test_the_tags_come_back_unchanged_and_are_single_printable_lines(record):
    tags = record.to_tags()
    assert Provenance.from_tags({**tags, "foreign": "tag"}) == record
    for key, value in tags.items():
        assert key.startswith("MambaSynth.")
        assert value.isascii() and value.isprintable()


def test_the_bids_record_says_what_readers_of_bids_look_for():
    record = RECORD.to_bids()
    assert record["Synthetic"] is True
    assert record["Warning"] == MARK == "SYNTHETIC - NOT FOR DIAGNOSIS"
    assert record["GeneratedBy"] == [{"Name": "MambaSynth", "Version": __version__}]
    assert record["Sources"] == ["sub-01_T1w.nii.gz"]
    assert (record["Model"], record["Seed"], record["Steps"]) == ("t1w-to-t2w", 7, 4)
    assert record["WeightsSHA256"] == "a" * 64
    assert FULL.to_bids()["Slices"] == [3, 9]


def test_a_record_without_its_precision_is_read_as_older_versions_wrote_it():
    record, tags = RECORD.to_bids(), RECORD.to_tags()
    del record["Precision"], tags["MambaSynth.precision"]
    assert Provenance.from_bids(record) == Provenance.from_tags(tags)
    assert Provenance.from_bids(record).computing() == "computed by torch on cpu"


def test_what_computed_is_said_in_words():
    assert RECORD.computing() == "computed by torch on cpu in fp32"


def test_no_time_is_recorded_unless_asked():
    assert RECORD.created is None
    assert "Created" not in RECORD.to_bids()
    assert "MambaSynth.created" not in RECORD.to_tags()


def test_the_sentence_says_what_the_source_was_taken_for():
    seen = replace(RECORD, taken_for=FULL.taken_for)
    before, after = RECORD.sentence().split(" by MambaSynth")
    assert seen.sentence() == f"{before}, taken for a whole head, by MambaSynth{after}"


def test_the_sentence_names_mark_contrasts_source_model_and_seed():
    sentence = FULL.sentence()
    assert sentence.startswith(MARK)
    for part in ("T2w", "T1w", "Kopf ü 頭.nii", "t1w-to-t2w 1.0", "seed 7", "4 steps", "1 sample,"):
        assert part in sentence
    assert "slices 3 to 8 only" in sentence


@pytest.mark.parametrize(
    "key, value",
    [
        ("Seed", "7"),
        ("Seed", True),
        ("Steps", 4.5),
        ("Model", 3),
        ("Slices", [1]),
        ("Slices", [1, "2"]),
        ("Warnings", "one"),
        ("Warnings", [1]),
        ("Precision", 32),
        ("Sources", []),
        ("Sources", [{}]),
        ("GeneratedBy", "someone"),
    ],
)
def test_an_edited_bids_record_is_refused(key, value):
    with pytest.raises(FileError, match="provenance record"):
        Provenance.from_bids({**FULL.to_bids(), key: value})


@pytest.mark.parametrize("key", ["Seed", "Model", "Sources", "GeneratedBy", "WeightsSHA256"])
def test_a_bids_record_that_lacks_a_field_is_refused(key):
    record = RECORD.to_bids()
    del record[key]
    with pytest.raises(FileError, match="lacks"):
        Provenance.from_bids(record)


@pytest.mark.parametrize("value", ["seven", "7.5", "[7]", "\\x", "ü", "9" * 5000])
def test_a_damaged_tag_is_refused(value):
    with pytest.raises(FileError, match="seed"):
        Provenance.from_tags({**RECORD.to_tags(), "MambaSynth.seed": value})


def test_tags_of_another_program_are_no_record():
    with pytest.raises(FileError, match="lacks"):
        Provenance.from_tags({"Modality": "MR"})
